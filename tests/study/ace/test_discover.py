"""From segments to concepts: rules by truth tables and loops, the whole on planted segments."""

import dataclasses
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from conceptseg.concepts.finders.kmeans import KMeans
from conceptseg.concepts.segments import segment
from conceptseg.errors import InputError
from conceptseg.stats.mergeable.moments import Moments
from conceptseg.stats.mergeable.sample_table import SampleTable
from conceptseg.study.ace.clusters import core_of, places, survives
from conceptseg.study.ace.discover import _held_out_auc, discover
from conceptseg.study.ace.discovery import DISCOVERY, Direction
from conceptseg.study.ace.survey import ACTIVATION, SEGMENTS
from tests.explain.explainers.planted import red_finder
from tests.small_models import images
from tests.study.ace.small import context, study


@pytest.mark.parametrize(
    ("n", "u", "total", "kept"),
    [
        (10, 6, 1000, True),  # u > n/2
        (10, 5, 1000, False),
        (10, 5, 19, True),  # n/4 < u and N/4 < u
        (10, 5, 20, False),
        (20, 5, 19, False),  # u = n/4 and u < N/2
        (20, 5, 9, True),  # n/10 < u and N/2 < u
        (50, 5, 9, False),
        (49, 5, 9, True),
        (49, 5, 10, False),
    ],
)
def test_survival_at_its_borders(n, u, total, kept):
    assert survives(n, u, total) == kept


@settings(max_examples=100)
@given(st.integers(1, 60), st.integers(1, 60), st.integers(1, 60))
def test_survival_in_whole_numbers(n, u, total):
    rules = (2 * u > n, 4 * u > n and 4 * u > total, 10 * u > n and 2 * u > total)
    assert survives(n, u, total) == any(rules)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 14))
def test_places_by_union_find(seed, count):
    rng = np.random.default_rng(seed)
    image = np.sort(rng.integers(0, 3, count))
    corner = rng.integers(0, 12, (count, 2))
    box = np.concatenate([corner, corner + rng.integers(1, 5, (count, 2))], 1)
    parent = list(range(count))

    def root(i):
        while parent[i] != i:
            i = parent[i]
        return i

    for i, j in product(range(count), repeat=2):
        if image[i] != image[j]:
            continue
        # Grown by one pixel, the boxes share a pixel or an edge: they overlap or are adjacent.
        apart = (
            box[i, 0] > box[j, 2] or box[j, 0] > box[i, 2]
            or box[i, 1] > box[j, 3] or box[j, 1] > box[i, 3]
        )  # fmt: skip
        if not apart:
            parent[root(i)] = root(j)
    assert places(image, box) == len({root(i) for i in range(count)})


def test_places_by_hand():
    box = np.array([[0, 0, 4, 4], [4, 0, 8, 4], [9, 0, 12, 4], [0, 0, 4, 4]])
    assert places(np.array([0, 0, 0, 1]), box) == 3
    assert places(np.array([0, 1, 2, 3]), box) == 4


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 8), st.integers(1, 3))
def test_core_by_a_loop(seed, size, per_image):
    rng = np.random.default_rng(seed)
    image = np.sort(rng.integers(0, 5, 20))
    members = rng.permutation(20)[:12]
    expected = []
    for row in members:
        taken = sum(image[other] == image[row] for other in expected)
        if len(expected) < size and taken < per_image:
            expected.append(row)
    assert core_of(members, image, size, per_image).tolist() == expected


def held_out(rows, is_concept, image):
    return _held_out_auc(study(), rows, is_concept, image)


def test_held_out_auc_of_a_concept_and_of_none():
    rng = np.random.default_rng(0)
    image = np.repeat(np.arange(40), 4)
    is_concept = np.arange(160) % 4 == 0
    noise = rng.normal(size=(160, 5))
    assert held_out(noise + 9 * is_concept[:, None], is_concept, image) == 1.0
    assert abs(held_out(noise, is_concept, image) - 0.5) < 0.15


