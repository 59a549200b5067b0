"""What random directions hold beside a concept, against full passes of the network."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch

from conceptseg.engine.known import Known
from conceptseg.stats.estimate import Estimate
from conceptseg.stats.family import given
from conceptseg.stats.mergeable.sample_table import SampleTable
from conceptseg.study.ace.apart import APART, MOST, Apart, shared, tell_apart, without
from conceptseg.study.ace.assess import JUDGED, TESTED
from conceptseg.study.ace.discovery import DISCOVERY
from conceptseg.study.ace.erase import ERASURES, Erasures
from tests.small_models import images, unet
from tests.study.ace.small import (
    Edited,
    activations,
    batch,
    concept,
    context,
    direction,
    discovery,
    study,
)
from tests.study.ace.test_erase import iou_by_loops
from tests.study.ace.test_erase import without as erased_by_loops

LAYER, CLASSES, UNITS, IMAGES = "mid", 3, 16, 4
(TEST,) = given([0.001], 0.001, n=IMAGES, of="images", needs="")


@dataclass(frozen=True)
class Told:
    """The part of a pair that is read."""

    class_id: int
    concept: int
    loss: Estimate
    p_random: float = 0.2
    shown: bool = True
    used: bool = False
    verdict: str = "below the criterion"
    to_lose: float = 0.9
    test: object = TEST
    p_apart: float = float("nan")
    apart_loss: float = float("nan")


def pair(class_id, q, loss=-0.4, **changes):
    return Told(class_id, q, Estimate(loss, loss - 0.1, loss + 0.1, IMAGES), **changes)


@pytest.fixture(scope="module")
def case():
    model, pictures = unet(), images(IMAGES, 24, 32)
    grid = activations(model, LAYER, pictures)
    rng = np.random.default_rng(0)
    place = grid.permute(0, 2, 3, 1).reshape(-1, UNITS).double().numpy()
    v, *null = (direction(rng.normal(size=UNITS), -12.0) for _ in range(5))
    found = discovery(
        IMAGES,
        UNITS,
        CLASSES,
        place=place,
        concepts=(concept(1, [0], null[3]), concept(2, [1], v)),
        null_directions=(*null[:3], v),
    )
    return model, pictures, found


def test_what_is_left_shares_nothing_with_the_concept(case):
    """By least squares on the concept's direction; of one that is the concept nothing is left."""
    _, _, found = case
    v = found.concepts[1].direction.vector[:, None]
    left = without(found, 1)
    assert len(left) == 3
    for one, plain in zip(left, found.null_directions, strict=False):
        along = np.linalg.lstsq(v, plain.vector, rcond=None)[0]
        rest = plain.vector - v @ along
        assert np.allclose(one.vector, rest / np.linalg.norm(rest)) and abs(one.vector @ v) < 1e-12
        assert one.absent == pytest.approx(float((found.place @ one.vector).mean()))


def test_only_concepts_that_random_directions_hold_are_tried_the_costliest_first():
    wide, lost = pair(0, 4, p_random=0.01), pair(0, 5, shown=False)
    assert shared([pair(0, 1, -0.2), wide, pair(1, 3, -0.5), lost, pair(2, 1, -0.6)]) == [1, 3]
    many = [pair(0, q, -0.5 + q / 100) for q in range(MOST + 3)]
    assert shared(many) == list(range(MOST))


def test_the_sweep_is_a_full_pass_without_each(case):
    model, pictures, found = case
    labels = torch.randint(-1, 3, (IMAGES, 24, 32), generator=torch.Generator().manual_seed(3))
    known = DISCOVERY(found) | TESTED((pair(1, 1), pair(1, 0, p_random=0.01)))
    here = context(model, pictures, LAYER, labels=labels)
    table = Apart(study()).map(here, batch(pictures, labels), known)[APART]
    assert set(table.tables["s00"]) == {"concept 1"}
    with torch.no_grad():
        clean = iou_by_loops(model(pictures).argmax(1), labels)
    changed = 0.0
    for number, one in enumerate(without(found, 1)):
        gone = Edited(model, LAYER, lambda out, one=one: erased_by_loops(out, one))
        with torch.no_grad():
            expected = iou_by_loops(gone(pictures).argmax(1), labels)
        stored = table.column("concept 1")[:, number]
        assert np.allclose(stored, expected, atol=1e-6, equal_nan=True)
        changed = max(changed, float(np.nanmax(np.abs(expected - clean))))
    assert changed > 0.001


@pytest.mark.parametrize(("cost", "used"), [(0.0, True), (0.4, False)])
def test_it_decides_by_what_the_rest_costs(cost, used):
    """Twenty random directions that cost the class nothing beside the concept, or as much."""
    found = discovery(IMAGES, UNITS, CLASSES, concepts=(concept(1, [0], direction(np.eye(16)[0])),))
    clean = np.full((IMAGES, CLASSES), 0.9, np.float32)
    kept = clean[:, None] - np.float32(0.4)
    rest = np.repeat(clean[:, None], 20, 1)
    rest -= np.float32(cost) * np.linspace(0.5, 1.5, 20, dtype=np.float32)[:, None]
    erasures = Erasures(found.ids, np.ones(IMAGES, bool), clean, kept, kept, kept, kept)
    given_pairs = (pair(1, 0), pair(2, 0, p_random=0.01, used=True, verdict="used"))
    known = DISCOVERY(found) | ERASURES(erasures) | TESTED(given_pairs)
    assert tell_apart(study(), None, known)[JUDGED] == given_pairs  # nothing was tried
    known |= APART(SampleTable.batch(found.ids, {"concept 0": rest}))
    one, other = tell_apart(study(), None, known)[JUDGED]
    assert one.used is used and one.verdict == ("used" if used else "below the criterion")
    assert one.apart_loss == pytest.approx(-cost, abs=1e-6)
    assert (one.p_apart <= 0.05) is used and other == given_pairs[1]


def test_where_none_is_shared_no_image_is_looked_at(case):
    model, pictures, found = case
    known = DISCOVERY(found) | TESTED((pair(1, 1, p_random=0.01), pair(1, 0, shown=False)))
    known |= ERASURES(Erasures(found.ids, *[np.ones((IMAGES, 1, CLASSES))] * 6))
    here = context(model, pictures, LAYER)
    assert not Apart(study()).samples(here, known)
    assert Apart(study()).samples(here, Known() | known | TESTED((pair(1, 1),)))
