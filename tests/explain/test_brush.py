"""What is drawn: sums of brushes, of a linear network in closed form, and what is refused."""

import pytest
import torch

from conceptseg.errors import InputError
from conceptseg.explain.brush import Brush
from conceptseg.explain.explainers.integrated_gradients import IntegratedGradients
from conceptseg.explain.explainers.metfa import Metfa
from conceptseg.explain.explainers.rise import Rise
from conceptseg.explain.explainers.vanilla_saliency import VanillaSaliency
from conceptseg.explain.noise import generator
from conceptseg.explain.scene import Scene
from tests.explain.metrics.judging import pointwise
from tests.small_models import images, unet

LINEAR = [
    VanillaSaliency(reduce="sum"),
    IntegratedGradients(steps=4, tolerance=None),
    Rise(masks=40),
]


def drawings(count, size=(24, 32)):
    source = generator("drawings", count)
    label = torch.randint(count, size, generator=source)
    return [label == one for one in range(count)]


@pytest.mark.parametrize("method", LINEAR, ids=["gradient", "integrated", "rise"])
def test_maps_of_parts_sum_to_the_map_of_the_whole(method):
    brush = Brush(Scene(unet(), images(1, 24, 32)), 1, method)
    parts = drawings(20)
    maps, whole = brush.maps(parts), brush.map(torch.ones(24, 32, dtype=torch.bool))
    deviation = float((maps.sum(0) - whole).abs().max() / whole.abs().max())
    print("largest deviation of the sum", deviation)
    assert deviation < 1e-4
    both = brush.map(parts[0] | parts[3], parts[1])
    torch.testing.assert_close(both, maps[0] + maps[3] - maps[1], rtol=1e-3, atol=1e-5)


def test_of_a_linear_pointwise_network_a_brush_is_its_weights_on_its_own_pixels():
    """d sum_M z_1 / d x: the weights summed over channels on M, and 0 elsewhere."""
    net, mask = pointwise(), drawings(3)[0]
    brush = Brush(Scene(net, images(1, 24, 32)), 1, VanillaSaliency(reduce="sum"), "logit")
    with torch.no_grad():
        weight = net.module.weight[1].sum()
    torch.testing.assert_close(brush.map(mask), weight * mask.float(), rtol=1e-5, atol=1e-6)
    parts = drawings(3)
    found, sizes = brush.between(parts), torch.tensor([float(one.sum()) for one in parts])
    torch.testing.assert_close(found, torch.diag(weight * sizes), rtol=1e-4, atol=1e-4)


def test_cells_part_the_image():
    brush = Brush(Scene(unet(), images(1, 20, 28)), 0, LINEAR[0])
    cells = brush.cells(4, 7)
    assert len(cells) == 28 and torch.stack(cells).sum(0).eq(1).all()
    assert len(brush.cells(99, 99)) == 20 * 28


@pytest.mark.parametrize("method", [VanillaSaliency(), Metfa(draws=6)])
def test_what_does_not_add_up_is_refused_and_told_what_does(method):
    with pytest.raises(InputError, match="not linear in what it explains.*reduce: sum"):
        Brush(Scene(unet(), images(1, 24, 32)), 1, method).map(drawings(2)[0])


def test_drawings_of_another_size_are_refused():
    brush = Brush(Scene(unet(), images(1, 24, 32)), 1, LINEAR[0])
    with pytest.raises(InputError, match="holds booleans"):
        brush.map(torch.ones(3, 3, dtype=torch.bool))
    with pytest.raises(InputError, match="one image, got 2"):
        Brush(Scene(unet(), images(2, 24, 32)), 1, LINEAR[0])
