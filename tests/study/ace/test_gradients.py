"""Gradients of every class at a layer with skips around it, against finite differences."""

import pytest
import torch

from conceptseg.config import TargetConfig
from conceptseg.data.draw import sample_priority
from conceptseg.explain.regions import Predicted
from conceptseg.explain.target import Target, configured
from conceptseg.network.record import Tail
from conceptseg.study.ace.gradients import (
    References,
    Targets,
    class_gradients,
    min_region,
    needs_labels,
    on_grid,
)
from tests.small_models import images, unet
from tests.study.ace.small import Edited, activations, context

LAYER, UNITS, CELLS = "mid", 16, 8


def test_the_least_region():
    assert min_region(32, 32) == 64 and min_region(1000, 2000) == 1000


def shares(mask: torch.Tensor) -> torch.Tensor:
    """Share of the region in each 4 x 4 px cell, by loops."""
    found = torch.zeros(CELLS, CELLS, dtype=torch.float64)
    for y in range(CELLS):
        for x in range(CELLS):
            found[y, x] = mask[4 * y : 4 * y + 4, 4 * x : 4 * x + 4].double().mean()
    return found


def slope(model, image, target, activation, weight, unit) -> float:
    """How the target changes, per step, when one unit rises by the weight of each position.

    The step is so small because rectifiers have kinks.
    """
    step, sides = 1e-7, []
    for sign in (1, -1):

        def move(out, sign=sign):
            out = activation.clone()
            out[:, unit] += sign * step * weight
            return out

        sides.append(target(Edited(model, LAYER, move)(image)).item())
    return (sides[0] - sides[1]) / (2 * step)


@pytest.mark.parametrize("score", ["margin", "centred", "logprob"])
@pytest.mark.parametrize("references", [0, 2])
def test_sums_are_finite_differences_in_float64(score, references):
    """Locally at the image; along paths at the points (j + 1/2)/r of the way from reference j."""
    model, pictures = unet().double(), images(2, 32, 32).double()
    others = [activations(model, LAYER, images(1, 32, 32, seed=s).double()) for s in (7, 8)]
    others = others[:references]
    tail = Tail.of(model, pictures, LAYER, graph=True)
    found = class_gradients(tail, (0, 1, 2), TargetConfig(score=score), others)
    with torch.no_grad():
        clean = model(pictures)
    checked = 0
    for i, rows in enumerate(found):
        x, here = pictures[i : i + 1], activations(model, LAYER, pictures[i : i + 1])
        points = [other + (j + 0.5) / references * (here - other) for j, other in enumerate(others)]
        for row, class_id in enumerate(rows.classes):
            target = Target(class_id, Predicted(class_id), score=score).on(clean[i : i + 1])
            share = shares(target.mask[0])
            for part, weight in enumerate((share, 1 - share)):
                for unit in (0, 6, 12):
                    local = slope(model, x, target, here, weight, unit)
                    path = [slope(model, x, target, point, weight, unit) for point in points]
                    mean = sum(path) / len(path) if path else local
                    near = {"rel": 1e-3, "abs": 1e-8}
                    assert rows.local[row, part, unit].item() == pytest.approx(local, **near)
                    assert rows.path[row, part, unit].item() == pytest.approx(mean, **near)
                    checked += abs(mean) > 1e-5
    assert checked > 15


CONFIGS = {
    "predicted": {},
    "labelled": {"region": "labelled"},
    "right": {"region": "true_positive", "score": "logprob"},
    "wrong": {"region": "false_positive"},
    "missed": {"region": "false_negative", "reduce": "sum"},
    "edge": {"part": "boundary", "radius_px": 2},
    "largest": {"part": "largest", "score": "logit"},
    "box": {"box": (4, 0, 30, 20)},
    "all": {"region": "everything"},
}


def in_region(name: str, c: int, predicted: torch.Tensor, labelled: torch.Tensor) -> int | None:
    """Pixels of one image in the region of a class, for the regions that are told in a line."""
    here, there = predicted == c, labelled == c
    masks = {
        "predicted": here,
        "labelled": there,
        "right": here & there,
        "wrong": here & ~there & (labelled >= 0),
        "missed": there & ~here,
        "box": here[4:30, :20],
        "all": torch.ones_like(here),
    }
    return int(masks[name].sum()) if name in masks else None


