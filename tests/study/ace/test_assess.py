"""What may be claimed of a class and a concept, on effects that are made up."""

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from scipy import stats

from conceptseg.stats.corrections import max_statistic_p
from conceptseg.stats.intervals import bootstrap_interval, detectable_effect
from conceptseg.stats.p_values import sign_flip_p
from conceptseg.study.ace.assess import PAIRS, assess, describe, enrichment
from conceptseg.study.ace.discovery import DISCOVERY
from conceptseg.study.ace.erase import ERASURES, Erasures
from conceptseg.study.ace.tcav import Influence
from tests.study.ace.small import concept, direction, discovery, study

IMAGES, UNITS = 12, 3
AXIS = direction([1, 0, 0])


def influence(effect: float, p: float) -> Influence:
    moves = effect + 0.01 * np.arange(IMAGES)
    part = moves / 2
    return Influence(moves, part, part, p, p / 2, np.zeros(1), np.zeros(1))


def case(
    effect: float = 0.5,
    p_effect: float = 0.001,
    loss: float = -0.3,
    spread: float = 0.05,
    null: float = 0.0,
    outside: float | None = -0.25,
    inside: float = 0.0,
    others: int = 1,
    groups: int = IMAGES,
    nan: int = 0,
):
    """Class 1 and concept 0 as told; `others` concepts that do nothing; the truth is in images."""
    rng = np.random.default_rng(0)
    noise = spread * rng.normal(size=IMAGES)
    noise -= noise.mean()
    clean = np.full((IMAGES, 2), 0.8)
    clean[:nan, 1] = np.nan
    concepts = 1 + others
    kept = np.zeros((IMAGES, concepts, 2)) + clean[:, None]
    kept[:, 0, 1] += loss + noise
    random = np.zeros((IMAGES, 2, 2)) + clean[:, None]
    random[:, 0, 1] += null
    random[:, 1, 1] += null
    gone = np.zeros((IMAGES, 0, 2)) + clean[:, None]
    if outside is not None:
        gone = clean[:, None] + np.full((IMAGES, 1, 2), outside)
    share = np.zeros((IMAGES, 2), np.float32)
    share[: round(inside * IMAGES), 1] = 1
    moves = {(1, q): influence(effect if q == 0 else 0.0, p_effect if q == 0 else 1.0)
             for q in range(concepts)}  # fmt: skip
    local = {key: influence(-one.effect, 0.5) for key, one in moves.items()}
    names = tuple(f"g{i % groups}" for i in range(IMAGES))
    found = discovery(
        IMAGES,
        UNITS,
        2,
        groups=names,
        share=share,
        concepts=tuple(concept(q + 1, np.arange(IMAGES), AXIS) for q in range(concepts)),
        class_images={0: np.arange(0), 1: np.arange(IMAGES)},
        influence=moves,
        local=local,
        published={(1, 0): 0.25},
    )
    pairs = ((1, 0),) if outside is not None else ()
    layer = np.zeros((IMAGES, 1, 2))
    labelled = np.ones(IMAGES, bool)
    ids = found.ids
    return found, Erasures(ids, names, pairs, labelled, clean, kept, random, layer, gone)


def pair(**changes):
    found, erasures = case(**changes)
    return assess(study(), None, DISCOVERY(found) | ERASURES(erasures))[PAIRS][0]


def test_a_concept_that_moves_the_score_and_is_needed_is_used():
    one = pair()
    assert one.used and one.from_context
    assert (one.class_id, one.concept, one.images, one.erased_images) == (1, 0, IMAGES, IMAGES)


@pytest.mark.parametrize(
    "changes",
    [
        {"effect": -0.5},
        {"p_effect": 0.2},
        {"p_effect": 0.03},  # Holm over two concepts
        {"loss": -0.019, "spread": 0.0},  # below the smallest effect
        {"loss": 0.3},
        {"loss": -0.03, "spread": 0.2},  # its interval reaches zero
        {"null": -0.3},  # random directions cost as much
        {"nan": IMAGES},  # the class is nowhere in the reference
    ],
)
def test_what_is_not_used(changes):
    one = pair(**changes)
    assert not one.used and not one.from_context


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"inside": 0.5}, False),
        ({"inside": 0.4}, True),
        ({"outside": -0.16}, True),
        ({"outside": -0.14}, False),  # less than half of -0.3
        ({"outside": 0.0}, False),
        ({"outside": None}, False),  # not tried
        ({"loss": -0.03, "spread": 0.001, "outside": -0.017}, False),  # below the smallest effect
    ],
)
def test_what_acts_from_context(changes, expected):
    one = pair(**changes)
    assert one.used and one.from_context == expected


def test_numbers_by_their_definitions():
    found, erasures = case(groups=9, nan=2, null=-0.05)
    one = assess(study(), None, DISCOVERY(found) | ERASURES(erasures))[PAIRS][0]
    rows = range(2, IMAGES)
    names = [found.groups[i] for i in rows]
    loss = np.array([erasures.concept[i, 0, 1] - 0.8 for i in rows])
    null = np.array([np.mean(erasures.null[i, :, 1]) - 0.8 for i in rows])
    assert one.erased_images == 10 and one.images == IMAGES
    assert one.loss == pytest.approx(loss.mean()) and one.null_loss == pytest.approx(-0.05)
    assert one.loss_ci == pytest.approx(bootstrap_interval(loss, names, seed=0))
    assert one.p_loss == sign_flip_p(loss - null, names, seed=0, side="less")
    assert one.detectable == pytest.approx(detectable_effect(loss, names))
    moves = found.influence[1, 0]
    assert one.moves == moves.effect and one.p_moves == moves.p_effect
    assert one.moves_ci == bootstrap_interval(moves.derivatives, found.groups, seed=0)
    local = found.local[1, 0]
    assert (one.tcav, one.p_tcav) == (local.tcav, local.p_tcav)
    assert one.outside_share == moves.outside_share == 0.5
    assert one.p_published == 0.25
    assert (one.inside, one.ring, one.elsewhere) == (0, 0, 1)


