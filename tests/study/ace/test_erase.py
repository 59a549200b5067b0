"""Erasures, each against a full pass of the network with the layer's output edited by a hook."""

import numpy as np
import pytest
import torch

from conceptseg.data.draw import sample_priority
from conceptseg.study.ace.discovery import DISCOVERY, Direction
from conceptseg.study.ace.erase import ERASURES, IOU, Erase, Erasures, erased
from conceptseg.study.ace.tcav import Influence
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

LAYER, CLASSES, UNITS, IMAGES = "mid", 3, 16, 4


def influence(effect: float, p: float, count: int = IMAGES) -> Influence:
    moves = np.full(count, effect)
    return Influence(moves, moves, moves, p, p, np.zeros(1), np.zeros(1))


@pytest.fixture(scope="module")
def case():
    """A model, its images and labels (the last image has none), and three directions in it."""
    model, pictures = unet(), images(IMAGES, 32, 32)
    labels = torch.randint(-1, 3, (IMAGES, 32, 32), generator=torch.Generator().manual_seed(3))
    labels[-1] = -1
    grid = activations(model, LAYER, pictures)
    rng = np.random.default_rng(0)
    directions = [direction(rng.normal(size=UNITS), absent) for absent in (-12.0, -15.0, -0.5)]
    moved = {
        (1, 0): influence(0.5, 0.01, 3),
        (1, 1): influence(0.9, 0.02, 3),
        (2, 0): influence(-0.5, 0.01),
        (2, 1): influence(0.5, 0.2),
    }
    found = discovery(
        IMAGES,
        UNITS,
        CLASSES,
        mean=grid.mean((0, 2, 3)).double().numpy(),
        concepts=(concept(1, [0], directions[0]), concept(2, [1], directions[1])),
        null_directions=(directions[2],),
        class_images={0: np.arange(4), 1: np.array([0, 1, 3]), 2: np.arange(4)},
        influence=moved,
        local=moved,
    )
    one = study()
    state = Erase(one).map(
        context(model, pictures, LAYER, labels=labels),
        batch(pictures, labels),
        DISCOVERY(found),
    )
    return model, pictures, labels, found, state, one


def iou_by_loops(prediction: torch.Tensor, reference: torch.Tensor) -> np.ndarray:
    result = np.full((len(prediction), CLASSES), np.nan)
    for n in range(len(prediction)):
        valid = reference[n] >= 0
        for c in range(CLASSES):
            a, b = (prediction[n] == c) & valid, (reference[n] == c) & valid
            if b.any():
                result[n, c] = ((a & b).sum() / (a | b).sum()).item()
    return result


def without(out: torch.Tensor, along: Direction) -> torch.Tensor:
    """By loops over positions: what exceeds the component of absence is taken away."""
    out, v = out.clone(), torch.from_numpy(along.vector)
    for n in range(out.shape[0]):
        for y in range(out.shape[2]):
            for x in range(out.shape[3]):
                a = out[n, :, y, x].double()
                if a @ v > along.absent:
                    out[n, :, y, x] = a - (a @ v) * v + along.absent * v
    return out


def test_every_erasure_is_a_full_pass_with_an_edited_layer(case):
    model, pictures, labels, found, state, _ = case
    with torch.no_grad():
        clean = model(pictures).argmax(1)
    reference = labels.clone()
    reference[-1] = clean[-1]
    table = state[IOU]
    assert [bool(table.tables[i]["labelled"][0]) for i in table.ids] == [True, True, True, False]

    def same(kind, row, edit):
        logits = Edited(model, LAYER, edit)(pictures)
        stored = np.stack([table.tables[i][kind][row] for i in table.ids])
        expected = iou_by_loops(logits.argmax(1), reference)
        # Rounding may turn a pixel on a class border.
        assert np.allclose(stored, expected, atol=5e-3, equal_nan=True), kind
        return not np.allclose(expected, iou_by_loops(clean, reference), equal_nan=True)

    changed = [same("clean", 0, lambda out: out)]
    mean = torch.from_numpy(found.mean).float()[:, None, None]
    changed.append(same("layer", 0, lambda out: mean.expand_as(out)))
    for q in range(2):
        v = found.concepts[q].direction
        changed.append(same("concept", q, lambda out, v=v: without(out, v)))
    changed.append(same("null", 0, lambda out: without(out, found.null_directions[0])))
    assert changed == [False, True, True, True, True]


