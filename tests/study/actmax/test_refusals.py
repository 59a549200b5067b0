"""Everything that the study refuses before its first step, given to run and to check."""

import re

import numpy as np
import pytest

from conceptseg.report.unit_cards import COLUMNS
from conceptseg.result.saved import Result
from conceptseg.result.table import Table
from tests.study.refusals import refused_alike

DIRECTION = {"objective": "direction"}
REFUSALS = [
    (DIRECTION, "directions: a direction is asked for; give a .npy file"),
    (DIRECTION | {"directions": "text.txt"}, "directions: .*/files/text.txt holds no directions"),
    (
        DIRECTION | {"directions": "zeros.npy"},
        "directions: .*/files/zeros.npy must hold finite",
    ),
    (DIRECTION | {"directions": "wide.npy"}, "directions: they have 999 entries, layer 'body' has"),
    ({"units": [9999]}, "units: 9999 does not exist; layer 'body' offers 0 to"),
    ({"labels": "ace"}, "ace: a result of 'ace' says nothing of units"),
    ({"labels": "elsewhere"}, "elsewhere: units of layer 'stem' are known, but 'body' is studied"),
    ({"labels": "weights"}, "weights: the units .* of a network with other weights"),
    ({"earlier": "nosuch"}, "nosuch"),
    ({"compare": [{"kind": "seg_grad_cam", "layer": "nosuch"}]}, "nosuch"),
]


@pytest.mark.parametrize(("keys", "words"), REFUSALS)
def test_check_and_run_refuse_alike(capsys, tmp_path, monkeypatch, keys, words):
    monkeypatch.chdir(tmp_path)
    files = tmp_path / "files"  # where the study's file lies
    files.mkdir()
    (files / "text.txt").write_text("not numbers")
    np.save(files / "zeros.npy", np.zeros((2, 3)))
    np.save(files / "wide.npy", np.ones((2, 999)))
    units = {"units": Table([dict.fromkeys(COLUMNS) | {"unit": 0, "detector": False}])}
    Result("ace", notes={"layer": "body"}).save(files / "ace")
    Result("dissect", tables=units, notes={"layer": "stem"}).save(files / "elsewhere")
    other = {"weights": "0" * 64}
    Result("dissect", tables=units, notes={"layer": "body"}, provenance=other).save(
        files / "weights"
    )
    assert re.search(words, refused_alike(capsys, tmp_path, "actmax", keys))
