from itertools import product

import numpy as np
import pytest
import torch

from conceptseg.explain.explainers import rise
from conceptseg.explain.explainers._masking import reader, stretch
from conceptseg.explain.explainers.rise import RandomGrids, Rise
from conceptseg.explain.regions import Box, Everything
from conceptseg.explain.scene import Scene
from conceptseg.explain.target import Target
from tests.explain.explainers.games import SCORE, additive, game, ones, weights
from tests.small_models import images, unet


def cell_of(pixel, offset, grid, pitch):
    """The cell that a pixel shows: floor of its place in the enlarged grid, in cells."""
    return int((pixel + offset + 0.5) * grid / ((grid + 1) * pitch))


def every_mask(grid, size, keep_one_in, interpolation):
    """All grids with all offsets, cells kept with probability 1 / `keep_one_in`, as one draw."""
    h, w = size
    pitch = (-(-h // grid), -(-w // grid))
    states = list(product(range(keep_one_in), repeat=grid * grid))
    offsets = list(product(range(pitch[0]), range(pitch[1])))
    cells = (torch.tensor(states) == 0).double().view(-1, grid, grid)
    return RandomGrids(
        cells.repeat_interleave(len(offsets), 0),
        torch.tensor(offsets).repeat(len(states), 1),
        stretch(grid, (grid + 1) * pitch[0], interpolation).unfold(0, h, 1),
        stretch(grid, (grid + 1) * pitch[1], interpolation).unfold(0, w, 1),
    )


@pytest.mark.parametrize("keep_one_in", [2, 4])
@pytest.mark.parametrize("size", [(4, 6), (3, 4), (2, 2)])
def test_closed_form_over_all_masks(monkeypatch, keep_one_in, size):
    """For pixels that add c: L = sum_j c_j (p + (1 - p) P(same cell)), slope sum_j c_j P(same).

    P is over offsets. Where each pixel is a cell of its own, L_i = (1 - p) c_i + p sum c.
    """
    grid, (h, w), keep = 2, size, 1 / keep_one_in
    draw = every_mask(grid, size, keep_one_in, "nearest")
    monkeypatch.setattr(RandomGrids, "drawn", lambda method, size: draw)
    c = weights(h, w)
    pitch = (-(-h // grid), -(-w // grid))
    same = torch.zeros(h * w, h * w).double()
    for down, right in product(range(pitch[0]), range(pitch[1])):
        cell = torch.tensor(
            [
                cell_of(y, down, grid, pitch[0]) * grid + cell_of(x, right, grid, pitch[1])
                for y in range(h)
                for x in range(w)
            ]
        )
        same += (cell[:, None] == cell[None]).double() / (pitch[0] * pitch[1])
    common = {"masks": len(draw.cells), "grid": grid, "keep": keep, "fill": "black"}
    scene = Scene(additive(c), ones(h, w))
    plain = Rise(**common, interpolation="nearest", form="plain").attribute(scene, [SCORE])[0, 0]
    slope = Rise(**common, interpolation="nearest", form="regression").attribute(scene, [SCORE])
    expected = (keep + (1 - keep) * same) @ c.flatten()
    assert torch.allclose(plain.flatten(), expected, atol=1e-10)
    assert torch.allclose(slope.flatten(), same @ c.flatten(), atol=1e-10)
    if size == (2, 2):
        assert torch.allclose(plain, (1 - keep) * c + keep * c.sum(), atol=1e-10)
        assert torch.allclose(slope[0, 0], c, atol=1e-10)


@pytest.mark.parametrize("size", [(21, 30), (16, 24), (5, 4)])
@pytest.mark.parametrize("interpolation", ["bilinear", "nearest"])
def test_masks_by_loops(size, interpolation):
    """The paper's steps one mask at a time, the grid enlarged by scikit-image."""
    transform = pytest.importorskip("skimage.transform")
    method = Rise(masks=30, grid=4, keep=0.3, interpolation=interpolation, form="plain")
    drawn = RandomGrids.drawn(method, size)
    found = torch.cat([drawn(0, 7), drawn(7, 30)]).numpy()
    pitch = [-(-length // 4) for length in size]
    assert drawn.offsets.amax(0).tolist() == [step - 1 for step in pitch]
    assert drawn.offsets.min() == 0
    order = 1 if interpolation == "bilinear" else 0
    for i in range(30):
        large = transform.resize(
            drawn.cells[i].numpy(), (5 * pitch[0], 5 * pitch[1]), order, mode="edge",
            anti_aliasing=False,
        )  # fmt: skip
        y, x = drawn.offsets[i].tolist()
        assert np.allclose(found[i], large[y : y + size[0], x : x + size[1]], atol=1e-6)


def test_cells_are_kept_as_often_as_asked():
    drawn = RandomGrids.drawn(Rise(keep=0.3), (14, 14))
    assert drawn.cells.mean().item() == pytest.approx(
        0.3, abs=4 * (0.21 / drawn.cells.numel()) ** 0.5
    )


@pytest.mark.parametrize("measure", ["score", "dice"])
@pytest.mark.parametrize("held", [1, 2**22])
def test_equations_by_loops(monkeypatch, measure, held):
    monkeypatch.setattr(rise, "PIXELS_AT_ONCE", held)
    model, x = unet().double(), images(2, 12, 20).double()
    scene = Scene(model, x)
    targets = [Target(0, Everything()), Target(2, Box(1, 2, 9, 12), score="probability")]
    method = Rise(masks=25, grid=3, keep=0.6, fill="mean", measure=measure, form="plain")
    masks = RandomGrids.drawn(method, scene.size)(0, 25)
    read = reader(scene, targets, measure)
    fill = x.mean((2, 3), keepdim=True)
    with torch.no_grad():
        scores = torch.stack([read(model(x * m + fill * (1 - m))) for m in masks], -1)
    plain, slope = torch.zeros(2, 2, 12, 20).double(), torch.zeros(2, 2, 12, 20).double()
    for t, i in product(range(2), range(2)):
        for m, s in zip(masks, scores[t, i], strict=True):
            plain[t, i] += s * m / (25 * 0.6)
        for y, z in product(range(12), range(20)):
            moments = np.cov(masks[:, y, z], scores[t, i])
            slope[t, i, y, z] = moments[0, 1] / moments[0, 0]
    assert torch.allclose(method.attribute(scene, targets), plain, atol=1e-12)
    regression = method.model_copy(update={"form": "regression"})
    found = regression.attribute(scene, targets)
    assert found.abs().max() > 0
    assert torch.allclose(found, slope, atol=1e-9 * float(slope.abs().max()))


def test_the_slope_is_blind_to_a_constant():
    """A constant in the score adds itself times the mean mask / p to the plain map."""
    w = weights(6, 8)
    models = [additive(w), game(lambda x: (x * w).sum((1, 2)) + 100)]
    scenes = [Scene(model, ones(6, 8)) for model in models]
    slope = Rise(masks=50, grid=3, fill="black", form="regression")
    a, b = (slope.attribute(scene, [SCORE]) for scene in scenes)
    assert a.abs().max() > 0.1
    assert torch.allclose(a, b, atol=1e-9)
    plain = Rise(masks=50, grid=3, fill="black", form="plain")
    a, b = (plain.attribute(scene, [SCORE]) for scene in scenes)
    cover = RandomGrids.drawn(plain, (6, 8))(0, 50).mean(0) / plain.keep
    assert torch.allclose((b - a)[0, 0], 100 * cover, atol=1e-9)
    assert cover.std() > 0.01


def test_the_error_falls_as_one_over_the_root_of_the_masks(monkeypatch):
    size, w = (6, 6), weights(6, 6)
    scene = Scene(additive(w), ones(*size), batch_size=512)
    every = every_mask(3, size, 2, "bilinear")
    with monkeypatch.context() as patch:
        patch.setattr(RandomGrids, "drawn", lambda method, size: every)
        common = {"grid": 3, "fill": "black"}
        truth = Rise(masks=len(every.cells), **common).attribute(scene, [SCORE])
    errors = []
    for count in (100, 1600):
        found = [
            Rise(masks=count, seed=seed, **common).attribute(scene, [SCORE]) for seed in range(8)
        ]
        errors.append((torch.stack(found) - truth).square().mean().sqrt().item())
    assert errors[0] / errors[1] == pytest.approx(4, rel=0.3)


def test_a_pixel_that_is_never_hidden_has_no_slope():
    scene = Scene(additive(weights(4, 4)), ones(4, 4))
    method = Rise(masks=3, grid=1, keep=0.999, fill="black", form="regression")
    assert RandomGrids.drawn(method, (4, 4)).cells.min() == 1
    assert method.attribute(scene, [SCORE]).abs().max() == 0


def test_passes_and_seeds():
    scene = Scene(unet(), images(2))
    targets = [Target(c, Everything()) for c in range(3)]
    found = Rise(masks=11).on(scene, targets)
    assert scene.passes == {"forward": 2 + 2 * 11}
    assert not torch.equal(Rise(masks=11, seed=1).on(scene, targets), found)
