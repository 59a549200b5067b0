"""What `check` says of computations that grow with classes, against what is computed."""

import re
import time
from collections import Counter

import pytest
import torch

from conceptseg import catalogue
from conceptseg.engine import start
from conceptseg.engine.fits import Fits
from conceptseg.engine.local import LocalEngine
from conceptseg.result.saved import Result
from conceptseg.settings import parse_override, read_settings
from conceptseg.study import __main__ as command
from conceptseg.study.command import estimate
from conceptseg.study.dissect import ablate
from conceptseg.study.permutation import permute
from conceptseg.study.segnbdt import evidence, grown, judge
from tests.strange_models import NETWORKS, write_scenes
from tests.study.test_strange import run, write

SOME = "data.classes=[crimson]"


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    names = NETWORKS["plain"].classes
    return {names: write_scenes(tmp_path_factory.mktemp("scenes"), 20, names)}


def works(path, study, *sets):
    kind = catalogue.load("study", study)
    settings = read_settings(study, kind, path, [*map(parse_override, sets)])
    (_, context), *_ = start.prepare_each(settings.study)
    return {one.what: one for one in settings.study.work(context, (6, 12, 16))}


@pytest.mark.parametrize(
    ("study", "grow", "stay"),
    [
        ("bottleneck", ["quality of classes", "presence of classes"], ["quality"]),
        ("dissect", ["losses of classes", "mistakes"], ["formulas of units"]),
    ],
)
def test_work_grows_with_the_classes_that_are_studied(study, grow, stay, scenes, tmp_path):
    path = write(tmp_path, study, "plain", scenes)
    whole, some = works(path, study), works(path, study, SOME)
    assert set(whole) == set(some) == {*grow, *stay}
    for name in grow:
        assert whole[name].count == pytest.approx(3 * some[name].count)
    for name in stay:
        assert whole[name].count == some[name].count
    for one in whole.values():
        one.one()


def test_as_many_fits_are_told_as_are_made(scenes, tmp_path, monkeypatch):
    """Of a bottleneck, whose fits of quality, of classes and of presence are asked for one by one.

    A class's own overlap is fitted only where enough images hold it.
    """
    made, fits_of = {}, Fits.all_of

    def counted(self, call, items, *shared):
        made[call.__qualname__] = made.get(call.__qualname__, 0) + len(items)
        return fits_of(self, call, items, *shared)

    path = write(tmp_path, "bottleneck", "plain", scenes)
    told = works(path, "bottleneck")
    monkeypatch.setattr(Fits, "all_of", counted)
    monkeypatch.setattr("conceptseg.engine.run.ProcessEngine", lambda *_, **__: LocalEngine())
    assert run(path, "bottleneck", tmp_path / "out") == 0
    assert made["presence_of"] == told["presence of classes"].count == 3
    assert 0 < made["_crossed_once"] <= told["quality of classes"].count == 6
    classes = 3 * made["_crossed_once"]  # as many folds
    mean = 3  # and the mean's, which cost nothing
    assert made["fold_of"] - classes - mean == told["quality"].count


def test_as_many_trees_are_told_as_are_made(scenes, tmp_path, monkeypatch):
    """Of SegNBDT: random ones, those of redrawn evidence, and the pictures of decisions at most."""
    path = write(tmp_path, "segnbdt", "plain", scenes)
    told = works(path, "segnbdt")
    made = Counter()

    def counted(holder, name):
        real = getattr(holder, name)

        def call(*arguments, **named):
            made[name] += 1
            return real(*arguments, **named)

        monkeypatch.setattr(holder, name, call)

    counted(grown, "random_tree")
    counted(grown, "agreement")
    for name in ("overlay", "outlined"):
        counted(evidence, name)
    assert run(path, "segnbdt", tmp_path / "out") == 0
    for one in told.values():
        one.one()
    assert made["random_tree"] == told["random trees"].count
    rows = len(Result.load(tmp_path / "out").tables["trees"].rows)
    of_trees = told["random trees"].count + told["redrawn trees"].count
    assert made["agreement"] - rows == of_trees
    drawn = made["overlay"] + made["outlined"]
    assert 0 < drawn <= told["pictures of decisions"].count


@pytest.mark.parametrize(
    ("study", "step", "holder"),
    [
        ("permutation", "permute", permute),
        ("dissect", "ablate", ablate),
        ("segnbdt", "judge", judge),
    ],
)
def test_what_is_made_of_each_output_is_part_of_a_pass(
    study, step, holder, scenes, tmp_path, monkeypatch
):
    """That it takes so and so long shows in the estimate, as often as the network runs."""
    slow = {permute: "overlap_loss", ablate: "class_iou", judge: "nodes_at"}[holder]
    kind = catalogue.load("study", study)
    settings = read_settings(study, kind, write(tmp_path, study, "plain", scenes), ())
    (_, context), *_ = start.prepare_each(settings.study)
    one = next(one for one in settings.study.plan() if getattr(one, "name", "") == step)
    logits = torch.zeros(1, 4, 24, 32)
    before = estimate._later(one, context, 0.0, logits)
    real = getattr(holder, slow)

    def later(*arguments):
        time.sleep(0.1)
        return real(*arguments)

    monkeypatch.setattr(holder, slow, later)
    after = estimate._later(one, context, 0.0, logits)
    times = one.forwards(context)
    assert times > 0 and 0.09 * times < after - before


@pytest.mark.parametrize("study", ["bottleneck", "dissect"])
def test_check_adds_it_to_the_passes(study, scenes, tmp_path, capsys):
    path = write(tmp_path, study, "plain", scenes)
    assert command.main(["check", "--study", study, "-c", str(path)]) == 0
    said = capsys.readouterr().out
    named = "presence of classes" if study == "bottleneck" else "losses of classes"
    assert re.search(rf"{named} .*\d+ x \d+ ms", said)
    assert "passes and what is computed of them: about" in said
