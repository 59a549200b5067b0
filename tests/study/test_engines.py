"""Every study by an engine that does its parts late, out of order and twice: to the bit the same.

So any number of workers may do them, and however a pass is cut, its result is one.
"""

import json

import numpy as np
import pytest

from conceptseg import catalogue
from conceptseg.engine import run as engine_run
from conceptseg.result.saved import Result
from conceptseg.study.__main__ import main as command
from tests.engine.shuffled import ShuffledEngine
from tests.strange_models import NETWORKS, write_scenes
from tests.study.test_strange import IMAGES, run, write

FAST = ("permutation",)
ALL = [
    pytest.param(study, marks=() if study in FAST else pytest.mark.slow)
    for study in catalogue.names("study")
]


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    names = NETWORKS["plain"].classes
    return {names: write_scenes(tmp_path_factory.mktemp("scenes"), IMAGES, names)}


def content(out):
    """All of a result but when and how it was made."""
    result = Result.load(out)
    tables = {name: (table.columns, table.rows) for name, table in result.tables.items()}
    plain = json.loads(json.dumps([result.findings, tables, result.notes], default=str))
    return plain, list(result.skipped), dict(result.arrays), dict(result.images)


def same(one, other):
    """To the bit."""
    plain, skipped, arrays, images = one
    assert (plain, skipped, images) == (other[0], other[1], other[3])
    assert arrays.keys() == other[2].keys()
    for name, array in arrays.items():
        np.testing.assert_array_equal(array, other[2][name])


@pytest.mark.parametrize("study", ALL)
def test_parts_may_be_done_anywhere_in_any_order_again(study, scenes, tmp_path, monkeypatch):
    path = write(tmp_path, study, "plain", scenes)
    assert run(path, study, tmp_path / "whole") == 0
    whole = content(tmp_path / "whole")
    for shards in (7, 23):
        engine = ShuffledEngine(shards)
        monkeypatch.setattr(engine_run, "LocalEngine", lambda engine=engine: engine)
        out = tmp_path / f"shards-{shards}"
        words = [study, "-c", str(path), "--set", f"run.shards={shards}", "--out", str(out), "-q"]
        assert command(words) == 0
        assert engine.made > 5 and engine.killed > 0
        same(content(out), whole)
