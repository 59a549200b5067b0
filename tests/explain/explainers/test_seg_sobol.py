from itertools import product

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from conceptseg.errors import InputError
from conceptseg.explain.explainers.seg_sobol import SegSobol, total_indices
from conceptseg.explain.regions import Box, Everything
from conceptseg.explain.scene import Scene
from conceptseg.explain.target import Target
from tests.explain.explainers.games import SCORE, additive, game, ones, weights
from tests.small_models import images, unet


def indices(model, h, w, **settings):
    method = SegSobol(fill="black", **settings)
    return method.attribute(Scene(model, ones(h, w), batch_size=512), [SCORE])[0, 0]


def test_additive_scores():
    """ST_i = w_i^2 / sum w^2, in the limit of many points."""
    w = weights(3, 3)
    found = indices(additive(w), 3, 3, grid=3, samples=2048, scramble=0)
    expected = w**2 / (w**2).sum()
    assert torch.allclose(found, expected, atol=0.01)
    assert found.sum().item() == pytest.approx(1, abs=0.02)


def test_balance_makes_additive_scores_exact():
    """Whatever the points: shares w_i^2 / sum w^2 up to one factor, which the design spoils."""
    w = weights(4, 4)
    expected = w**2 / (w**2).sum()
    model = game(lambda x: (x[:, ::2, ::3] * w).sum((1, 2)))
    uneven = indices(model, 8, 12, grid=(4, 4), samples=16) / expected
    even = indices(model, 8, 12, grid=(4, 4), samples=16, balance=True) / expected
    assert (uneven.max() / uneven.min()).item() > 2
    assert torch.allclose(even, even.mean().expand_as(even), rtol=1e-9)


def test_products():
    """Y = z_0 z_1: the variance is 7/144 and either cell takes 1/36 of it away, 4/7."""
    model = game(lambda x: x[:, 0, 0] * x[:, 1, 1])
    found = indices(model, 2, 2, grid=2, samples=2048, scramble=1)
    assert found[0, 0].item() == pytest.approx(4 / 7, abs=0.01)
    assert found[1, 1].item() == pytest.approx(4 / 7, abs=0.01)
    assert found[0, 1] == found[1, 0] == 0
    assert found.sum() > 1


def test_the_sign_is_lost():
    w = weights(3, 3)
    settings = {"grid": 3, "samples": 16}
    found = indices(additive(w), 3, 3, **settings)
    assert torch.allclose(indices(additive(-w), 3, 3, **settings), found)
    assert torch.allclose(indices(additive(w.abs()), 3, 3, **settings).argmax(), found.argmax())


def test_a_cell_that_is_not_read_has_no_share():
    w = weights(6, 6).masked_fill(torch.arange(36).view(6, 6) % 6 < 2, 0.0)
    found = indices(additive(w), 6, 6, grid=3, samples=16)
    assert found[:, 0].abs().max() == 0 and found[:, 1:].min() > 0


@pytest.mark.parametrize("interpolation", ["nearest", "bilinear"])
@pytest.mark.parametrize("fill", ["neutral", "mean"])
def test_loops_over_points_and_cells(interpolation, fill):
    """Jansen's estimator point by point, masks by scikit-image, points by SciPy."""
    transform = pytest.importorskip("skimage.transform")
    qmc = pytest.importorskip("scipy.stats.qmc")
    model, x = unet().double(), images(2, 16, 20).double()
    scene = Scene(model, x)
    targets = [Target(1, Everything()), Target(0, Box(2, 2, 12, 17), score="probability")]
    grid, count = 3, 8
    points = qmc.Sobol(2 * grid**2, scramble=False).random(count)
    empty = x.mean((2, 3), keepdim=True) if fill == "mean" else torch.zeros_like(x)
    order = 1 if interpolation == "bilinear" else 0

    def scores(cells):
        mask = transform.resize(
            cells.reshape(grid, grid), (16, 20), order, mode="edge", anti_aliasing=False
        )
        mask = torch.from_numpy(mask)
        with torch.no_grad():
            logits = model(x * mask + empty * (1 - mask))
        return torch.stack([scene.fix(target)(logits) for target in targets]).numpy()

    first = np.stack([scores(a) for a in points[:, :9]])
    expected = np.zeros((2, 2, 9))
    for i in range(9):
        for n in range(count):
            mixed = points[n, :9].copy()
            mixed[i] = points[n, 9 + i]
            expected[..., i] += (first[n] - scores(mixed)) ** 2
    expected /= 2 * count * first.var(0, ddof=1)[..., None]
    method = SegSobol(grid=(grid, grid), samples=count, interpolation=interpolation, fill=fill)
    found = method.attribute(scene, targets)
    assert np.allclose(found.flatten(2), expected, rtol=1e-6)


