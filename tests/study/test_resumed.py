"""A run that broke off at its very end repeats nothing: no part, no step, no fit."""

import shutil

import pytest

from conceptseg.engine import fits
from conceptseg.engine import run as engine_run
from conceptseg.engine.steps import Steps
from conceptseg.engine.store import FOLDER
from conceptseg.result.saved import Result
from tests.strange_models import NETWORKS, write_scenes
from tests.study.test_engines import ALL, content, same
from tests.study.test_strange import IMAGES, run, write

STAYS = {"lay_out_map", "lay_out_maps", "open_sources"}
"""Steps that cost nothing: what they make open files, or is a process that ends with the run."""


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    names = NETWORKS["plain"].classes
    return {names: write_scenes(tmp_path_factory.mktemp("scenes"), IMAGES, names)}


@pytest.mark.parametrize("study", ALL)
def test_nothing_is_done_twice(study, scenes, tmp_path, monkeypatch):
    made, state, save = [], tmp_path / "state", Result.save

    class Watched(Steps):
        def take(self):
            made.append(self.taken)
            return super().take()

    def kept(result, out, page):
        shutil.copytree(out / FOLDER, state, dirs_exist_ok=True)
        return save(result, out, page)

    monkeypatch.setattr(engine_run, "Steps", Watched)
    monkeypatch.setattr(Result, "save", kept)
    monkeypatch.setattr(fits, "LONG", 0.0)
    path = write(tmp_path, study, "plain", scenes)
    assert run(path, study, tmp_path / "first") == 0
    again = tmp_path / "again"
    shutil.copytree(state, again / FOLDER)
    assert run(path, study, again) == 0
    first, second = made
    begun = next(place for place, one in enumerate(first) if one.swept is not None)
    for one in second[begun:]:
        assert one.swept is None or one.swept.resumed == one.swept.shards, one
        assert one.resumed or one.name in (*STAYS, "finish"), one
        assert one.fits[0] == 0, one
    same(content(again), content(tmp_path / "first"))
