"""Erasing away from a class alone, against a full pass of the network edited by a hook."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from conceptseg.concepts.segments import ring
from conceptseg.stats.estimate import Estimate
from conceptseg.study.ace import outside
from conceptseg.study.ace.assess import JUDGED, PAIRS
from conceptseg.study.ace.discovery import DISCOVERY
from conceptseg.study.ace.erase import ERASURES, Erasures
from conceptseg.study.ace.outside import OUTSIDE, Outside, place_uses, spared, tried
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
from tests.study.ace.test_erase import iou_by_loops, without

LAYER, CLASSES, UNITS, IMAGES = "mid", 3, 16, 4


def narrow(mask: np.ndarray) -> np.ndarray:
    """A ring of one pixel."""
    return ring(mask, 0.02)


def use(class_id: int, q: int, loss: float, used: bool = True) -> SimpleNamespace:
    return SimpleNamespace(class_id=class_id, concept=q, used=used, loss=Estimate(loss, -1, 0, 9))


REACH = 9


def erasures(found):
    """Of a layer whose positions act on pixels as far as `REACH` from them."""
    nothing = np.ones((IMAGES, 1, CLASSES))
    parts = nothing[:, 0, 0], nothing[:, 0], *[nothing] * 4
    return ERASURES(Erasures(found.ids, *parts, reach=float(REACH)))


USES = (use(1, 0, -0.2), use(1, 1, -0.4), use(2, 0, -0.3), use(2, 1, -0.9, used=False))


@pytest.fixture(scope="module")
def case():
    # Blocks of one colour, so that there are places far from each class.
    model = unet()
    pictures = images(IMAGES, 4, 4).repeat_interleave(24, 2).repeat_interleave(24, 3)
    labels = torch.randint(-1, 3, (IMAGES, 96, 96), generator=torch.Generator().manual_seed(3))
    labels[-1] = -1
    grid = activations(model, LAYER, pictures)
    rng = np.random.default_rng(0)
    directions = [direction(rng.normal(size=UNITS), absent) for absent in (-12.0, -15.0)]
    found = discovery(
        IMAGES,
        UNITS,
        CLASSES,
        mean=grid.mean((0, 2, 3)).double().numpy(),
        concepts=(concept(1, [0], directions[0]), concept(2, [1], directions[1])),
        class_images={0: np.arange(4), 1: np.array([0, 1, 3]), 2: np.arange(4)},
    )
    known = DISCOVERY(found) | JUDGED(USES) | erasures(found)
    one = study()
    here = context(model, pictures, LAYER, labels=labels)
    with pytest.MonkeyPatch.context() as patch:  # a ring of 5 px would spare all of such images
        patch.setattr(outside, "ring", narrow)
        table = Outside(one).map(here, batch(pictures, labels), known)[OUTSIDE]
    return model, pictures, labels, found, table, one


def test_uses_alone_are_tried_the_costliest_first():
    assert [(p.class_id, p.concept) for p in tried(study(), USES)] == [(1, 1), (1, 0), (2, 0)]
    few = tried(study(outside_pairs=1), USES)
    assert [(p.class_id, p.concept) for p in few] == [(1, 1), (2, 0)]
    assert tried(study(outside_pairs=0), USES) == []


def test_the_region_and_the_ring_around_it_are_spared():
    region = torch.zeros(40, 30, dtype=torch.bool)
    region[20:22, 10:12] = True
    near = spared(region)
    for y in range(40):
        for x in range(30):
            away = max(20 - y, y - 21, 10 - x, x - 11)
            assert bool(near[y, x]) == (away <= 5), "a tenth of the diagonal of 50 px"


def test_away_alone_is_a_full_pass_with_region_and_ring_spared(case):
    model, pictures, labels, found, table, one = case
    with torch.no_grad():
        clean = model(pictures).argmax(1)
    reference = torch.where((labels >= 0).flatten(1).any(1)[:, None, None], labels, clean)
    changed = False
    for row, pair in enumerate(tried(one, USES)):
        near = clean == pair.class_id
        near |= torch.stack([torch.from_numpy(narrow(mask.numpy())) for mask in near])

        def edit(out, near=near, q=pair.concept):
            gone = without(out, found.concepts[q].direction)
            for n in range(IMAGES):
                for y in range(out.shape[2]):
                    for x in range(out.shape[3]):
                        share = near[n, 4 * y : 4 * y + 4, 4 * x : 4 * x + 4].float().mean()
                        gone[n, :, y, x] = share * out[n, :, y, x] + (1 - share) * gone[n, :, y, x]
            return gone

        iou = iou_by_loops(Edited(model, LAYER, edit)(pictures).argmax(1), reference)
        changed |= not np.allclose(iou, iou_by_loops(clean, reference), equal_nan=True)
        expected = iou[:, pair.class_id]
        held = np.isin(np.arange(IMAGES), found.class_images[pair.class_id])
        expected[~held] = np.nan
        stored = np.stack([table.tables[i]["iou"][0, row] for i in table.ids])
        assert np.allclose(stored, expected, atol=5e-3, equal_nan=True)
        assert np.array_equal(np.isfinite(table.column("right")[:, row]), np.isfinite(stored))
        for n in np.flatnonzero(held):
            own = (clean[n] == pair.class_id).numpy()
            away = np.argwhere(~near[n].numpy())
            within = [np.abs(away - pixel).max(1).min() <= REACH for pixel in np.argwhere(own)]
            assert table.column("reached")[n, row] == pytest.approx(np.mean(within), nan_ok=True)
    assert changed


def test_without_a_bound_all_is_reached_if_anything_lies_away():
    region, kept = torch.zeros(2, 8, 8, dtype=torch.bool)
    region[2:4] = kept[1:5] = True
    assert outside.reached(region, kept, np.inf) == 1
    assert outside.reached(region, kept, 0) == 0
    assert outside.reached(region, torch.ones_like(kept), np.inf) == 0
    assert np.isnan(outside.reached(~torch.ones_like(kept), kept, np.inf))


def test_without_a_use_no_image_is_looked_at(case):
    model, pictures, _, found, _, one = case
    none = DISCOVERY(found) | JUDGED(USES[3:]) | erasures(found)
    assert not Outside(one).samples(context(model, pictures, LAYER), none)
    assert place_uses(one, None, none)[PAIRS] == USES[3:]
