from itertools import product
from math import sqrt

import numpy as np
import pytest
import torch

from conceptseg.concepts.segments import segment
from conceptseg.errors import InputError
from conceptseg.explain.explainers._partition import hexagons, superpixels, tiling
from conceptseg.explain.explainers.shap import Shap
from conceptseg.explain.regions import Box, Everything, Labelled
from conceptseg.explain.scene import Scene
from conceptseg.explain.target import Target
from tests.explain.explainers.games import SCORE, additive, game, ones, shapley, weights
from tests.small_models import images, unet


@pytest.mark.parametrize(("size", "cells"), [((20, 31), 12), ((16, 16), 40), ((9, 40), 5)])
def test_hexagons_by_brute_force(size, cells):
    """Each pixel lies in the cell of the nearest of all centres of the lattice."""
    h, w = size
    pitch = sqrt(2 * h * w / (sqrt(3) * cells))
    reach = range(-40, 41)
    centres = np.array(
        [
            (h / 2 + r * pitch * sqrt(3) / 2, w / 2 + (c + (r % 2) / 2) * pitch)
            for r, c in product(reach, reach)
        ]
    )
    labels = tiling(size, cells).numpy()
    nearest = {}
    for y, x in product(range(h), range(w)):
        distance = np.hypot(*(centres - (y + 0.5, x + 0.5)).T)
        order = distance.argsort()
        if distance[order[1]] - distance[order[0]] > 1e-9:  # else either will do
            assert nearest.setdefault(int(order[0]), labels[y, x]) == labels[y, x]
    assert len(set(nearest.values())) == len(nearest)
    assert sorted(np.unique(labels)) == list(range(labels.max() + 1))
    assert cells <= labels.max() + 1 < 2.2 * cells + 4


def test_hexagons_have_the_area_that_was_asked_for():
    labels = tiling((300, 400), 60)
    frame = torch.cat([labels[0], labels[-1], labels[:, 0], labels[:, -1]]).unique()
    areas = labels.flatten().bincount()
    inside = torch.ones(len(areas), dtype=torch.bool).index_fill(0, frame, False)
    assert inside.sum() > 30
    assert (areas[inside] - 2000).abs().max() < 40


def test_as_many_cells_as_pixels_and_one():
    assert len(hexagons((5, 6), 10_000).unique()) == 30
    assert hexagons((5, 6), 1).unique().tolist()[0] == 0


@pytest.mark.parametrize("cells", [2, 17, 50, 200])
def test_no_shape_of_image_has_more_cells_than_asked_for_nor_many_fewer(cells):
    """240 samples for 50 cells do for a square, for photographs and for a strip."""
    for size in ((100, 100), (88, 120), (30, 300)):
        count = int(hexagons(size, cells).max()) + 1
        assert 0.4 * cells <= count <= max(cells, 12), (size, count)
        if cells == 50:
            Shap(cells=cells, samples=240).check(Scene(unet(), torch.rand(1, 3, *size)))


def test_superpixels_are_no_more_than_asked_for():
    image = np.random.default_rng(1).random((3, 40, 90)).astype(np.float32)
    for cells in (1, 7, 30, 60):
        assert int(superpixels(image, cells).max()) + 1 <= cells


def test_superpixels_are_a_partition():
    """What SLIC's own clean-up drops falls to the nearest kept pixel."""
    image = np.random.default_rng(0).random((3, 60, 80)).astype(np.float32)
    wanted = 900.0
    while (kept := segment(image, (round(wanted),)).maps[0]).max() >= 900:
        wanted *= 0.95
    assert kept.min() == -1
    labels = superpixels(image, 900).numpy()
    assert np.array_equal(labels[kept >= 0], kept[kept >= 0])
    assert sorted(np.unique(labels)) == list(range(labels.max() + 1))
    places = np.argwhere(kept >= 0)
    for y, x in np.argwhere(kept < 0)[::7]:
        distance = np.hypot(*(places - (y, x)).T)
        near = places[distance <= distance.min() + 1e-9]
        assert labels[y, x] in kept[tuple(near.T)]


def test_too_many_superpixels():
    image = np.random.default_rng(0).random((3, 64, 64)).astype(np.float32)
    with pytest.raises(InputError, match="5000 superpixels are too many"):
        superpixels(image, 5000)


@pytest.mark.parametrize("fill", ["black", "mean", "blur"])
def test_shapley_values_by_their_definition(fill):
    from conceptseg.explain.fill import filling

    model, x = unet().double(), images(2).double()
    scene = Scene(model, x)
    targets = [Target(0), Target(2, Box(1, 2, 9, 12), score="probability")]
    labels = hexagons(scene.size, 2)
    cells = int(labels.max()) + 1
    assert cells == 7
    found, error = Shap(cells=2, fill=fill)._values(scene, targets)
    assert not error.any()
    empty = filling(model, x, fill)
    for t, i in product(range(2), range(2)):
        score = scene.fix(targets[t]).image(i)

        def value(shown, i=i, score=score):
            masks = torch.tensor(shown, dtype=torch.float64)[:, labels][:, None]
            with torch.no_grad():
                return score(model(x[i] * masks + empty[i] * (1 - masks))).numpy()

        expected = torch.tensor(shapley(value, cells))[labels]
        assert expected.abs().max() > 1e-4
        assert torch.allclose(found[t, i], expected, rtol=0, atol=1e-14)