def test_batches_of_one_are_the_batch(case):
    model, pictures, labels, found, state, one = case
    here = context(model, pictures, LAYER, labels=labels)
    for i, sample_id in enumerate(state[IOU].ids):
        part = batch(pictures[i : i + 1], labels[i : i + 1], first=i)
        alone = Erase(one).map(here, part, DISCOVERY(found))[IOU].tables[sample_id]
        for kind, values in state[IOU].tables[sample_id].items():
            assert np.allclose(alone[kind], values, atol=5e-3, equal_nan=True)


def test_finish_stacks_the_tables(case):
    model, pictures, labels, found, state, one = case
    here = context(model, pictures, LAYER, labels=labels)
    result, table = Erase(one).finish(here, state, DISCOVERY(found))[ERASURES], state[IOU]
    assert result.ids == tuple(table.ids)
    assert result.labelled.tolist() == [True, True, True, False]
    for i, sample_id in enumerate(table.ids):
        one_table = table.tables[sample_id]
        assert np.array_equal(result.clean[i], one_table["clean"][0], equal_nan=True)
        for kind in ("concept", "null", "layer"):
            assert np.array_equal(getattr(result, kind)[i], one_table[kind], equal_nan=True)


def test_a_component_is_capped_at_that_of_absence_and_no_other_changes():
    rng = np.random.default_rng(1)
    grid = torch.from_numpy(rng.normal(size=(2, 6, 3, 4)))
    along = direction(rng.normal(size=6), 0.3)
    v = along.vector
    found = erased(grid, along)

    def component(maps, w):
        return torch.einsum("nuyx,u->nyx", maps, torch.from_numpy(w))

    before = component(grid, v)
    assert (before > 0.3).any() and (before < 0.3).any()
    assert torch.allclose(component(found, v), before.clamp(max=0.3))
    absent = (before < 0.3)[:, None].expand_as(grid)
    assert torch.equal(found[absent], grid[absent]), "where it is absent nothing changes"
    for _ in range(5):
        w = rng.normal(size=6)
        w -= (w @ v) * v
        assert torch.allclose(component(grid, w), component(found, w))
    assert torch.allclose(erased(found, along), found), "erasing twice is erasing once"


def test_losses_by_hand():
    nan = np.nan
    one = Erasures(
        ids=("a", "b"),
        labelled=np.array([True, True]),
        clean=np.array([[0.5, 1.0], [nan, 0.8]]),
        concept=np.array([[[0.25, 0.5]], [[nan, 0.9]]]),
        null=np.array([[[0.5, 0.75], [0.25, 1.0]], [[nan, 0.8], [nan, 0.6]]]),
        layer=np.array([[[0.0, 0.0]], [[nan, 0.1]]]),
        right=np.array([[[-0.25, -0.5]], [[nan, 0.1]]]),
    )
    assert np.allclose(one.change("concept", 1), [[-0.5], [0.1]])
    assert np.allclose(one.change("concept", 0), [[-0.25], [nan]], equal_nan=True)
    assert np.allclose(one.change("null", 1), [[-0.25, 0.0], [0.0, -0.2]])
    assert np.allclose(one.change("layer", 1), [[-1.0], [-0.7]])


def test_samples_are_each_classes_lowest_by_hash():
    model, pictures = unet(), images(9, 16, 16)
    held = {0: np.array([0, 1, 2, 3, 4, 5]), 1: np.array([4, 5, 6, 7]), 2: np.array([], int)}
    found = discovery(9, UNITS, CLASSES, class_images=held)
    here = context(model, pictures, LAYER)
    chosen = [s.id for s in Erase(study(erase_images=2)).samples(here, DISCOVERY(found))]
    expected = set()
    for rows in held.values():
        ranked = sorted((sample_priority(0, f"s{i:02d}"), f"s{i:02d}") for i in rows)
        expected |= {name for _, name in ranked[:2]}
    assert set(chosen) == expected and chosen == sorted(chosen)
