"""A run that broke off repeats nothing: no part, no step, no fit; wherever it breaks off."""

import random
import shutil
from collections import Counter

import pytest

from conceptseg.engine import fits, steps
from conceptseg.engine import run as engine_run
from conceptseg.engine import shelf as engine_shelf
from conceptseg.engine.steps import Steps
from conceptseg.engine.store import FOLDER
from conceptseg.result.saved import Result
from conceptseg.study.__main__ import main as command
from tests.strange_models import NETWORKS, write_scenes
from tests.study.test_engines import ALL, content, same
from tests.study.test_strange import IMAGES, run, write

STAYS = {"lay_out_map", "lay_out_maps", "open_sources"}
"""Steps that cost nothing: what they make open files, or is a process that ends with the run."""
KILLS = 5


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


class Watch:
    """Counts what runs complete, each thing by its name, and breaks one off after a save."""

    def __init__(self, monkeypatch):
        self.done, self.saves, self.left = Counter(), 0, None
        part, kept, keep = steps.map_part, Steps._kept, fits.Fits._keep
        write_file = engine_shelf.replace_file

        def map_part(task, samples):
            made = part(task, samples)
            self.done["part", task.key, samples[0].id, len(samples)] += 1
            return made

        def find_out(this, module, name, call):
            def counted():
                found = call()
                self.done["step", name, this._begun and name not in STAYS] += 1
                return found

            return kept(this, module, name, counted)

        def keep_fit(this, name, number, made):
            if this.store is not None:  # those within a fit are made with it
                self.done["fit", this.key, name, number] += 1
            return keep(this, name, number, made)

        def replace_file(path, data):
            write_file(path, data)
            self.saves += 1
            if self.left is not None:
                self.left -= 1
                if self.left < 0:
                    raise KeyboardInterrupt

        monkeypatch.setattr(steps, "map_part", map_part)
        monkeypatch.setattr(Steps, "_kept", find_out)
        monkeypatch.setattr(fits.Fits, "_keep", keep_fit)
        monkeypatch.setattr(engine_shelf, "replace_file", replace_file)


@pytest.mark.parametrize("study", ALL)
def test_what_was_saved_is_not_done_again_wherever_a_run_breaks_off(
    study, scenes, tmp_path, monkeypatch
):
    """Broken off after five saves of many, of parts, steps and fits, drawn at random."""
    monkeypatch.setattr(fits, "LONG", 0.0)
    path = write(tmp_path, study, "plain", scenes)
    words = [study, "-c", str(path), "--set", "run.shards=7", "--set", "run.processes=1", "-q"]
    with monkeypatch.context() as patch:
        watch = Watch(patch)
        assert command([*words, "--out", str(tmp_path / "whole")]) == 0
    whole, saves = watch.done, watch.saves
    places = sorted(random.Random(study).sample(range(saves), min(KILLS, saves)))
    watch = Watch(monkeypatch)
    for place in places:
        watch.left = place - watch.saves
        assert command([*words, "--out", str(tmp_path / "out")]) == 130
        assert watch.saves == place + 1
    watch.left = None
    assert command([*words, "--out", str(tmp_path / "out")]) == 0
    same(content(tmp_path / "out"), content(tmp_path / "whole"))
    kinds = Counter(key[0] for key in whole)
    assert kinds["part"] > 1 and kinds["step"] > 2
    once = {key for key in whole if key[0] != "step" or key[2]}
    assert {key: watch.done[key] for key in once} == dict.fromkeys(once, 1)
    print(f"{study}: {dict(kinds)}, broken off after {[place + 1 for place in places]} of {saves}")
