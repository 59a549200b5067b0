import pytest
import torch
from torch import nn

from conceptseg.explain.explainers.edge_filter import EdgeFilter
from conceptseg.explain.regions import Everything
from conceptseg.explain.target import Target
from tests.small_models import images, seeded, wrapped

WHOLE = Target(1, Everything())


def net():
    return wrapped(seeded(nn.Conv2d, 3, 2, 1), 2)


def test_a_ramp_has_its_slope():
    y, x = torch.meshgrid(torch.arange(16.0), torch.arange(24.0), indexing="ij")
    ramp = (0.03 * y + 0.01 * x).expand(1, 3, -1, -1)
    found = EdgeFilter()(net(), ramp, WHOLE)[0]
    assert torch.allclose(found[1:-1, 1:-1], torch.tensor((0.03**2 + 0.01**2) ** 0.5), atol=1e-6)


def test_loops():
    x = images(1, 6, 8)
    gray = x[0].mean(0)
    kernel = ((-1, -2, -1), (0, 0, 0), (1, 2, 1))
    expected = torch.zeros(6, 8)
    for y in range(6):
        for z in range(8):
            slopes = [0.0, 0.0]
            for i in range(3):
                for j in range(3):
                    value = gray[min(max(y + i - 1, 0), 5), min(max(z + j - 1, 0), 7)].item()
                    slopes[0] += kernel[i][j] * value / 8
                    slopes[1] += kernel[j][i] * value / 8
            expected[y, z] = (slopes[0] ** 2 + slopes[1] ** 2) ** 0.5
    assert torch.allclose(EdgeFilter()(net(), x, WHOLE)[0], expected, atol=1e-6)


@pytest.mark.parametrize("blur", [0.0, 1.5])
def test_scipy(blur):
    ndimage = pytest.importorskip("scipy.ndimage")
    x = images(2)
    found = EdgeFilter(blur_px=blur)(net(), x, WHOLE)
    for image, one in zip(x.mean(1).double().numpy(), found, strict=True):
        if blur:
            image = ndimage.gaussian_filter(image, blur, mode="nearest", radius=5)
        slopes = [ndimage.sobel(image, axis, mode="nearest") / 8 for axis in (0, 1)]
        expected = torch.tensor(slopes[0] ** 2 + slopes[1] ** 2).sqrt().float()
        assert torch.allclose(one, expected, atol=1e-6)


def test_a_flat_image_has_no_edge():
    assert EdgeFilter()(net(), torch.full((1, 3, 16, 24), 0.3), WHOLE).max() < 1e-6
