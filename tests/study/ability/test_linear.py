"""Readings of a layer against the published formula, written out on the image's grid."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from conceptseg.study.ability import linear
from conceptseg.study.shared.overlap import class_iou


def random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def by_definition(x, p, scale=None):
    """He et al. 2023: features on the mask's grid, weighted means, nearest mean at each pixel."""
    n, k, h, w = p.shape
    large = F.interpolate(x, (h, w), mode="bilinear", align_corners=False).double()
    labels = torch.zeros(n, h, w, dtype=torch.long)
    for i in range(n):
        means = []
        for c in range(k):
            weight = p[i, c].double()
            means.append((large[i] * weight).sum((1, 2)) / weight.sum())
        for y in range(h):
            for column in range(w):
                value = large[i, :, y, column]
                away = [value - mean for mean in means]
                if scale is not None:
                    away = [one / scale for one in away]
                labels[i, y, column] = int(np.argmin([float((one**2).sum()) for one in away]))
    return labels


@pytest.mark.parametrize("grid", [(4, 5), (16, 20), (3, 20)])
@pytest.mark.parametrize("scaled", [False, True])
def test_maps_are_those_of_the_formula(grid, scaled):
    x, p = random(2, 6, *grid), random(2, 3, 16, 20, seed=1).softmax(1)
    scale = torch.linspace(0.5, 3, 6) if scaled else None
    mu = linear.means(*linear.weighted_sums(x, p))
    found = linear.nearest(x, mu, scale, (16, 20))
    assert torch.equal(found, by_definition(x, p, scale))


def test_sums_on_the_layers_own_grid_are_those_on_the_images():
    x, p = random(2, 5, 4, 6), random(2, 3, 17, 23, seed=1).softmax(1)
    sums, mass = linear.weighted_sums(x, p)
    large = linear.resized(x, (17, 23))
    torch.testing.assert_close(sums, torch.einsum("nuyx,nkyx->nku", large, p))
    torch.testing.assert_close(mass, p.sum((2, 3)))


def test_a_unit_that_is_the_labels_reads_them_perfectly():
    truth = (random(1, 12, 12) > 0.3).long()
    x = torch.stack([truth.float(), random(1, 12, 12, seed=3) * 1e-3], 1)
    p = F.one_hot(truth, 2).movedim(-1, 1).float()
    labels = linear.nearest(x, linear.means(*linear.weighted_sums(x, p)), None, (12, 12))
    assert linear.dice(class_iou(labels, truth, 2)).tolist() == [[1.0, 1.0]]


def test_a_constant_feature_gives_the_first_class_and_no_nan():
    x, p = torch.ones(1, 3, 4, 4), torch.full((1, 2, 8, 8), 0.5)
    mu = linear.means(*linear.weighted_sums(x, p))
    assert torch.isfinite(mu).all()
    for scale in (None, torch.full((3,), torch.inf)):
        assert (linear.nearest(x, mu, scale, (8, 8)) == 0).all()


def test_a_class_without_weight_is_never_chosen():
    x, p = random(1, 3, 4, 4), torch.cat([torch.ones(1, 1, 8, 8), torch.zeros(1, 2, 8, 8)], 1)
    p[0, 2, :2] = 0.7
    mu = linear.means(*linear.weighted_sums(x, p))
    assert torch.isnan(mu[0, 1]).all()
    assert 1 not in linear.nearest(x, mu, None, (8, 8))


def test_noise_of_many_units_reads_a_mask_that_it_was_told():
    """Why the noise column exists: per-image prototypes leak what they were made of."""
    mask = torch.zeros(1, 32, 32)
    mask[:, 9:23, 9:23] = 1  # 19 % of the image
    p = torch.stack([1 - mask, mask], 1)
    found = []
    for units in (16, 512):
        x = random(1, units, 32, 32, seed=units)
        labels = linear.nearest(x, linear.means(*linear.weighted_sums(x, p)), None, (32, 32))
        found.append(float(linear.dice(class_iou(labels, mask.long(), 2))[0, 1]))
    assert found[0] == pytest.approx(0.33, abs=0.06)
    assert found[1] == pytest.approx(0.64, abs=0.06)
