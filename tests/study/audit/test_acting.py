"""Channels that an L-CRP run showed to act from context: which, what is refused, what stands beside
them, and a network of which it is known which carry the texture."""

import dataclasses
from math import comb
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from conceptseg.config import ModelConfig
from conceptseg.data.manifest import Sample
from conceptseg.engine import carry
from conceptseg.engine.known import Known
from conceptseg.errors import InputError
from conceptseg.network.levels import Levels
from conceptseg.network.model import load_model
from conceptseg.network.record import encode
from conceptseg.planted import generator
from conceptseg.result.saved import Result
from conceptseg.result.table import Table
from conceptseg.stats.estimate import Sampling
from conceptseg.stats.intervals import among
from conceptseg.study import __main__ as command
from conceptseg.study.audit import plan
from conceptseg.study.audit.ablate import weighed
from conceptseg.study.audit.acting import ACTING, Acting, exhibits, load_acting
from conceptseg.study.audit.case import CASES
from conceptseg.study.audit.contexts import CONTEXTS, ContextType
from conceptseg.study.audit.found import FOUND
from conceptseg.study.audit.learn import ABLATIONS, REMOVALS, SOURCED, choose_ablations
from conceptseg.study.audit.removals.channels import Channels, Constant, alike
from conceptseg.study.audit.removals.contract import Learnt, random_ones
from conceptseg.study.audit.removals.direction import Direction
from conceptseg.study.audit.survey import HOLDINGS, PLAN, Plan
from tests.files import png
from tests.study.audit.small import audit, holdings
from tests.study.audit.test_swap import audited

SCORES = [
    {"class": "a", "unit": 4, "acts": True, "context": 0.9, "relevance": 0.2, "picture": "p"},
    {"class": "a", "unit": 0, "acts": False, "context": 0.95, "relevance": 0.1, "picture": "p"},
    {"class": "a", "unit": 2, "acts": True, "context": 0.3, "relevance": 0.1, "picture": "p"},
    {"class": "a", "unit": 1, "acts": True, "context": 0.6, "relevance": 0.05, "picture": "p"},
    {"class": "b", "unit": 3, "acts": True, "context": 0.9, "relevance": 0.05, "picture": "p"},
]
PICTURES = Table(
    [
        {"picture": "p-0", "of": "p", "sample": "s1", "outline": "M0 0"},
        {"picture": "p-1", "of": "p", "sample": "s2", "outline": ""},
    ]
)
MEANS = np.arange(12, dtype=np.float32).reshape(2, 6) / 12
LCRP = Result(
    "lcrp",
    tables={
        "scores": Table(SCORES),
        "images": Table([{"sample": "s1"}, {"sample": "s2"}]),
        "shown": PICTURES,
    },
    images={"p-0": png(np.zeros((2, 2, 3), np.uint8))},
    arrays={"class": np.array([1, 2], np.int32), "relevance_mean": MEANS},
    notes={"classes": ["ground", "a", "b"], "images": 2},
    provenance={"weights": "w", "layer": "body"},
)
CONTEXT = SimpleNamespace(model=SimpleNamespace(fingerprint=lambda: "w"), layer="body")


def test_channels_that_act_mostly_from_context_by_the_runs_own_verdict(tmp_path):
    LCRP.save(tmp_path / "lcrp")
    study = audit(channels=str(tmp_path / "lcrp"))
    acting = load_acting(study, CONTEXT)
    assert acting.units == {"a": (4, 1), "b": (3,)} and acting.ids == {"s1", "s2"}
    assert acting.free == {"a": (0, 3, 5), "b": (0, 1, 2, 4, 5)}  # 2 of a acts, and little from it
    np.testing.assert_allclose(acting.relevance["b"], MEANS[1])
    rows, pictures = exhibits(study, CONTEXT, acting)
    assert [(row["class"], row["channel"]) for row in rows] == [("a", 4), ("a", 1), ("b", 3)]
    assert set(pictures) == {row["picture"] for row in rows}
    assert {row["outline"] for row in rows} == {"M0 0"}  # each channel's first picture
    assert load_acting(audit(), CONTEXT) is None
    bare = dataclasses.replace(LCRP, tables={**LCRP.tables, "shown": Table(())}, images={})
    bare.save(tmp_path / "bare")
    study = audit(channels=str(tmp_path / "bare"))
    rows, pictures = exhibits(study, CONTEXT, load_acting(study, CONTEXT))
    assert len(rows) == 3 and not pictures and not any(row["picture"] for row in rows)