def test_held_out_auc_is_not_fooled_by_what_one_image_shares():
    """Each image's segments of the "concept" lie elsewhere: learnt by heart, useless elsewhere."""
    rng = np.random.default_rng(1)
    image = np.repeat(np.arange(20), 6)
    is_concept = np.arange(120) % 6 < 3
    own = rng.normal(size=(20, 400)) * 3
    rows = rng.normal(size=(120, 400)) + is_concept[:, None] * own[image]
    v = rows[is_concept].mean(0) - rows[~is_concept].mean(0)
    assert (rows[is_concept] @ v).min() > (rows[~is_concept] @ v).max(), "in sample: AUC 1"
    assert held_out(rows, is_concept, image) < 0.75


def test_held_out_auc_by_halves_of_the_images():
    """Images of the concept are dealt out in turn, the others by their number's parity."""
    rng = np.random.default_rng(3)
    image = np.repeat(np.arange(12), 5)
    is_concept = (np.arange(60) % 5 == 0) & np.isin(image, [1, 2, 5, 6, 7, 11])
    rows = rng.normal(size=(60, 3)) + 0.7 * is_concept[:, None]
    first = {1, 5, 7, 0, 4, 8, 10}
    areas = []
    for train in (True, False):
        mine = np.array([(int(i) in first) == train for i in image])
        v = rows[mine & is_concept].mean(0) - rows[mine & ~is_concept].mean(0)
        scores = rows[~mine] @ v
        areas.append(roc_auc_score(is_concept[~mine], scores))
    assert areas[0] != areas[1]
    assert held_out(rows, is_concept, image) == pytest.approx(np.mean(areas))


def test_held_out_auc_needs_two_images():
    rows, is_concept = np.random.default_rng(2).normal(size=(9, 3)), np.arange(9) < 3
    assert np.isnan(held_out(rows, is_concept, np.where(is_concept, 4, np.arange(9))))


def test_direction_and_the_level_of_absence():
    contrast = np.array([[0.0, 3.0], [2.0, 5.0]], np.float32)
    found = Direction.of(np.array([0.0, -2.0]), contrast)
    assert found.vector.tolist() == [0, -1] and found.absent == -4
    nothing = Direction.of(np.zeros(2), contrast)
    assert nothing.vector.tolist() == [0, 0] and nothing.absent == 0


UNITS, KINDS, IMAGES = 8, 5, 24


def planted_table(capacity: int | None = 200, lone: bool = False) -> SampleTable:
    """Segments around e_0 .. e_4, two of each in every image; e_4 has twenty, all in one image.

    Those of e_0 lie inside class 1, the others elsewhere. The gradient outside the region points
    to e_1, that inside to e_0; along paths it is three times the local one. The last four images
    do not hold the class. With `lone`, e_4 has one segment in each of the first six images.
    """
    table = SampleTable.empty(capacity)
    for i in range(IMAGES):
        rng = np.random.default_rng([7, i])
        group = np.repeat(np.arange(4), 2)
        if lone and i < 6:
            group = np.append(group, 4)
        elif i == 3 and not lone:
            group = np.concatenate([group, np.full(20, 4)])
        count = len(group)
        rows = np.eye(UNITS)[group] + 0.05 * rng.normal(size=(count, UNITS))
        share = np.zeros((count, 2), np.float32)
        holds = i < IMAGES - 4
        share[group == 0, 1] = 0.9 * holds
        share[:, 0] = 1 - share[:, 1]
        gradient = 0.2 * rng.normal(size=(2, UNITS))
        gradient[0, 0] += 2
        gradient[1, 1] += 2
        one = {
            "embedding": rows.astype(np.float32),
            "segments": segment(rng.random((3, 16, 16)), (4,)).packed(),
            "level": np.zeros(count, np.int16),
            "number": np.arange(count, dtype=np.int32),
            # Corner to corner there is a pixel between them: each is a place of its own.
            "box": np.array([[9 * n, 9 * n, 9 * n + 8, 9 * n + 8] for n in range(count)], np.int32),
            "area": np.full(count, 0.1, np.float32),
            "share": share,
            "given": np.full(count, -1),
            "ring": np.zeros((count, 2), np.float32),
            "truth": share,
            "class": np.array([1] * holds, np.int32),
            "local": gradient[None][: int(holds)].astype(np.float32),
            "path": 3 * gradient[None][: int(holds)].astype(np.float32),
        }
        table = table.merge(
            SampleTable.of(f"s{i:02d}", one, priority=i, classes=(0, 1), capacity=capacity)
        )
    return table


