"""Contexts that ACE found: bars half way, what is refused, and a blind audit of a reliance."""

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from conceptseg.errors import InputError
from conceptseg.result.saved import Result
from conceptseg.result.table import Table
from conceptseg.study import __main__ as command
from conceptseg.study.audit.found import Found, load_found
from tests.files import png
from tests.small_models import wrapped
from tests.study.audit.small import audit

PAIRS = [
    {"class": "a", "concept": 1, "used": True, "elsewhere": 0.9},
    {"class": "a", "concept": 2, "used": True, "elsewhere": 0.1},
    {"class": "a", "concept": 3, "used": False, "elsewhere": 0.9},
]
ARRAYS = {
    "cav": np.eye(4, dtype=np.float32)[:3],
    "absent": np.array([0.0, 1.0, 2.0], np.float32),
    "present": np.array([2.0, 2.0, 6.0], np.float32),
}
ACE = Result(
    "ace",
    tables={
        "pairs": Table(PAIRS),
        "images": Table([{"sample": "s1"}]),
        "exemplars": Table(
            [{"concept": 1, "sample": "s1", "picture": "one", "outline": ""}],
        ),
    },
    images={"one": png(np.zeros((2, 2, 3), np.uint8))},
    arrays=ARRAYS,
    provenance={"weights": "w", "layer": "body"},
)
CONTEXT = SimpleNamespace(model=SimpleNamespace(fingerprint=lambda: "w"))


def test_used_concepts_that_lie_elsewhere_are_contexts(tmp_path):
    ACE.save(tmp_path / "ace")
    found = load_found(audit(found=str(tmp_path / "ace")), CONTEXT)
    assert found.numbers == (1,) and found.ids == {"s1"} and found.layer == "body"
    np.testing.assert_allclose(found.bars, [1.0])
    named = load_found(audit(found=str(tmp_path / "ace"), found_concepts=[3, 2]), CONTEXT)
    assert named.numbers == (3, 2)
    np.testing.assert_allclose(named.bars, [4.0, 1.5])
    assert load_found(audit(), CONTEXT) is None


@pytest.mark.parametrize(
    ("changes", "keys", "words"),
    [
        ({"study": "lcrp"}, {}, "is no result of this version's ace"),
        ({"arrays": {"cav": ARRAYS["cav"]}}, {}, "is no result of this version's ace"),
        ({"provenance": {"weights": "x"}}, {}, "other weights; run ace on this one"),
        ({"tables": {**ACE.tables, "pairs": Table(PAIRS[1:])}}, {}, "no class was shown to use"),
        ({}, {"found_concepts": [4]}, "has the concepts 1 to 3, and not 4"),
        (
            {"arrays": {**ARRAYS, "absent": ARRAYS["absent"][:2]}},
            {},
            "no finite vectors with a bar",
        ),
        (
            {"arrays": {**ARRAYS, "cav": np.full((3, 4), np.nan)}},
            {},
            "no finite vectors with a bar",
        ),
        ({"tables": {**ACE.tables, "exemplars": Table([{"concept": 1}])}}, {}, "lacks 'sample'"),
        ({"images": {}}, {}, "lacks 'one'"),
        (
            {"tables": {**ACE.tables, "pairs": Table([{"concept": []}])}},
            {},
            "found: .*lacks 'used'",
        ),
    ],
)
def test_what_is_no_run_to_take_contexts_from(changes, keys, words, tmp_path):
    dataclasses.replace(ACE, **changes).save(tmp_path / "ace")
    with pytest.raises(InputError, match=words):
        load_found(audit(found=str(tmp_path / "ace"), **keys), CONTEXT)


def test_a_concept_shows_where_its_component_is_above_the_bar():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.body, self.head = nn.Conv2d(3, 3, 2, 2, bias=False), nn.Conv2d(3, 3, 1)
            self.body.weight.data = torch.eye(3)[:, :, None, None].expand(3, 3, 2, 2) / 4

        def forward(self, images):
            return nn.functional.interpolate(self.head(self.body(images)), images.shape[2:])

    images = torch.zeros(1, 3, 6, 8)
    images[0, 1, 2:4, 4:6] = 1.0
    images[0, 0, 0:2] = 0.3
    ends = np.array([0.25, 0.1]), np.array([0.75, 0.7])
    found = Found("body", (1, 2), np.eye(3)[[1, 0]], *ends, frozenset())
    shown = found.shown(SimpleNamespace(model=wrapped(Net())), images)
    expected = np.zeros((6, 8), bool)
    expected[2:4, 4:6] = True
    np.testing.assert_array_equal(shown[0, 0], expected)
    assert not shown[0, 1].any()


@pytest.mark.slow
def test_a_reliance_that_nobody_named_is_found_and_confirmed_on_other_images(tmp_path):
    """ACE is told nothing of the brick; the audit tests what it found on scenes of another draw."""
    ace, out = tmp_path / "ace", tmp_path / "out"
    assert command.main(["ace", "--out", str(ace), "-q"]) == 0
    words = ["audit", "--out", str(out), "-q", "--set", f"found={ace}", "--set", "known=false"]
    assert command.main(words) == 0
    result = Result.load(out)
    verdicts = {(row["class"], row["verdict"]) for row in result.tables["verdicts"].rows}
    shown = {name for name, verdict in verdicts if verdict in ("confirmed", "behaviour only")}
    assert shown == {"digit 3", "digit 9"} and result.tables["found"].rows
    assert not {row["sample"] for row in result.tables["found"].rows} & {
        row["image"] for row in result.tables["examples"].rows
    }
