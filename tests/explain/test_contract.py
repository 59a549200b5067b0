"""What every technique promises, asked of every technique that lies in a contract's folder."""

import copy

import pytest
import torch
from pydantic import ValidationError

from conceptseg.catalogue import About, load, names
from conceptseg.config import Preprocessing
from conceptseg.errors import InputError
from conceptseg.explain.contract import Explainer
from conceptseg.explain.explainers.seg_eigen_cam import SegEigenCam
from conceptseg.explain.regions import Box, Everything, Labelled, Pixel, Predicted
from conceptseg.explain.scene import Scene
from conceptseg.explain.target import Target
from conceptseg.network.model import SegmentationModel
from conceptseg.notebook import fit_noise
from conceptseg.study.segnbdt.target import decision
from conceptseg.study.segnbdt.tree import Tree
from tests.explain.explainers.small import SMALL
from tests.small_models import UNet, hooks, images, seeded, unet, wrapped

EXPLAINERS = names("explainers")
SIZE = (32, 48)  # so that the small U-Net's bottleneck has a grid worth resizing


@pytest.fixture(scope="module", params=EXPLAINERS)
def explainer(request, fitted_to_unet):
    """With its defaults, or small; what has to be fitted is fitted to `unet()`."""
    kind = load("explainers", request.param)
    if kind().fitted:
        return kind(weights=fitted_to_unet)
    return kind(**SMALL.get(request.param, {}))


@pytest.fixture(scope="module")
def fitted_to_unet(tmp_path_factory):
    path = tmp_path_factory.mktemp("fitted") / "weights"
    names = [f"class {c}" for c in range(3)]
    return fit_noise(unet(), list(images(2, *SIZE)), *names, out=path, steps=3)


def refused(explainer, model, x):
    """Whether a fitted method refuses another network than its own, as it has to."""
    if explainer.fitted:
        with pytest.raises(InputError, match="made for other weights"):
            explainer(model, x, WHOLE)
    return explainer.fitted


@pytest.fixture(scope="module")
def model():
    return unet()


@pytest.fixture
def x():
    return images(2, *SIZE)


WHOLE = Target(1, Everything())


def test_there_are_explainers():
    assert {"seg_grad_cam", "seg_hires_grad_cam"} <= set(EXPLAINERS)


def test_catalogue_line(explainer):
    assert isinstance(explainer, Explainer)
    assert isinstance(explainer.about, About)
    assert explainer.about.family and explainer.about.source


def test_shape_type_and_device(explainer, model, x):
    found = explainer(model, x, WHOLE)
    assert found.shape == (2, *SIZE)
    assert found.dtype == torch.float32 and found.device == x.device
    assert found.isfinite().all() and not found.requires_grad
    assert explainer(model, x[:0], WHOLE).shape == (0, *SIZE)


def test_it_says_something(explainer, model, x):
    found = [explainer(model, x, Target(c, Everything())) for c in range(3)]
    assert max(map(torch.max, map(torch.abs, found))) > 0


def test_a_batch_is_its_images(explainer, model, x):
    both = explainer(model, x, WHOLE)
    ones = torch.cat([explainer(model, x[i : i + 1], WHOLE) for i in range(2)])
    assert torch.allclose(both, ones, rtol=1e-4, atol=1e-5 * float(both.abs().max()))


def test_no_batch_size_changes_it(explainer, model, x):
    maps = [explainer.on(Scene(model, x, batch_size=size), [WHOLE])[0] for size in (1, 3, 32)]
    for found in maps[1:]:
        assert torch.allclose(found, maps[0], rtol=1e-4, atol=1e-5 * float(maps[0].abs().max()))


def test_targets_together_are_targets_one_by_one(explainer, model, x):
    targets = [Target(0, Predicted(0)), Target(1, Box(2, 3, 20, 30)), Target(2, Pixel(5, 7))]
    together = explainer.on(Scene(model, x), targets)
    for target, found in zip(targets, together, strict=True):
        alone = explainer(model, x, target)
        assert torch.allclose(found, alone, rtol=1e-4, atol=1e-5 * float(alone.abs().max()))