SMALL = {
    "data": {"manifest": "none.yaml", "classes": ["class 1"]},
    "min_images": 4,
    "concepts": KMeans(counts=(5,), draws=2, seeds=2),
    "segments_per_concept": 20,
    "calibration": 50,
    "null_erasures": 3,
}


@pytest.fixture(scope="module")
def found():
    one = study(**SMALL)
    here = context(red_finder(), images(IMAGES, 8, 8), "encoder")
    table = planted_table()
    moments = Moments.of(np.random.default_rng(0).normal(size=(50, UNITS)))
    return discover(one, here, SEGMENTS(table) | ACTIVATION(moments))[DISCOVERY], table, moments


def concept_of(found, group: int):
    """The concept whose core lies around e_group."""
    return next(c for c in found.concepts if found.embedding[c.core].mean(0).argmax() == group)


def test_planted_concepts_are_found_and_the_one_of_a_single_image_is_dropped(found):
    one, _, _ = found
    assert len(one.concepts) == 4
    for group in range(4):
        concept = concept_of(one, group)
        nearest = one.embedding.argmax(1) == group
        assert set(concept.members.tolist()) == set(np.flatnonzero(nearest).tolist())
        assert concept.images == IMAGES and concept.stability == 1.0 and concept.auc > 0.99
        assert concept.agreement > 0.7
        # From the mean of the rest towards e_group.
        rest = np.delete(np.eye(UNITS), group, 0)[: KINDS - 1].mean(0)
        towards = np.eye(UNITS)[group] - rest
        assert concept.direction.vector @ towards / np.linalg.norm(towards) > 0.95
    assert len(one.dropped) == 1 and "in 1 images only" in one.dropped[0]["reason"]


def test_crops_make_the_concepts_and_what_lies_in_place_says_where_one_is_absent(found):
    """All is as with pooled embeddings, but the level that erasing sets moves with the place."""
    one, table, moments = found
    shift = np.random.default_rng(4).normal(size=UNITS)
    moved = {
        sample_id: {**rows, "place": rows["embedding"] + shift}
        for sample_id, rows in table.tables.items()
    }
    here = context(red_finder(), images(IMAGES, 8, 8), "encoder")
    crops = study(**SMALL, embedding="crops")
    known = SEGMENTS(dataclasses.replace(table, tables=moved)) | ACTIVATION(moments)
    other = discover(crops, here, known)[DISCOVERY]
    assert np.allclose(other.place, other.embedding + shift) and one.place is one.embedding
    pairs = [*zip(one.concepts, other.concepts, strict=True)]
    directions = [(a.direction, b.direction) for a, b in pairs]
    directions += [*zip(one.null_directions, other.null_directions, strict=True)]
    assert len(pairs) == 4 and len(directions) == 7
    for a, b in directions:
        assert np.allclose(a.vector, b.vector)
        assert b.absent == pytest.approx(a.absent + shift @ a.vector)
    for key, influence in one.influence.items():
        assert np.allclose(influence.derivatives, other.influence[key].derivatives)


@pytest.mark.parametrize("groups", [False, True])
def test_a_concept_of_one_group_cannot_be_held_out(groups):
    """Six images show e_4. They are one scene: nobody knows what the next scene would show."""
    names = [f"scene {max(0, i - 5)}" for i in range(IMAGES)] if groups else None
    here = context(red_finder(), images(IMAGES, 8, 8), "encoder", groups=names)
    moments = Moments.of(np.random.default_rng(0).normal(size=(50, UNITS)))
    known = SEGMENTS(planted_table(lone=True)) | ACTIVATION(moments)
    one = discover(study(**SMALL), here, known)[DISCOVERY]
    assert (one.sampling.of, one.sampling.n) == ("groups", 19 if groups else IMAGES)
    assert len(one.concepts) == 5 - groups
    assert [row["reason"] for row in one.dropped] == groups * [
        "it lies in one group only, or everywhere, and cannot be held out"
    ]
    assert all(concept.auc > 0.99 for concept in one.concepts)