@pytest.mark.slow  # the peer takes seconds to import
def test_kernel_explainer():
    peer = pytest.importorskip("shap")
    model, x = unet().double(), images(1).double()
    scene, target = Scene(model, x), Target(1, Everything())
    labels = hexagons(scene.size, 2)
    cells = int(labels.max()) + 1
    score = scene.fix(target)

    def value(shown):
        masks = torch.tensor(shown, dtype=torch.float64)[:, labels][:, None]
        with torch.no_grad():
            return score(model(x * masks)).numpy()

    explainer = peer.KernelExplainer(value, np.zeros((1, cells)))
    expected = explainer.shap_values(np.ones((1, cells)), nsamples=2**cells, l1_reg=0, silent=True)
    found = Shap(cells=2)._values(scene, [target])[0][0, 0]
    assert torch.allclose(found, torch.tensor(np.ravel(expected))[labels], rtol=0, atol=1e-12)


def test_additive_scores_and_bonuses():
    """Each cell's own sum, and half of what two cells add only together; a dummy gets nothing."""
    h, w = 24, 30
    c, labels = weights(h, w), hexagons((h, w), 20)
    first, second, dummy = labels[5, 5], labels[20, 25], labels[12, 15]
    assert len({int(first), int(second), int(dummy)}) == 3
    c = c.masked_fill(labels == dummy, 0.0)
    model = game(lambda x: (x * c).sum((1, 2)) + 6 * x[:, 5, 5] * x[:, 20, 25])
    scene = Scene(model, ones(h, w))
    found, error = Shap(cells=20, samples=160)._values(scene, [SCORE])
    sums = torch.zeros(int(labels.max()) + 1).double().index_add(0, labels.flatten(), c.flatten())
    sums[first] += 3
    sums[second] += 3
    assert torch.allclose(found[0, 0], sums[labels], atol=1e-9)
    assert found[0, 0][labels == dummy].abs().max() < 1e-9
    assert error.max() < 1e-9


@pytest.mark.parametrize("partition", ["hexagons", "slic"])
def test_values_sum_to_the_score_that_is_explained(partition):
    model, x = unet(), images(1, 32, 48)
    scene, target = Scene(model, x), Target(1)
    method = Shap(cells=25, samples=200, partition=partition)
    found = method.on(scene, [target])[0, 0]
    labels = method._cells(scene)[0]
    assert len(labels.unique()) > 12
    values = torch.stack([found[labels == cell][0] for cell in range(int(labels.max()) + 1)])
    score = scene.fix(target)
    with torch.no_grad():
        gain = score(model(x)) - score(model(torch.zeros_like(x)))
    assert values.sum().item() == pytest.approx(gain.item(), abs=1e-5)


def test_superpixels_of_each_image_by_itself():
    """Images whose cells differ in number, together and alone."""
    x = images(3, 32, 48)
    x[1] = x[1].round()
    x[2, :, :, :24] = 0.3
    model, method = unet(), Shap(cells=30, samples=150, partition="slic")
    counts = [int(method._cells(Scene(model, x[i : i + 1])).max()) + 1 for i in range(3)]
    assert len(set(counts)) > 1
    together = method.on(Scene(model, x), [SCORE, Target(2)])
    for i in range(3):
        alone = method.on(Scene(model, x[i : i + 1]), [SCORE, Target(2)])
        assert torch.allclose(together[:, i], alone[:, 0], atol=1e-5)


def test_with_error():
    model, x = unet(), images(2)
    labels = torch.zeros(2, 16, 24, dtype=torch.int64)
    labels[1] = 1
    scene = Scene(model, x, labels)
    targets = [Target(0, Everything()), Target(1, Labelled(1))]
    method = Shap(cells=25, samples=500)
    found, error = method.with_error(scene, targets)
    assert found.shape == error.shape == (2, 2, 16, 24)
    assert found.dtype == error.dtype == torch.float32
    assert torch.equal(found, method.on(scene, targets))
    assert error[0].min() >= 0 and error[0].max() > 0
    assert error[1, 0].abs().max() == 0 == found[1, 0].abs().max()
    scene = Scene(model, x[:1], batch_size=32)
    other, less = Shap(cells=25, samples=1940, seed=1).with_error(scene, targets[:1])
    assert (error[0, 0].mean() / less.mean()).item() == pytest.approx(2, rel=0.3)  # 217, 937 pairs
    apart = (found[0, 0] - other[0, 0]).abs() / (error[0, 0] ** 2 + less[0, 0] ** 2).sqrt()
    assert (apart < 3).double().mean() > 0.95 and apart.max() > 0.5
    assert Shap().with_error(Scene(model, x[:0]), targets)[1].shape == (2, 0, 16, 24)


def test_passes_and_seeds():
    scene = Scene(unet(), images(2, 32, 48))
    targets = [Target(c, Everything()) for c in range(3)]
    method = Shap(cells=20)
    cells = int(hexagons((32, 48), 20).max()) + 1
    found = method.model_copy(update={"samples": 4 * cells}).on(scene, targets)
    assert scene.passes == {"forward": 2 * (1 + 1 + 4 * cells)}
    other = method.model_copy(update={"samples": 4 * cells, "seed": 1})
    assert not torch.equal(other.on(scene, targets), found)
    assert method._game(hexagons((32, 48), 20)).variants == 1 + 2 * cells + 2048


def test_additive_batches():
    """Weights of one image of a batch do not leak into another's values."""
    c, x = weights(12, 16), ones(12, 16, 2)
    x[1] *= 0.5
    found = Shap(cells=6)._values(Scene(additive(c), x), [SCORE])[0][0]
    assert torch.allclose(found[1], found[0] / 2, atol=1e-12)