def test_what_a_map_costs_is_known_before(explainer, model, x):
    """The passes that a scene counts, a backward one as two, are those that it foretells."""
    scene = Scene(model, x[:1])
    explainer.on(scene, [Target(1)])
    worth = {"forward": 1, "backward": 2, "tail": 1, "tail backward": 2}
    counted = sum(worth[kind] * count for kind, count in scene.passes.items())
    foretold = explainer.passes(Scene(model, x[:1]))
    assert counted <= 1.3 * foretold + 3  # what is cheap is all the same
    if explainer.name() != "counterfactual_segments":  # which ends when it has found enough
        assert foretold <= 1.6 * counted + 3


@pytest.mark.parametrize("channels", [1, 5])
def test_any_number_of_channels(explainer, channels):
    net = wrapped(seeded(UNet, 3, channels=channels), 3, channels)
    if refused(explainer, net, images(1, *SIZE, channels)):
        return
    found = explainer(net, images(1, *SIZE, channels), WHOLE)
    assert found.shape == (1, *SIZE) and found.isfinite().all()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
def test_cuda(explainer, model, x):
    expected = explainer(model, x, WHOLE)
    found = explainer(copy.deepcopy(model).cuda(), x.cuda(), WHOLE)
    assert found.device.type == "cuda"
    assert torch.allclose(found.cpu(), expected, rtol=1e-3, atol=1e-4 * float(expected.abs().max()))


def test_repeated(explainer, model, x):
    first = explainer(model, x, WHOLE)
    torch.rand(7)
    assert torch.equal(explainer(model, x, WHOLE), first)


def test_random_state_is_the_caller_s(explainer, model, x):
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    explainer(model, x, WHOLE)
    assert torch.equal(torch.rand(1), expected)


def test_model_and_images_are_left_alone(explainer, x):
    model = unet()
    model.train()
    model.module.mid.eval()
    model.module.head.bias.requires_grad_(False)
    marker = torch.ones_like(model.module.head.weight)
    model.module.head.weight.grad = marker.clone()
    modes = [module.training for module in model.modules()]
    learning = [parameter.requires_grad for parameter in model.parameters()]
    state = {key: value.clone() for key, value in model.state_dict().items()}
    kept, carried = x.clone(), hooks(model)
    explainer(model, x, WHOLE)
    assert [module.training for module in model.modules()] == modes
    assert [parameter.requires_grad for parameter in model.parameters()] == learning
    assert all(torch.equal(state[key], value) for key, value in model.state_dict().items())
    assert torch.equal(model.module.head.weight.grad, marker)
    others = [p for p in model.parameters() if p is not model.module.head.weight]
    assert all(parameter.grad is None for parameter in others)
    assert hooks(model) == carried == 0
    assert torch.equal(x, kept) and x.grad is None and not x.requires_grad


def test_training_mode_does_not_matter(explainer, x):
    expected = explainer(unet(), x, WHOLE)
    model = unet()
    model.train()
    assert torch.equal(explainer(model, x, WHOLE), expected)


def test_it_runs_where_gradients_are_off(explainer, model, x):
    expected = explainer(model, x, WHOLE)
    with torch.no_grad():
        assert torch.equal(explainer(model, x, WHOLE), expected)
    with torch.inference_mode():
        assert torch.equal(explainer(model, x.clone(), WHOLE), expected)


def test_no_hook_is_left_after_an_error(explainer, x):
    model = unet()

    def fail(*args):
        raise RuntimeError("the network's own")

    handle = model.module.dec1.conv1.register_forward_pre_hook(fail)
    with pytest.raises(InputError, match="RuntimeError: the network's own"):
        explainer(model, x, WHOLE)
    handle.remove()
    assert hooks(model) == 0