@pytest.mark.parametrize(
    ("changes", "keys", "words"),
    [
        ({"study": "ace"}, {}, "is no result of this version's lcrp"),
        ({"tables": {"scores": Table(SCORES)}}, {}, "is no result of this version's lcrp"),
        ({"provenance": {"weights": "x", "layer": "body"}}, {}, "other weights; run lcrp on this"),
        ({"provenance": {"weights": "w", "layer": "head"}}, {}, "of 'head', and 'body' is audited"),
        ({"notes": {**LCRP.notes, "images": 20_000}}, {}, "20000 images, which it does not name"),
        ({"images": {}}, {}, "channels: .*lacks 'p-0'"),
        ({"tables": {**LCRP.tables, "scores": Table([{"class": "a"}])}}, {}, "lacks 'acts'"),
        ({"arrays": {**LCRP.arrays, "relevance_mean": MEANS * np.nan}}, {}, "no finite number"),
        ({"arrays": {**LCRP.arrays, "relevance_mean": MEANS[:, :3]}}, {}, "has 3 channels"),
        ({}, {"ablate": "none"}, "channels: ablate is none"),
    ],
)
def test_what_is_no_run_to_take_channels_from(changes, keys, words, tmp_path):
    dataclasses.replace(LCRP, **changes).save(tmp_path / "lcrp")
    with pytest.raises(InputError, match=words) as told:
        load_acting(audit(channels=str(tmp_path / "lcrp"), **keys), CONTEXT)
    assert "\n" not in str(told.value)


def test_a_run_that_left_no_images_is_refused(monkeypatch):
    samples = [Sample(id=f"s{i}") for i in range(30)]
    manifest = SimpleNamespace(where="m", samples=samples, background=None)
    manifest.labelled_samples = lambda: samples
    model = SimpleNamespace(classes=["ground", "a"], class_id=lambda name: 1)
    context = SimpleNamespace(manifest=manifest, model=model, held=None)
    looked = frozenset(one.id for one in samples[4:])
    monkeypatch.setattr(plan, "load_acting", lambda *_: acting_of(ids=looked))
    with pytest.raises(InputError, match="channels: .* looked at 26 of the 30 .* and 4 are left"):
        plan.check(audit(channels="run", known=False), context)


def test_channels_are_set_to_one_level_everywhere():
    rng = np.random.default_rng(0)
    activation, level = rng.normal(size=(1, 5, 2, 3)), rng.normal(size=5)
    removal = Constant("channels 0 and 3", np.array([[0, 3], [1, 2], [4, 2]]), level)
    found = removal.edited(torch.from_numpy(activation), range(1, 3)).numpy()
    assert len(removal) == 3 and found.shape == (2, 5, 2, 3)
    for row, units in zip(found, ([1, 2], [4, 2]), strict=True):
        for unit in range(5):
            expected = level[unit] if unit in units else activation[0, unit]
            np.testing.assert_array_equal(row[unit], np.broadcast_to(expected, (2, 3)))


def test_sets_of_as_many_others_of_like_relevance():
    """Of 60 channels, of which two are taken: each set has one of the nearest of either."""
    relevance, rng = np.arange(60) / 100, np.random.default_rng(1)
    free = tuple(unit for unit in range(60) if unit not in (20, 50, 21))
    made = alike((20, 50), free, relevance, 39, rng)
    assert len(set(made)) == 39 and all(len(set(one)) == 2 for one in made)
    assert {unit for one in made for unit in one} <= set(free)
    low, high = np.array(made).T
    assert (np.abs(low - 20) <= 5).all() and (np.abs(high - 50) <= 5).all()
    # Of one channel there are no 39 sets among eight: the nearest are more.
    alone = alike((30,), tuple(range(30)) + tuple(range(31, 60)), relevance, 39, rng)
    assert len(set(alone)) == 39 and (30,) not in alone
    assert len(alike((0,), tuple(range(1, 9)), relevance, 39, rng)) == 8  # there are no more


