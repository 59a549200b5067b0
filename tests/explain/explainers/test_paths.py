import pytest
import torch

from conceptseg.catalogue import load
from conceptseg.explain.explainers._paths import Running, over_channels
from conceptseg.explain.noise import generator
from conceptseg.explain.target import Target
from tests.small_models import images, unet


@pytest.mark.parametrize("sizes", [(7,), (1, 1, 5), (3, 4), (2, 2, 2, 1)])
def test_running(sizes):
    values = 100 + torch.randn(4, 7, 3, generator=generator("values"), dtype=torch.float64)
    running = Running()
    for part in values.split(sizes, 1):
        running.add(part, 1)
    assert running.count == 7
    assert torch.allclose(running.mean, values.mean(1))
    assert torch.allclose(running.variance, values.var(1, correction=0))


def test_generator():
    def draw(*key):
        return torch.rand(3, generator=generator(*key))

    assert torch.equal(draw(0, 1), draw(0, 1))
    assert not torch.equal(draw(0, 1), draw(1, 0)) and not torch.equal(draw(0, 1), draw(0, 2))


def test_over_channels():
    gradient = torch.tensor([[[1.0]], [[-3.0]], [[0.5]]])
    found = [over_channels(gradient, how).item() for how in ("max_abs", "sum_abs", "sum")]
    assert found == [3.0, 4.5, -1.5]


NAMES = (
    "vanilla_saliency",
    "guided_backpropagation",
    "integrated_gradients",
    "smoothgrad",
    "random_map",
    "edge_filter",
    "centre_gaussian",
    "prediction_mask",
)


@pytest.mark.parametrize("name", NAMES)
def test_float64(name):
    explainer = load("explainers", name)()
    single = explainer(unet(), images(1), Target(1))
    double = explainer(unet().double(), images(1).double(), Target(1))
    assert double.dtype == torch.float32
    assert torch.allclose(single, double, atol=1e-3 * float(single.abs().max()))
