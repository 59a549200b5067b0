"""What may be claimed of a class and a concept, on effects that are made up."""

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from scipy import stats

from conceptseg.stats.corrections import benjamini_hochberg, holm
from conceptseg.stats.intervals import bounded_interval
from conceptseg.stats.mergeable.sample_table import SampleTable
from conceptseg.stats.p_values import detectable_cost, exchangeable_p, sign_flip_ps
from conceptseg.study.ace.apart import tell_apart
from conceptseg.study.ace.assess import PAIRS, TESTED, assess, describe, enrichment
from conceptseg.study.ace.discovery import DISCOVERY
from conceptseg.study.ace.erase import ERASURES, Erasures
from conceptseg.study.ace.findings import findings
from conceptseg.study.ace.outside import OUTSIDE, place_uses
from conceptseg.study.ace.tcav import Influence
from tests.study.ace.small import concept, direction, discovery, study

IMAGES, UNITS = 12, 3
AXIS = direction([1, 0, 0])


def influence(effect: float, p: float, draws: int = 999) -> Influence:
    """An effect that a share p of random concepts reach, of which there are `draws`."""
    moves = effect + 0.01 * np.arange(IMAGES)
    part, null = moves / 2, np.zeros(draws)
    null[: max(0, round(p * (1 + draws)) - 1)] = 10 + abs(effect)
    p = exchangeable_p(abs(moves.mean()), null)
    return Influence(moves, part, part, p, p / 2, null, np.zeros(draws))


def case(
    effect: float = 0.5,
    p_effect: float = 0.001,
    loss: float = -0.3,
    spread: float = 0.05,
    null: float = 0.0,
    inside: float = 0.0,
    around: float = 0.0,
    others: int = 1,
    groups: int = IMAGES,
    nan: int = 0,
    draws: int = 999,
):
    """Class 1 and concept 0 as given; `others` concepts that do nothing; the truth is in images."""
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
    share = np.zeros((IMAGES, 2), np.float32)
    share[: round(inside * IMAGES), 1] = 1
    ring = np.zeros((IMAGES, 2), np.float32)
    ring[IMAGES - round(around * IMAGES) :, 1] = 1
    moves = {(1, q): influence(effect if q == 0 else 0.0, p_effect if q == 0 else 1.0, draws)
             for q in range(concepts)}  # fmt: skip
    local = {key: influence(-one.effect, 0.5) for key, one in moves.items()}
    names = tuple(f"g{i % groups}" for i in range(IMAGES))
    layer, labelled = np.zeros((IMAGES, 1, 2)), np.ones(IMAGES, bool)
    found = discovery(
        IMAGES,
        UNITS,
        2,
        groups=names,
        share=share,
        ring=ring,
        concepts=tuple(concept(q + 1, np.arange(IMAGES), AXIS) for q in range(concepts)),
        class_images={0: np.arange(0), 1: np.arange(IMAGES)},
        influence=moves,
        local=local,
        published={(1, 0): 0.25},
    )
    right = kept - clean[:, None]
    return found, Erasures(found.ids, labelled, clean, kept, random, layer, right)


def judged(found, erasures):
    return assess(study(), None, DISCOVERY(found) | ERASURES(erasures))[TESTED]


def pair(outside=-0.25, apart=0.0, own=1.0, reached=1.0, **changes):
    """The first pair; erased away from the class it costs `outside`, `apart` more or less.

    A share `own` of that is of the class's own pixels, of which what lies away acts on `reached`.
    """
    found, erasures = case(**changes)
    known = DISCOVERY(found) | ERASURES(erasures)
    known |= assess(study(), None, known)
    known |= tell_apart(study(), None, known)
    if outside is None:
        return place_uses(study(outside_pairs=0), None, known)[PAIRS][0]
    used = sum(one.used for one in known[TESTED])
    sign = np.where(np.arange(IMAGES) % 2, 1, -1)
    change = (outside + apart * sign)[:, None].repeat(used, 1)
    table = {"iou": erasures.clean[:, 1, None] + change, "right": own * change}
    table["reached"] = np.full_like(change, reached)
    known |= OUTSIDE(SampleTable.batch(found.ids, table))
    return place_uses(study(), None, known)[PAIRS][0]


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
        ({"inside": 0.6}, None),
        ({"inside": 0.4}, True),
        ({"inside": 0.3, "around": 0.4}, None),
        ({"around": 1.0}, None),  # wholly in the ring: an object's edge is there too
        ({"loss": -0.6, "around": 1.0, "outside": -0.01}, False),
        ({"outside": -0.16}, True),
        ({"outside": -0.14}, None),  # less than half of -0.3, but the interval reaches it
        ({"outside": -0.05}, None),  # one of 12 images not seen could lose all
        ({"loss": -0.6, "outside": -0.05}, False),
        ({"outside": -0.2, "apart": 0.5}, None),  # its interval reaches zero
        ({"outside": None}, None),  # not tried
        ({"loss": -0.6, "outside": 0.0, "reached": 0.6}, False),
        ({"loss": -0.6, "outside": 0.0, "reached": 0.4}, None),  # nothing could have remained
        ({"reached": 0.4}, True),
        ({"own": 0.7}, True),
        ({"own": 0.3}, None),  # the rest is of other places, which are called it then
        ({"loss": -0.6, "outside": -0.4, "own": 0.0}, False),
        ({"loss": -0.05, "spread": 0.001, "outside": -0.019}, None),  # below the smallest effect
    ],
)
def test_what_acts_from_context(changes, expected):
    one = pair(**changes)
    assert one.used and one.from_context is expected