def test_scipy():
    """SciPy's total indices take the variance over A and B; ours, as published, over A alone."""
    stats = pytest.importorskip("scipy.stats")
    random = np.random.default_rng(0)
    first, second = random.random((2, 64, 5))
    score = lambda z: np.sin(z @ np.arange(1, 6)) + z[:, 0] * z[:, 3]  # noqa: E731
    mixed = np.stack([first] * 5)
    for i in range(5):
        mixed[i, :, i] = second[:, i]
    values = {
        "f_A": score(first)[None],
        "f_B": score(second)[None],
        "f_AB": np.stack([score(m) for m in mixed])[:, None],
    }
    peer = stats.sobol_indices(func=values, n=64).total_order
    ours = torch.from_numpy(np.stack([score(first), *map(score, mixed)], -1))
    found = total_indices(ours).numpy() * score(first).var(ddof=1)
    both = np.concatenate([score(first), score(second)])
    assert np.allclose(found, peer * both.var(), rtol=1e-10)


def test_no_variance():
    random = torch.Generator().manual_seed(0)
    rounding = 5 + 1e-6 * torch.rand(3, 8, 5, generator=random)
    assert total_indices(rounding).abs().max() == 0
    assert total_indices(rounding.double()).min() > 0
    assert total_indices(torch.full((2, 8, 5), 0.3)).abs().max() == 0
    assert total_indices(torch.full((2, 8, 5), float("nan"))).isnan().all()
    still = game(lambda x: 0 * x.sum((1, 2)) + 2)
    assert indices(still, 6, 6, grid=3, samples=8).abs().max() == 0


def test_the_published_design_is_uneven():
    """The known fault: at G = 11 and N = 32 cells of equal influence differ fivefold."""
    first, second = SegSobol()._points((11, 11))
    moved = 6 * (first - second).square().mean(0)
    assert first.shape == (32, 121) and first[0].abs().max() == 0
    assert 5 < (moved.max() / moved.min()).item() < 6
    more, other = SegSobol(samples=1024)._points((11, 11))
    moved = 6 * (more - other).square().mean(0)
    assert (moved.max() / moved.min()).item() < 2


def test_cells_that_no_point_changes_are_refused():
    """With few points of a plain sequence some columns of A and B are the same."""
    with pytest.raises(InputError, match="8 samples leave 3 of 16 cells unchanged; take 16, leave"):
        indices(additive(weights(4, 4)), 4, 4, grid=4, samples=8)


@pytest.mark.parametrize("size", [(24, 24), (16, 48), (60, 12), (9, 200)])
def test_cells_follow_the_image_s_shape_and_points_the_cells(size):
    """About as many cells as of a square, nearly square; and none that no point moves."""
    for grid in (3, 6, 11):
        method = SegSobol(grid=grid)
        rows, columns = method._cells(size)
        if rows > 1 and columns > 1:
            assert 0.6 < (size[0] / rows) / (size[1] / columns) < 1.6
        assert 0.7 * grid**2 - 2 < rows * columns < 1.4 * grid**2 + 2
        first, second = method._points((rows, columns))
        assert len(first) >= 32 and not (first == second).all(0).any()
        assert first.shape[1] == rows * columns
    given = SegSobol(grid=4, samples=8)
    assert given._cells((30, 30)) == (4, 4) and SegSobol(grid=(2, 5))._cells((30, 30)) == (2, 5)


def test_passes_and_scrambling():
    scene = Scene(unet(), images(2))
    targets = [Target(c, Everything()) for c in range(3)]
    method = SegSobol(grid=(3, 3), samples=8)
    found = method.on(scene, targets)
    assert scene.passes == {"forward": 2 + 2 * 8 * 10}
    scrambled = [
        SegSobol(grid=(3, 3), samples=8, scramble=seed).on(scene, targets) for seed in (0, 0, 1)
    ]
    assert torch.equal(scrambled[0], scrambled[1])
    assert not torch.equal(scrambled[0], scrambled[2]) and not torch.equal(scrambled[0], found)


@pytest.mark.parametrize(("samples", "cure"), [(33, "take 32 or 64"), (100, "take 64 or 128")])
def test_powers_of_two(samples, cure):
    with pytest.raises(ValidationError, match=cure):
        SegSobol(samples=samples)
    assert all(SegSobol(samples=good).samples == good for good, _ in product((2, 32, 1024), (0,)))