def test_members_are_nearest_first_and_the_core_is_spread_over_images(found):
    one, _, _ = found
    for concept in one.concepts:
        assert len(concept.core) == 20
        counts = np.bincount(one.image[concept.core])
        assert counts.max() <= 2
        assert concept.core.tolist() == core_of(concept.members, one.image, 20, 2).tolist()


def test_the_planted_influence(found):
    """e_1 raises class 1 from outside, e_0 from inside; e_2 and e_3 are what e_1 is not."""
    one, _, _ = found
    number = {g: concept_of(one, g).number - 1 for g in range(4)}
    outer, inner = one.influence[1, number[1]], one.influence[1, number[0]]
    here = one.image < IMAGES - 4
    assert one.tag(1)[here & (one.embedding.argmax(1) == 0)].tolist() == [0] * 40
    mean_gradient = one.gradients[1].sum(1).mean(0)
    elsewhere = one.embedding[one.tag(1) == 2].mean(0)
    step = one.embedding[concept_of(one, 1).core].mean(0) - elsewhere
    assert one.local[1, number[1]].effect == pytest.approx(step @ mean_gradient, rel=1e-4)
    assert outer.effect == pytest.approx(3 * step @ mean_gradient, rel=1e-4)
    assert outer.effect > 2
    assert outer.tcav == outer.tcav_outside == 1.0 and outer.p_effect == 1 / 100
    assert outer.outside_share > 0.8
    assert inner.effect > 0 and inner.p_effect == 1 / 100
    for group in (2, 3):
        assert one.influence[1, number[group]].effect < 0
    assert one.where(concept_of(one, 1), 1) == {"inside": 0, "ring": 0, "elsewhere": 1}
    assert one.where(concept_of(one, 0), 1)["inside"] == 1.0


def test_what_is_passed_on(found):
    one, table, moments = found
    assert one.ids == tuple(table.ids) and (one.mean == moments.mean).all()
    assert one.class_images[1].tolist() == list(range(IMAGES - 4))
    assert (one.gradients[1] == table.column("local")).all()
    assert 50 <= len(one.null_p[1]) < 50 + len(one.concepts)  # shared out among the concepts
    assert ((one.null_p[1] > 0) & (one.null_p[1] <= 1)).all()
    assert set(one.published) == {(1, q) for q in range(4)}
    assert len(one.null_directions) == 3
    for null in one.null_directions:
        assert np.linalg.norm(null.vector) == pytest.approx(1)


def test_the_same_seed_finds_the_same():
    one = study(**{**SMALL, "calibration": 5})
    here = context(red_finder(), images(IMAGES, 8, 8), "encoder")
    moments = Moments.of(np.zeros((1, UNITS)))
    known = SEGMENTS(planted_table()) | ACTIVATION(moments)
    a, b = (discover(one, here, known)[DISCOVERY] for _ in range(2))
    assert [c.core.tolist() for c in a.concepts] == [c.core.tolist() for c in b.concepts]
    for key in a.influence:
        assert (a.influence[key].null_effect == b.influence[key].null_effect).all()
    assert (a.null_p[1] == b.null_p[1]).all() and a.published == b.published


def test_a_class_in_too_few_images_is_not_tested():
    one = study(min_images=21, concepts=KMeans(counts=(5,), draws=2, seeds=2))
    here = context(red_finder(), images(IMAGES, 8, 8), "encoder")
    with pytest.raises(InputError, match="more than 20 of the .* needs 21: give more images"):
        discover(one, here, SEGMENTS(planted_table()) | ACTIVATION(Moments.empty(UNITS)))