def test_what_was_not_tried_is_said_not_to_be():
    """A used concept that lies wholly elsewhere, of which nothing was tried."""
    found, _ = case()
    (untried,) = findings(found, [pair(outside=None)], ["rest", "car"], ["road"] * 2, {})
    assert untried.details["from_context"] is None and "not tested" in untried.claim
    (tried,) = findings(found, [pair()], ["rest", "car"], ["road"] * 2, {})
    assert tried.details["from_context"] and "acts from context" in tried.claim
    for where, own in (
        ({"inside": 1.0}, "which is of car itself."),
        ({"around": 1.0}, "which lies right around it."),
        ({}, "though hardly by what of that lies outside of it."),
    ):
        (near,) = findings(
            found, [pair(loss=-0.6, outside=-0.01, **where)], ["rest", "car"], ["road"] * 2, {}
        )
        assert near.plain == f"The network finds car by concept 1, {own}"
    (late,) = findings(
        found, [pair(loss=-0.6, outside=0.0, reached=0.0)], ["rest", "car"], ["road"] * 2, {}
    )
    assert "cannot be told at this layer" in late.claim and "acts on 0% of" in late.claim
    assert late.plain == "The network finds car by concept 1." and "edge" not in late.claim
    (late,) = findings(found, [pair(reached=0.0, around=1.0)], ["rest", "car"], ["road"] * 2, {})
    assert late.claim.endswith("Right around the class edge and context are one.")
    (ring,) = findings(found, [pair(around=1.0)], ["rest", "car"], ["road"] * 2, {})
    assert "stays open" in ring.claim and "right around it" in ring.claim


def test_numbers_by_their_definitions():
    found, erasures = case(groups=9, nan=2, null=-0.05)
    one = judged(found, erasures)[0]
    rows = range(2, IMAGES)
    names = [found.sampling.groups[i] for i in rows]
    loss = np.array([erasures.concept[i, 0, 1] - 0.8 for i in rows])
    null = np.array([np.mean(erasures.null[i, :, 1]) - 0.8 for i in rows])
    assert one.erased_images == 10 and one.images == IMAGES
    assert one.loss.value == pytest.approx(loss.mean()) and one.null_loss == pytest.approx(-0.05)
    place = np.unique(names, return_inverse=True)[1]
    assert one.loss.ci == pytest.approx(bounded_interval(loss, place, -0.8, 0.0))
    assert one.to_lose == pytest.approx(0.8)
    sums = found.sampling.at(rows).sums(loss - null)
    assert one.p_loss == sign_flip_ps(sums[None], seed=0, side="less")[0]
    moves = found.influence[1, 0]
    assert one.moves.value == moves.effect and one.moved.p == moves.p_effect
    assert one.moves == found.sampling.mean(moves.derivatives)
    assert one.local is found.local[1, 0] and one.influence is moves
    assert moves.outside_share == 0.5
    assert one.p_published == 0.25
    assert one.where == {"inside": 0, "ring": 0, "elsewhere": 1}