def test_an_empty_region_gives_zeros(explainer, model, x):
    labels = torch.zeros(2, *SIZE, dtype=torch.int64)
    labels[1] = 1
    found = explainer(model, x, Target(1, Labelled(1)), labels)
    assert found[0].abs().max() == 0
    everything = explainer(model, x, WHOLE)
    assert torch.allclose(found[1], everything[1], atol=1e-5 * float(everything.abs().max()))


def test_configuration_round_trip(explainer):
    kind = type(explainer)
    assert kind.model_validate(explainer.model_dump()) == explainer
    assert kind.model_validate_json(explainer.model_dump_json()) == explainer
    with pytest.raises(ValidationError):
        kind.model_validate({"no such parameter": 1})
    for field in kind.model_fields:
        with pytest.raises(ValidationError):
            setattr(explainer, field, None)
    assert all(field.description for field in kind.model_fields.values())
    assert "properties" in kind.model_json_schema()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x: x[0], r"images are floating point \[n, c, h, w\], got .*\[3, 32, 48\]"),
        (lambda x: (x * 255).to(torch.uint8), "images are floating point"),
        (lambda x: x[:, :2], "takes images with 3 channels, these have 2"),
        (lambda x: x * 255, r"images are in \[0, 1\], got"),
        (lambda x: x * float("nan"), r"images are in \[0, 1\], got nan"),
    ],
)
def test_bad_images(explainer, model, x, change, message):
    with pytest.raises(InputError, match=message):
        explainer(model, change(x), WHOLE)


def test_bad_targets(explainer, model, x):
    with pytest.raises(InputError, match="class 7 is not among the 3"):
        explainer(model, x, Target(7, Predicted(0)))
    with pytest.raises(InputError, match="needs labels"):
        explainer(model, x, Target(1, Labelled(1)))
    with pytest.raises(InputError, match="labels of shape"):
        explainer(model, x, Target(1, Labelled(1)), torch.zeros(2, 3, 3, dtype=torch.int64))


def test_a_network_that_returns_nan(explainer, x):
    model = unet()
    model.module.head.bias.data.fill_(float("nan"))
    if refused(explainer, model, x):
        return
    with pytest.raises(InputError, match="not finite|NaN"):
        explainer(model, x, WHOLE)


def test_a_target_that_is_no_class_is_explained_or_refused(explainer, model):
    """Two decisions on the same pixels whose branches begin with the same class."""
    tree, x = Tree.of(((0, 1), 2)), images(1, *SIZE)
    mask = torch.zeros(1, *SIZE, dtype=torch.bool)
    mask[0, 5:25, 8:40] = True
    targets = [decision(tree, edge, mask) for edge in (0, 2)]
    assert targets[0].class_id == targets[1].class_id == 0
    if explainer.classes_only:
        with pytest.raises(InputError, match="explains classes alone"):
            explainer.on(Scene(model, x), targets)
        return
    one, other = explainer.on(Scene(model, x), targets)
    free = explainer.about.family == "baseline" or isinstance(explainer, SegEigenCam)
    assert free or one.abs().max() == 0 or not torch.equal(one, other)


@pytest.mark.parametrize("name", EXPLAINERS)
def test_unknown_layer(name, model, x):
    kind = load("explainers", name)
    if "layer" in kind.model_fields:
        with pytest.raises(InputError, match="layer 'mud' does not exist: .*mid"):
            kind(layer="mud")(model, x, WHOLE)


def test_images_with_more_channels_than_the_network_takes(explainer, model, x):
    """Red, green, blue and infrared, of which preprocessing picks blue, green, red."""
    picks = SegmentationModel(
        model.module, model.classes, Preprocessing(channels=(2, 1, 0)), name="picks"
    )
    if refused(explainer, picks, x):
        return
    four = torch.cat([x.flip(1), torch.rand_like(x[:, :1])], 1)
    assert torch.allclose(explainer(picks, four, WHOLE), explainer(model, x, WHOLE), atol=1e-6)
    with pytest.raises(InputError, match="picks channel 2"):
        explainer(picks, x[:, :2], WHOLE)