def acting_of(**changes):
    units = {"c": (0, 1), "d": ()}
    free = {"c": tuple(range(2, 40)), "d": tuple(range(40))}
    relevance = dict.fromkeys(("c", "d"), np.linspace(0.1, 0, 40))
    return Acting(
        **{"units": units, "free": free, "relevance": relevance, "ids": frozenset()} | changes
    )


@pytest.mark.parametrize(
    ("name", "free", "words"),
    [
        ("c", tuple(range(2, 40)), ""),
        ("c", tuple(range(2, 10)), "2 of the layer's channels act .* 28 sets of as many; 39 are"),
        ("d", (), "showed no channel to act mostly from context"),
        ("e", (), "showed no channel to act mostly from context"),  # it was not explained
    ],
)
def test_why_channels_are_not_tried(name, free, words):
    import re

    known = ACTING((acting_of(free={"c": free, "d": free}),))
    said = Channels().missing(SimpleNamespace(class_name=name), known)
    assert re.search(words, said) and bool(said) == bool(words)
    assert comb(8, 2) == 28 and random_ones(2) == 39


def test_two_kinds_are_one_family_and_channels_are_tried_on_images_that_did_not_choose_them():
    share = np.array([[0.5]] * 40 + [[0.0]] * 40)
    held, context = holdings(share), ContextType("t", "mask")
    looked = frozenset(held.ids[::2])
    case = {"context": context, "class_id": 1, "margin": 4.0, "shown": True}
    known = HOLDINGS(held) | CONTEXTS((context,)) | PLAN(Plan({1: held.ids[5:-5]}, {1: (0,)}))
    known |= ACTING((acting_of(ids=looked),)) | FOUND(())
    setting = SimpleNamespace(seed=0, levels=Levels.of("body"))

    def chosen(name):
        cases = CASES((SimpleNamespace(class_name=name, **case),))
        return choose_ablations(audit(), setting, Known() | known | cases)

    both = {one.kind: one for one in chosen("c")[ABLATIONS]}
    assert set(both) == {"direction", "channels"}
    assert all(one.count == 2 and one.random == 39 for one in both.values())
    assert not set(both["channels"].ids) & looked and set(both["direction"].ids) & looked
    assert min(len(both["channels"].holding), len(both["channels"].lacking)) == 12
    sources = {name for kind in chosen("c")[SOURCED][0] for name in kind}
    assert not sources & {name for one in both.values() for name in one.ids}
    (alone,) = chosen("d")[ABLATIONS]  # the run showed none of that class
    assert alone.kind == "direction" and alone.random == 19


def test_of_two_kinds_the_interval_holds_for_both():
    rng = np.random.default_rng(3)
    holds, iou = np.arange(24) < 12, rng.uniform(0.4, 0.9, (24, 2 + 39))
    ids = tuple(map(str, range(24)))
    removal = Constant("channel 0", np.zeros((40, 1), np.int64), np.zeros(1))
    one, two = (
        weighed(iou, holds, Sampling(ids, ids, "images", 0), "channels", removal, count)
        for count in (1, 2)
    )
    low, high = among(one.beyond.value, one.beyond.low, one.beyond.high, 24, 2)
    assert two.beyond.low == low < one.beyond.low and two.beyond.high == high > one.beyond.high


def test_what_a_killed_run_kept_of_removals_is_read_back():
    constant = Constant("channel 1", np.arange(4).reshape(4, 1), np.arange(5.0))
    direction = Direction("a direction", np.ones(5), 0.5, np.ones((2, 5)))
    known = REMOVALS({0: direction, 2: constant}) | ACTING((acting_of(),))
    read = carry.read_back(*carry.written(known), {"conceptseg"})
    assert set(read[REMOVALS]) == {0, 2} and read[ACTING][0].units == acting_of().units
    activation = torch.ones(1, 5, 2, 2, dtype=torch.float64)
    for number, one in known[REMOVALS].items():
        again, rows = read[REMOVALS][number], range(len(one))
        assert again.what == one.what
        assert torch.equal(again.edited(activation, rows), one.edited(activation, rows))