@pytest.mark.parametrize("others", [1, 3])
def test_what_is_detectable_is_at_the_level_that_correction_leaves(others):
    """Rule (b): Student's test of the groups has power 0.8 there at 0.05 / concepts, one-sided."""
    found, erasures = case(groups=12, others=others)
    one = judged(found, erasures)[0]
    loss = erasures.change("concept", 1)[:, 0]
    shift = one.test.detectable / (loss.std(ddof=1) / np.sqrt(12))
    bar = stats.t.ppf(1 - 0.05 / (1 + others), 11)
    assert stats.nct.sf(bar, 11, shift) == pytest.approx(0.8, abs=1e-3)
    normal = stats.norm.ppf(0.975) + stats.norm.ppf(0.8)
    assert one.test.detectable > normal * loss.std(ddof=1) / np.sqrt(12)


def test_of_scattered_random_directions_only_a_larger_loss_is_detectable():
    found, erasures = case(spread=0.01)
    near = judged(found, erasures)[0]
    far = erasures.null.copy()
    far[:, 0, 1] -= 0.2
    both = DISCOVERY(found) | ERASURES(replace(erasures, null=far))
    one = assess(study(), None, both)[TESTED][0]
    assert one.test.detectable == pytest.approx(detectable_cost([0.2, 0.0], 0.05))
    assert one.test.detectable > 10 * near.test.detectable


def test_no_interval_of_under_five_groups_and_no_use_without():
    """Rule (a)."""
    few, enough = pair(groups=4), pair(groups=5)
    assert few.loss.ci is few.moves.ci is None
    assert not few.used and few.loss.n == 4
    assert enough.loss.ci and enough.moves.ci


def test_many_concepts_and_few_groups_are_judged_jointly():
    """Rule (f): of 25 concepts Holm could pass none in 8 groups, (1/256) * 25 being 0.1."""
    one = pair(groups=8, others=24, p_effect=1e-4, draws=9999)
    assert one.used and one.test.by == "joint flips"
    assert one.test.adjusted == pytest.approx(2 / 256), "of two effects, each is corrected"
    lost = pair(groups=8, others=24, p_effect=0.03)
    assert not lost.used and lost.test.testable


@pytest.mark.parametrize("changes", [{"groups": 4}, {"draws": 19}])
def test_what_could_not_pass_is_not_testable(changes):
    """Rule (f): of four groups, or of 19 random concepts for two concepts, whatever is there."""
    one = pair(**changes)
    assert not one.used and not one.test.testable
    assert np.isnan([one.test.p, one.test.adjusted, one.test.detectable, one.p_bh]).all()
    assert one.test.least > 0.05 and np.isfinite(one.loss.value)
    assert one.verdict == "not testable"
    assert one.test.needs == ("6 groups" if "groups" in changes else "79 random concepts")


def test_the_p_of_both_is_the_larger():
    for p_effect, spread in product((0.001, 0.3), (0.01, 2.0)):
        one = pair(p_effect=p_effect, spread=spread)
        assert one.test.p == max(one.influence.p_effect, one.p_loss)
        assert one.test.adjusted == min(1, 2 * one.test.p), "of two concepts, the other has p = 1"
        assert one.p_bh == one.test.adjusted
        assert one.moved.adjusted == min(1, 2 * one.moved.p)


def test_corrections_and_screens_are_over_all_classes():
    found, erasures = case(others=3)
    rng = np.random.default_rng(0)
    moves = {(c, q): influence(0.5, float(rng.random() ** 3)) for c in (0, 1) for q in range(4)}
    lost = erasures.concept - 0.1 - 0.3 * rng.random(erasures.concept.shape)
    both = replace(
        found,
        influence=moves,
        local=moves,
        class_images={c: np.arange(IMAGES) for c in (0, 1)},
    )
    known = DISCOVERY(both) | ERASURES(replace(erasures, concept=lost))
    pairs = assess(study(), None, known)[TESTED]
    for name, p in (
        ("p_bh", [q.test.p for q in pairs]),
        ("p_moves_bh", [q.moved.p for q in pairs]),
    ):
        assert [getattr(one, name) for one in pairs] == benjamini_hochberg(p).tolist()
    assert {one.class_id for one in pairs} == {0, 1}
    assert [one.test.adjusted for one in pairs] == holm([one.test.p for one in pairs]).tolist()
    assert [one.moved.adjusted for one in pairs] == holm([one.moved.p for one in pairs]).tolist()


def test_a_class_without_reference_has_no_loss():
    one = pair(nan=IMAGES)
    assert np.isnan([one.loss.value, one.null_loss, one.test.detectable]).all()
    assert one.loss.ci is None and one.erased_images == 0
    assert not one.test.testable