def test_the_largest_statistic_is_that_of_the_concepts_of_one_class():
    rng = np.random.default_rng(0)
    found, erasures = case(others=2)
    moves = {
        (c, q): replace(found.influence[1, q], null_effect=rng.normal(size=99))
        for c in (0, 1)
        for q in range(3)
    }
    both = replace(
        found,
        influence=moves,
        local={key: found.local[1, key[1]] for key in moves},
        class_images={c: np.arange(IMAGES) for c in (0, 1)},
    )
    for one in assess(study(), None, DISCOVERY(both) | ERASURES(erasures))[PAIRS]:
        nulls = np.stack([moves[one.class_id, q].null_effect for q in range(3)])
        effects = [moves[one.class_id, q].effect for q in range(3)]
        assert one.p_moves_max == max_statistic_p(effects, nulls)[one.concept]


def test_the_p_of_both_is_the_larger():
    for p_effect, spread in product((0.0001, 0.3), (0.01, 2.0)):
        one = pair(p_effect=p_effect, spread=spread)
        assert one.p == max(one.p_moves, one.p_loss)
        assert one.p_holm == min(1, 2 * one.p), "of two concepts, the other has p = 1"


def test_a_conjunction_holds_its_level_where_one_half_is_true():
    """Intersection-union: the score does move (p_moves small), but nothing is lost."""
    rng = np.random.default_rng(1)
    names = [str(i) for i in range(10)]
    p = [max(0.001, sign_flip_p(rng.normal(size=10), names, seed=0, side="less"))
         for _ in range(2000)]  # fmt: skip
    assert 0.035 <= np.mean(np.array(p) <= 0.05) <= 0.065
    both = [max(rng.random(), q) for q in p]
    assert np.mean(np.array(both) <= 0.05) < 0.01, "and far below it where both are false"


def test_a_class_without_reference_has_no_loss():
    one = pair(nan=IMAGES)
    assert np.isnan([one.loss, one.null_loss, *one.loss_ci, one.detectable]).all()
    assert one.p_loss == 1.0 and one.p == 1.0 and one.erased_images == 0


def test_nothing_tested_is_nothing_assessed():
    found, erasures = case()
    found.influence.clear()
    assert assess(study(), None, DISCOVERY(found) | ERASURES(erasures))[PAIRS] == ()


def test_descriptions():
    truth = np.array([[0.1, 0.7, 0.2, 0.0], [0.2, 0.6, 0.2, 0.0]], np.float32)
    found = discovery(2, UNITS, 4, truth=truth)
    names = ["sky", "tree", "road", "car"]
    one = concept(1, [0, 1], AXIS)
    assert describe(found, one, names) == "tree (65 %), road (20 %), sky (15 %)".replace(" %", "%")
    assert describe(found, concept(1, [0], AXIS), names) == "tree (70%), road (20%)"
    nothing = discovery(2, UNITS, 4)
    assert describe(nothing, one, names) == "mixed or ignored ground"


def test_enrichment_by_loops_over_scipys_test():
    rng = np.random.default_rng(2)
    count = 30
    light = ["night" if i < 12 else "day" for i in range(count)]
    metadata = {
        "light": light,
        "place": [str(rng.integers(3)) for _ in range(count)],
        "one": ["same"] * count,
        "many": [str(i % 13) for i in range(count)],
    }
    rows = (np.arange(10), np.arange(0, 30, 3))
    found = discovery(
        count, UNITS, 2, concepts=tuple(concept(q + 1, r, AXIS) for q, r in enumerate(rows))
    )
    expected = {}
    for q, column in product(range(2), ("light", "place")):
        for value in set(metadata[column]):
            cells = np.zeros((2, 2), int)
            for i in range(count):
                cells[int(i not in rows[q]), int(metadata[column][i] != value)] += 1
            p = stats.fisher_exact(cells, alternative="greater").pvalue
            expected[q + 1, column, value] = p
    adjusted = stats.false_discovery_control(list(expected.values()))
    significant = {key: q for key, q in zip(expected, adjusted, strict=True) if q <= 0.05}
    result = enrichment(found, metadata)
    assert {(r["concept"], r["column"], r["value"]) for r in result} == set(significant)
    assert (1, "light", "night") in significant
    for row in result:
        key = (row["concept"], row["column"], row["value"])
        assert row["p"] == pytest.approx(expected[key])
        assert row["p_adjusted"] == pytest.approx(significant[key])
    night = next(r for r in result if r["value"] == "night")
    assert night["share_in_concept"] == 1.0 and night["share_in_all"] == 12 / 30


def test_no_metadata_is_no_enrichment():
    found = discovery(3, UNITS, 2, concepts=(concept(1, [0], AXIS),))
    assert enrichment(found, {}) == []


def test_a_loss_among_scattered_random_directions_is_no_use():
    """Sure of each image, but random directions differ from each other by as much."""
    found, erasures = case(loss=-0.3, spread=0.01)
    far = erasures.null.copy()
    far[:, 0, 1] -= 0.6
    one = assess(study(), None, DISCOVERY(found) | ERASURES(replace(erasures, null=far)))[PAIRS][0]
    assert one.p_loss > 0.05 and not one.used