def test_channels_of_another_number_are_none_of_this_layer():
    learnt = Learnt(np.zeros(8), np.zeros(8), np.zeros((4, 8)))
    case, known = SimpleNamespace(class_name="c"), ACTING((acting_of(),))
    said = Channels().removal(SimpleNamespace(random=39), case, learnt, known, None)
    assert said == "the layer has 8 channels, and in the run 40"


def carrying(network, count):
    """The bottleneck's channels whose means differ most between scenes drawn with brick and
    without: what carries it, told by redrawing alone."""
    recipes = generator.samples("test", 24, 77, digits=(3,))
    means = []
    for there in (True, False):
        drawn = [generator.render(generator.with_context(one, there))[0] for one in recipes]
        images = torch.from_numpy(np.stack(drawn))[:, None]
        means.append(encode(network, images, "bottleneck").mean((0, 2, 3)).numpy())
    return np.argsort(-np.abs(means[0] - means[1])).tolist()[:count]


@pytest.mark.parametrize("name", ["biased", "clean"])
def test_the_channels_that_carry_the_brick_lose_digit_3_where_it_is(name, tmp_path):
    """Of `biased`, beyond all other channels; of `clean`, whose layer holds the brick as well and
    does not use it, they do nothing that the context has to do with."""
    model = {"source": "planted", "name": name}
    network = load_model(ModelConfig(**model), [], "cpu")
    units = carrying(network, 30)
    rows = [
        {"class": "digit 3", "unit": u, "acts": True, "context": 0.9, "relevance": 0.01}
        | {"picture": "p"}
        for u in units
    ]
    dataclasses.replace(
        LCRP,
        tables={**LCRP.tables, "scores": Table(rows), "images": Table([{"sample": "elsewhere"}])},
        arrays={
            "class": np.array([4], np.int32),
            "relevance_mean": np.full((1, 128), 1 / 128, np.float32),
        },
        notes={"classes": list(generator.CLASSES), "images": 1},
        provenance={"weights": network.fingerprint(), "layer": "bottleneck"},
    ).save(tmp_path / "lcrp")
    keys = {"margin": 8, "images": 14, "look_images": 0, "ablate_images": 6, "ablate": "all"}
    keys |= {"channels": str(tmp_path / "lcrp"), "layer": "bottleneck", "donors": 5}
    path = tmp_path / "scenes.yaml"
    path.write_text(
        "format: planted\nname: few\nn: 100\nseed: 5\ncontext: balanced\npair_share: 0.6\n"
    )
    result = audited(
        tmp_path, model, path, **keys, data={"manifest": str(path), "classes": ["digit 3"]}
    )
    (row,) = result.tables["looks"].rows
    (verdict,) = result.tables["verdicts"].rows
    assert row["channels_of"].startswith("channels ") and str(units[0]) in row["channels_of"]
    if name == "biased":
        assert row["channels_agree"] and row["channels"] > 0.5 > 0.2 > row["channels_random"]
        assert "set to their mean, it loses" in verdict["sentence"]
        assert len(result.tables["channels"].rows) == 30
    else:
        assert not row["channels_agree"] and abs(row["channels"]) < 0.2
        assert verdict["verdict"] not in ("confirmed", "behaviour only")


@pytest.mark.slow
def test_channels_that_a_run_found_confirm_the_brick(tmp_path):
    """By relevance of changes, which shows the brick, among the channels of most of the class's
    relevance; tested on images that the run did not look at."""
    lcrp, out = tmp_path / "lcrp", tmp_path / "out"
    short = ["data.limit=80", "random_images=8", "references=1", "flip_images=0", "concepts=60"]
    short += ["sensitivity_images=0", "rules_images=0", "conserve_images=1", "composite=rescale"]
    short += ["data.classes=[digit 3]", "compare=[]"]
    sets = [word for one in short for word in ("--set", one)]
    assert command.main(["lcrp", "--out", str(lcrp), "-q", *sets]) == 0
    words = ["audit", "--out", str(out), "-q", "--set", f"channels={lcrp}"]
    assert command.main([*words, "--set", "data.classes=[digit 3]"]) == 0
    (row,) = Result.load(out).tables["looks"].rows
    assert row["channels_agree"] and row["channels"] > 0.4