def test_a_finding_says_how_many_of_what_are_behind_it():
    """Rule (d): twelve images, nine groups."""
    found, erasures = case(groups=9)
    pairs = judged(found, erasures)
    (finding,) = findings(found, pairs, ["rest", "car"], ["road"] * 2, {})
    assert (finding.n, finding.of, finding.counted) == (9, "groups", "9 groups")
    assert finding.standing == "evidence" and finding.by == "test"
    assert finding.details["erased_images"] == IMAGES
    assert (finding.effect, finding.ci) == (pairs[0].loss.value, pairs[0].loss.ci)


def test_uses_along_nearly_one_direction_are_said_to_be_hardly_several():
    """Five uses of a class: the second lies 0.9 along the first, the third 0.7, the fourth at -0.9,
    and the last one is of another class."""
    vectors = [[1, 0, 0], [0.9, 0.19**0.5, 0], [0.7, -(0.51**0.5), 0], [-0.9, 0, 0.19**0.5],
               [1, 0, 0]]  # fmt: skip
    concepts = tuple(concept(q + 1, [0], direction(v)) for q, v in enumerate(vectors))
    found = discovery(IMAGES, UNITS, 3, concepts=concepts)
    first = pair(outside=None)
    assert first.used
    costs = (-0.5, -0.4, -0.35, -0.3, -0.6)
    pairs = [
        replace(first, class_id=2 if q == 4 else 1, concept=q, loss=replace(first.loss, value=cost))
        for q, cost in enumerate(costs)
    ]
    made = findings(found, [*reversed(pairs)], ["rest", "car", "bus"], ["road"] * 5, {3: "night"})
    told = {(one.details["concept"]): one for one in made}
    assert {q: one.details["alike"] for q, one in told.items()} == {
        1: [], 2: [1], 3: [], 4: [1, 2], 5: []
    }  # fmt: skip
    assert told[2].plain.endswith("; much the same as by concept 1.")
    assert told[2].claim.endswith(
        "Its direction is nearly that of concept 1 (cosine 0.90): erasing one takes most of the "
        "other, so these are hardly two uses."
    )
    assert told[4].claim.endswith(
        "Its direction is nearly the opposite of concept 1 (cosine -0.90) and the opposite of "
        "concept 2 (cosine -0.81): erasing one takes most of the others, so these are hardly 3 "
        "uses."
    )
    assert all("nearly" not in told[q].claim for q in (1, 3, 5))
    unused = [replace(one, used=False) if one.concept == 0 else one for one in pairs]
    rest = findings(found, unused, ["rest", "car", "bus"], ["road"] * 5, {})
    assert {one.details["concept"]: one.details["alike"] for one in rest}[2] == []
    assert [one.details["alike"] for one in rest if one.details["concept"] == 4] == [[2]]


def test_nothing_tested_is_nothing_assessed():
    found, erasures = case()
    found.influence.clear()
    assert judged(found, erasures) == ()


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
    assert {(int(r.set_name), r.column, r.value) for r in result} == set(significant)
    assert (1, "light", "night") in significant
    for row in result:
        key = (int(row.set_name), row.column, row.value)
        assert row.p == pytest.approx(expected[key])
        assert row.p_adjusted == pytest.approx(significant[key])
    night = next(r for r in result if r.value == "night")
    assert night.share_inside == 1.0 and night.share == 12 / 30


def test_enrichment_counts_groups():
    """Rule (c): ten frames of each of six scenes are six scenes, of which three are at night."""
    scene = np.arange(60) // 10
    light = {"light": ["night" if s < 3 else "day" for s in scene]}
    core = concept(1, np.flatnonzero((scene < 3) & (np.arange(60) % 10 < 4)), AXIS)
    found = discovery(60, UNITS, 2, concepts=(core,), groups=tuple(f"g{s}" for s in scene))
    alone = discovery(60, UNITS, 2, concepts=(core,))
    (night,) = enrichment(alone, light)
    assert night.p < 1e-3 and enrichment(found, light) == []


def test_no_metadata_is_no_enrichment():
    found = discovery(3, UNITS, 2, concepts=(concept(1, [0], AXIS),))
    assert enrichment(found, {}) == []


def test_a_loss_among_scattered_random_directions_is_no_use():
    """Sure of each image, but random directions differ from each other by as much."""
    found, erasures = case(loss=-0.3, spread=0.01)
    far = erasures.null.copy()
    far[:, 0, 1] -= 0.5
    one = judged(found, replace(erasures, null=far))[0]
    assert one.test.passed and one.p_random > 0.05 and not one.used
    assert one.verdict == "below the criterion"
