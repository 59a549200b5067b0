"""What every metric promises, asked of every metric that lies in its folder."""

import copy
from dataclasses import replace

import pytest
import torch
from pydantic import ValidationError

from conceptseg.catalogue import About, load, names
from conceptseg.errors import InputError
from conceptseg.explain.contract import Metric, Trial
from conceptseg.explain.explainers.seg_grad_cam import SegGradCam
from conceptseg.explain.explainers.seg_hires_grad_cam import SegHiresGradCam
from conceptseg.explain.regions import Everything, Labelled
from conceptseg.explain.scene import Scene
from conceptseg.explain.target import Target
from conceptseg.notebook import fit_noise
from tests.small_models import UNet, balanced, hooks, images, seeded, unet, wrapped

METRICS = names("metrics")
SIZE = (32, 48)
EXPLAINER = SegGradCam(layer="dec2", relu=False)

OF_NOTHING = {
    "saliency_ratio": 0.0,
    "image_preserved": 0.0,
    "cbd": 0.0,
    "dice_explained": None,
    "prediction_preserved": None,
    "deletion": None,
    "insertion": None,
    "region_locality": None,
}
"""Values that maps of zeros have (None: some number); all other metrics are undefined for them."""


@pytest.fixture(scope="module", params=METRICS)
def metric(request, fitted_to_unet):
    """With its defaults; what has to be fitted is fitted to `unet()`."""
    kind = load("metrics", request.param)
    return kind(weights=fitted_to_unet) if kind().fitted else kind()


@pytest.fixture(scope="module")
def fitted_to_unet(tmp_path_factory):
    path = tmp_path_factory.mktemp("fitted") / "weights"
    names = [f"class {c}" for c in range(3)]
    return fit_noise(unet(), list(patches(2)), *names, out=path, steps=25)


@pytest.fixture(scope="module")
def model():
    return unet()


@pytest.fixture(scope="module")
def x():
    return patches(2)