@pytest.mark.parametrize("name", CONFIGS)
def test_one_pass_that_serves_other_classes_in_each_image_is_a_pass_per_class(name):
    """Whatever region is scored, parts are inside or outside of where the class is predicted."""
    model, pictures = unet(), images(4, 32, 32)
    tail = Tail.of(model, pictures, LAYER, graph=True)
    labels = torch.randint(-1, 3, (4, 2, 2), generator=torch.Generator().manual_seed(0))
    labels = labels.repeat_interleave(16, 1).repeat_interleave(16, 2)
    config = TargetConfig(**CONFIGS[name])
    found = class_gradients(tail, (2, 0, 1), config, (), labels)
    logits = tail.logits.detach()
    prediction = logits.argmax(1)
    for i, rows in enumerate(found):
        sizes = [in_region(name, c, prediction[i], labels[i]) for c in (2, 0, 1)]
        if None not in sizes:
            expected = [c for c, size in zip((2, 0, 1), sizes, strict=True) if size >= 64]
            assert list(rows.classes) == expected
        assert torch.equal(rows.local, rows.path)
    assert any(rows.classes for rows in found)
    for c in range(3):
        target = configured(config, c).on(logits, labels)
        gradient = tail.gradient(target)
        inside = on_grid(prediction == c, gradient.shape[-2:])
        for i, rows in enumerate(found):
            if c in rows.classes:
                row = rows.local[rows.classes.index(c)]
                near = {"rtol": 1e-4, "atol": 1e-6}
                assert torch.allclose(row[0], (gradient * inside)[i].sum((1, 2)), **near)
                assert torch.allclose(row[1], (gradient * (1 - inside))[i].sum((1, 2)), **near)


@pytest.mark.parametrize("region", ["labelled", "true_positive", "false_negative"])
def test_an_image_without_labels_holds_no_class_that_is_told_from_them(region):
    model, pictures = unet(), images(3, 32, 32)
    tail = Tail.of(model, pictures, LAYER, graph=True)
    labels = torch.full((3, 32, 32), -1)
    labels[1] = torch.arange(32)[:, None] % 2
    config = TargetConfig(region=region)
    assert needs_labels(config) and not needs_labels(TargetConfig(part="boundary"))
    held = [rows.classes for rows in class_gradients(tail, (0, 1, 2), config, (), labels)]
    assert held[0] == held[2] == () and held[1] != ()
    for given in (None, torch.full((3, 32, 32), -1)):
        assert Targets(tail.logits.detach(), (0, 1, 2), config, given).classes == [(), (), ()]


def test_images_that_hold_no_class():
    model, pictures = unet(), images(2, 32, 32)
    tail = Tail.of(model, pictures, LAYER, graph=True)
    logits = tail.logits.detach().clone()
    logits[1] = 0
    logits[1, 0] = 9
    targets = Targets(logits, (1, 2), TargetConfig())
    assert targets.classes[1] == () and targets.classes[0] != ()
    found = targets.gradients(tail.logits, tail.activation)
    assert found.shape[1] > 0 and (found[1] == 0).all() and (found[0] != 0).any()
    for rows in class_gradients(tail, (), TargetConfig(), ()):
        assert rows.classes == () and rows.local.shape == rows.path.shape == (0, 2, UNITS)


def test_references_are_drawn_by_hash_for_each_image():
    model, pictures = unet(), images(5, 32, 32)
    here = context(model, pictures, LAYER)
    ranked = sorted(range(5), key=lambda i: sample_priority(0, f"reference/s{i:02d}"))
    own = {}
    for j in range(3):
        for name in ("s00", "other"):
            chosen = ranked[sample_priority(0, f"{j}/{name}") % 5]
            own[j, name] = activations(model, LAYER, pictures[chosen : chosen + 1])
    grid = own[0, "s00"].shape[-2:]
    found = References(here, 3).of(("s00", "other"), grid)
    assert len(found) == 3 and References(here, 0).of(("s00",), grid) == []
    for j, both in enumerate(found):
        assert torch.allclose(both[0], own[j, "s00"][0], atol=1e-6)
        assert torch.allclose(both[1], own[j, "other"][0], atol=1e-6)
    assert References(here, 1).of(("s00",), (3, 4))[0].shape[-2:] == (3, 4)


def test_the_grid_of_a_mask_by_loops():
    mask = torch.rand(2, 12, 20, generator=torch.Generator().manual_seed(1)) > 0.5
    found = on_grid(mask, (3, 5))
    for n in range(2):
        for y in range(3):
            for x in range(5):
                cell = mask[n, 4 * y : 4 * y + 4, 4 * x : 4 * x + 4].float().mean()
                assert found[n, 0, y, x] == pytest.approx(cell.item())