def patches(n, channels=3):
    """Images of 8 px patches and a little noise, so that regions have parts and surroundings."""
    coarse = images(n, SIZE[0] // 8, SIZE[1] // 8, channels, seed=5)
    return 0.9 * coarse.repeat_interleave(8, 2).repeat_interleave(8, 3) + 0.1 * images(
        n, *SIZE, channels
    )


def made(model, x, target=None, labels=None, batch_size=8, explainer=EXPLAINER):
    """A trial of a real explanation, the lower half of the image being the known context."""
    scene = Scene(model, x, labels, batch_size=batch_size)
    target = Target(1) if target is None else target
    context = torch.zeros(len(x), *x.shape[2:], dtype=torch.bool, device=x.device)
    context[:, x.shape[2] // 2 :] = True
    return Trial(scene, explainer, target, explainer.on(scene, [target])[0], context)


def refused(metric, given):
    """Whether a fitted metric refuses another network than its own, as it has to."""
    if metric.fitted:
        with pytest.raises(InputError, match="made for other weights"):
            metric.measure(given)
    return metric.fitted


def same(first, second, tolerance=1e-4):
    """Equal to rounding, nan where nan."""
    return torch.allclose(first, second, rtol=tolerance, atol=tolerance, equal_nan=True)


def test_there_are_metrics():
    assert {"deletion", "dice_explained", "randomisation"} <= set(METRICS)


def test_catalogue_line(metric):
    assert isinstance(metric, Metric)
    assert isinstance(metric.about, About)
    assert metric.about.family and metric.about.source
    assert metric.better in ("higher", "lower", "neither")
    assert isinstance(metric.needs_context, bool) and isinstance(metric.explains_again, bool)
    assert "Source" in type(metric).__doc__ or "no paper" in metric.about.source
    assert len(type(metric).__doc__.strip().splitlines()[0]) <= 90


def test_one_number_per_image(metric, model, x):
    found = metric.measure(made(model, x))
    assert found.value.shape == (2,)
    assert found.value.dtype == torch.float32 and found.value.device == x.device
    assert not found.value.requires_grad and not found.value.isinf().any()
    if found.curve is None:
        assert found.at == ()
    else:
        assert found.curve.shape == (2, len(found.at)) and found.curve.dtype == torch.float32
        assert all(isinstance(at, float) for at in found.at)
        assert list(found.at) == sorted(set(found.at))
    assert metric.measure(made(model, x[:0])).value.shape == (0,)


def test_it_says_something(metric, model, x):
    """It is defined for some class of these images, and not the same number for all."""
    values = torch.cat([metric.measure(made(model, x, Target(c))).value for c in range(3)])
    assert values.isfinite().any()
    assert values[values.isfinite()].unique().numel() > 1


class Counting(SegGradCam):
    """Counts the maps that it is asked for."""

    def on(self, scene, targets):
        ASKED.append(len(targets))
        return super().on(scene, targets)


ASKED: list[int] = []


def test_what_it_costs_is_known_before(metric, model, x):
    """Passes through the network of its own, and the further maps that it asks the method for."""
    passes, further = [], []
    for c in range(3):
        given = made(model, x[:1], Target(c), explainer=Counting(layer="dec2", relu=False))
        before = sum(given.scene.passes.values())
        ASKED.clear()
        metric.measure(given)
        further.append(sum(ASKED))
        passes.append(sum(given.scene.passes.values()) - before)
    # Of noise that changes the prediction no map is asked for, so that it may be fewer.
    fewer = "manipulability" in type(metric).__module__ and 0 < max(further) < metric.further
    assert max(further) == metric.further or fewer
    assert metric.explains_again == (metric.further > 0)
    if not metric.explains_again:
        assert metric.passes == max(passes)


def test_it_hangs_on_the_map_or_the_method(metric, model, x):
    given = made(model, x)
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(given.attributions.shape, generator=generator)
    other = metric.measure(replace(given, attributions=noise)).value
    if metric.explains_again and same(metric.measure(given).value, other):
        other = metric.measure(made(model, x, explainer=SegHiresGradCam(layer="dec2"))).value
    assert not same(metric.measure(given).value, other)


def test_a_batch_is_its_images(metric, model, x):
    both = metric.measure(made(model, x))
    ones = [metric.measure(made(model, x[i : i + 1])) for i in range(2)]
    assert same(both.value, torch.cat([one.value for one in ones]))
    if both.curve is not None:
        assert same(both.curve, torch.cat([one.curve for one in ones]))


def test_no_batch_size_changes_it(metric, model, x):
    found = [metric.measure(made(model, x, batch_size=size)).value for size in (1, 3, 64)]
    assert same(found[0], found[1]) and same(found[0], found[2])


def test_repeated_and_the_random_state_is_the_caller_s(metric, model, x):
    given = made(model, x)
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    first = metric.measure(given).value
    assert torch.equal(torch.rand(1), expected)
    assert same(metric.measure(given).value, first, 0)


def test_model_images_and_map_are_left_alone(metric, x):
    model = unet()
    model.train()
    model.module.mid.eval()
    model.module.head.bias.requires_grad_(False)
    modes = [module.training for module in model.modules()]
    learning = [parameter.requires_grad for parameter in model.parameters()]
    state = {key: value.clone() for key, value in model.state_dict().items()}
    given = made(model, x)
    kept = [given.attributions.clone(), given.context.clone(), x.clone()]
    metric.measure(given)
    assert [module.training for module in model.modules()] == modes
    assert [parameter.requires_grad for parameter in model.parameters()] == learning
    assert all(torch.equal(state[key], value) for key, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())
    assert hooks(model) == 0
    for before, after in zip(kept, (given.attributions, given.context, x), strict=True):
        assert torch.equal(before, after)


def test_maps_of_zeros(metric, model, x):
    given = made(model, x)
    found = metric.measure(replace(given, attributions=torch.zeros(2, *SIZE))).value
    name = type(metric).__module__.rpartition(".")[2]
    if name not in OF_NOTHING:
        assert found.isnan().all()
    elif OF_NOTHING[name] is None:
        assert found.isfinite().all() or metric.explains_again
    else:
        assert found.eq(OF_NOTHING[name]).all()


def test_an_empty_region_is_undefined(metric, model, x):
    labels = torch.zeros(2, *SIZE, dtype=torch.int64)
    labels[1] = (x[1].mean(0) > 0.5).long()
    found = metric.measure(made(model, x, Target(1, Labelled(1)), labels))
    assert found.value[0].isnan()
    if found.curve is not None:
        assert found.curve[0].isnan().all()
    alone = metric.measure(made(model, x[1:], Target(1, Labelled(1)), labels[1:]))
    assert same(found.value[1:], alone.value)


def test_a_region_without_end_is_no_error(metric, model, x):
    value = metric.measure(made(model, x, Target(1, Everything()))).value
    assert value.shape == (2,) and not value.isinf().any()


@pytest.mark.parametrize("channels", [1, 5])
def test_any_number_of_channels(metric, channels):
    net = balanced(wrapped(seeded(UNet, 3, channels=channels, seed=1), 3, channels), "head")
    given = made(net, patches(1, channels))
    if refused(metric, given):
        return
    found = metric.measure(given)
    assert found.value.shape == (1,) and not found.value.isinf().any()


def test_networks_of_float64(metric, model, x):
    expected = metric.measure(made(model, x)).value
    given = made(copy.deepcopy(model).double(), x.double())
    if refused(metric, given):
        return
    found = metric.measure(given).value
    assert found.dtype == torch.float32
    assert same(found, expected, 1e-2)


def test_where_gradients_are_off(metric, model, x):
    expected = metric.measure(made(model, x)).value
    with torch.inference_mode():
        assert same(metric.measure(made(model, x.clone())).value, expected)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
def test_cuda(metric, model, x):
    expected = metric.measure(made(model, x)).value
    found = metric.measure(made(copy.deepcopy(model).cuda(), x.cuda())).value
    assert found.device.type == "cuda"
    assert same(found.cpu(), expected, 3e-2)


def test_no_context_no_number_where_one_is_needed(metric, model, x):
    given = replace(made(model, x), context=None)
    if metric.needs_context:
        with pytest.raises(InputError, match="give Trial.context"):
            metric.measure(given)
    else:
        assert metric.measure(given).value.shape == (2,)


def test_configuration_round_trip(metric):
    kind = type(metric)
    assert kind.model_validate(metric.model_dump()) == metric
    assert kind.model_validate_json(metric.model_dump_json()) == metric
    with pytest.raises(ValidationError):
        kind.model_validate({"no such parameter": 1})
    assert all(field.description for field in kind.model_fields.values())
    assert "properties" in kind.model_json_schema()
