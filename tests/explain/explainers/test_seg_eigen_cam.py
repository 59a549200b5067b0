import numpy as np
import pytest
import torch
from pydantic import ValidationError

from conceptseg.explain.explainers import seg_eigen_cam
from conceptseg.explain.explainers.seg_eigen_cam import SegEigenCam, Spectrum
from conceptseg.explain.regions import Box, Everything, Predicted, UserMask
from conceptseg.explain.scene import Scene
from conceptseg.explain.target import Target
from conceptseg.network.record import Tail
from tests.explain.explainers.peers import grad_cam_map
from tests.explain.explainers.planted import looking_through, red_finder, two_red_squares
from tests.small_models import images, unet

LOGIT = {"score": "logit", "reduce": "sum"}


def same_up_to_sign(found, expected, tolerance):
    """The largest deviation, per image and after the better sign, over the largest value."""
    sides = torch.stack([(found - sign * expected).abs().amax((1, 2)) for sign in (1, -1)])
    return bool((sides.amin(0) <= tolerance * expected.abs().amax((1, 2))).all())


def by_svd(maps):
    """X v of the centred maps, by the whole decomposition."""
    found = []
    for one in maps.double().numpy():
        rows = one.reshape(len(one), -1).T
        rows = rows - rows.mean(0)
        right = np.linalg.svd(rows, full_matrices=False)[2]
        found.append(torch.from_numpy(rows @ right[0]).reshape(maps.shape[2:]))
    return torch.stack(found)


@pytest.mark.parametrize("sign", ["target", "absmax", "none"])
@pytest.mark.parametrize("units", [2, 11, 12, 13, 40])
def test_first_singular_vector(units, sign):
    """From whichever Gram matrix is the smaller, for fewer units than positions and for more."""
    maps, mask = images(3, 3, 4, units), images(3, 6, 8, 1)[:, 0] > 0.5
    found = Spectrum.of(maps.double()).map(mask, sign)
    assert same_up_to_sign(found, by_svd(maps), 1e-9)
    assert same_up_to_sign(Spectrum.of(maps).map(mask, sign), by_svd(maps), 1e-4)


@pytest.mark.parametrize("weighting", ["none", "gradient", "absolute"])
def test_weightings(weighting):
    model, x = unet().double(), images(2).double()
    scene, target = Scene(model, x), Target(1)
    tail = Tail.of(model, x, "mid", graph=True)
    gradient = tail.gradient(scene.fix(target))
    weight = {"none": 1, "gradient": gradient, "absolute": gradient.abs()}[weighting]
    expected = by_svd(weight * tail.activation.detach())
    explainer = SegEigenCam(layer="mid", weighting=weighting, relu=False)
    found = explainer.on_grid(scene, target)
    assert same_up_to_sign(found, expected, 1e-9)
    assert torch.equal(
        explainer.model_copy(update={"relu": True}).on_grid(scene, target), found.relu()
    )


def test_one_component():
    """A_k = a_k m + b_k for one map m: centred m times |a|, with the region's sign."""
    m = torch.zeros(1, 1, 6, 8)
    m[:, :, 1:3, 2:5] = 1
    m[:, :, 4:, 6:] = 3
    a, b = torch.tensor([3.0, -1.0, 0.0, 2.0]), torch.tensor([5.0, 5.0, 2.0, 0.0])
    x = (a[None, :, None, None] * m + b[None, :, None, None]) / 14
    m = m[0, 0]
    assert torch.allclose(x[0, 1], (5 - m) / 14)
    expected = (m - m.mean()) * a.norm() / 14
    model, explainer = looking_through(4), SegEigenCam(layer="encoder", relu=False)
    for region, sign in ((Box(4, 6, 6, 8), 1), (Box(0, 0, 1, 8), -1)):
        found = explainer(model, x, Target(0, region))[0]
        assert torch.allclose(found, sign * expected, atol=1e-5)
    # The other rule asks for no region.
    explainer = SegEigenCam(layer="encoder", relu=False, sign="absmax")
    assert torch.allclose(explainer(model, x, Target(0, Box(0, 0, 1, 8)))[0], expected, atol=1e-5)
    gap = explainer.gap(Scene(model, x), Target(0, Everything()))
    assert gap.item() == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("units", [3, 60])
def test_a_rotation_of_the_units_does_not_matter(units):
    maps, mask = images(2, 6, 8, units).double(), images(2, 6, 8, 1)[:, 0] > 0.7
    generator = torch.Generator().manual_seed(0)
    turn = torch.linalg.qr(torch.randn(units, units, generator=generator).double())[0]
    turned = torch.einsum("ku,nuyx->nkyx", turn, maps) + 7
    for sign in ("target", "absmax"):
        expected = Spectrum.of(maps).map(mask, sign)
        assert torch.allclose(Spectrum.of(turned).map(mask, sign), expected, rtol=1e-6, atol=1e-9)


def spectral(values, units=120, height=10, width=12, seed=0):
    """A map whose singular values, over random singular vectors, are the given ones."""
    generator = torch.Generator().manual_seed(seed)
    rows = torch.randn(height * width, len(values), generator=generator).double()
    left = torch.linalg.qr(rows - rows.mean(0))[0]
    right = torch.linalg.qr(torch.randn(units, len(values), generator=generator).double())[0]
    rows = left * torch.tensor(values).double() @ right.T
    return rows.T.unflatten(1, (height, width))


@pytest.mark.parametrize(
    ("values", "in_a_block"),
    [
        ([9.0 * 0.5**i for i in range(20)], True),  # as networks have them
        ([5.0, 5.0, 5.0, 1.0, 0.5], True),  # tied, fewer than a block
        ([3.0] * 10 + [1.0], False),  # tied, more than a block
        ([1.0 + 0.999**i for i in range(100)], False),  # hardly different: no few products tell
    ],
)
def test_few_products_give_what_all_eigenvectors_give(values, in_a_block):
    maps = torch.stack([spectral(values, seed=seed) for seed in (0, 1)])
    mask = images(2, 10, 12, 1)[:, 0] > 0.7
    found, whole = Spectrum.of(maps.float()), Spectrum.of(maps)
    assert (found.variances.shape[1] == seg_eigen_cam.BLOCK) == in_a_block
    assert whole.variances.shape[1] == 120
    expected = whole.map(mask, "target")
    tolerance = 1e-4 if in_a_block else 1e-2
    assert (found.map(mask, "target") - expected).abs().max() <= tolerance * expected.abs().max()
    assert torch.allclose(found.gap.double(), whole.gap, atol=1e-5)


def test_it_knows_no_class():
    """Its fault: between classes nothing but the sign changes, here for the complement."""
    model, x = red_finder(), two_red_squares()
    explainer = SegEigenCam(layer="encoder", relu=False)
    first, second = explainer.on(Scene(model, x), [Target(0), Target(1)])
    assert first.abs().max() > 0
    assert torch.equal(first, -second)
    assert first.mean().abs() < 1e-6 * first.abs().max()


def test_the_rectifier_keeps_the_region_s_half():
    model, x = red_finder(), two_red_squares()
    scene = Scene(model, x)
    red, rest = SegEigenCam(layer="encoder").on(scene, [Target(1), Target(0)])
    inside = scene.fix(Target(1)).mask
    assert red[inside].min() > 0 and rest[inside].max() == 0
    assert ((red > 0) & (rest > 0)).sum() == 0


@pytest.mark.parametrize("region", [Everything(), Predicted(0) & ~Predicted(0)])
def test_a_region_without_a_side_falls_back_on_the_largest_value(region):
    model, x = red_finder(), two_red_squares()
    scene = Scene(model, x)
    explainer = SegEigenCam(layer="encoder", relu=False)
    found = explainer.on_grid(scene, Target(1, region))
    assert found.max() > -found.min()
    absmax = explainer.model_copy(update={"sign": "absmax"})
    assert torch.equal(found, absmax.on_grid(scene, Target(1, region)))


def waves(height=8, width=12):
    """Two maps of mean zero, length 1 and no correlation."""
    sides = (torch.arange(side).double() / side for side in (height, width))
    y, x = torch.meshgrid(*sides, indexing="ij")
    pair = torch.stack((torch.cos(2 * torch.pi * x), torch.cos(2 * torch.pi * y)))
    return pair / pair.flatten(1).norm(dim=1)[:, None, None]


@pytest.mark.parametrize("units", [2, 120])
def test_tied_components(units):
    """Of a plane of directions the one closest to the region, whatever basis the library takes."""
    pair = waves()
    generator = torch.Generator().manual_seed(1)
    basis = torch.linalg.qr(torch.randn(units, 2, generator=generator).double())[0]
    maps = torch.einsum("uq,qyx->uyx", basis, pair)[None] * 3
    mask = torch.zeros(1, 8, 12, dtype=torch.bool)
    mask[:, 0:2, 0:3] = True
    parts = (pair * mask).sum((1, 2))
    expected = 3 * torch.einsum("q,qyx->yx", parts / parts.norm(), pair)
    spectrum = Spectrum.of(maps)
    assert torch.allclose(spectrum.map(mask, "target")[0], expected)
    assert spectrum.gap.item() == pytest.approx(0, abs=1e-6)
    # As soon as one is ahead, it is taken alone.
    ahead = Spectrum.of(maps + 0.03 * torch.einsum("u,yx->uyx", basis[:, 0], pair[0]))
    assert ahead.gap.item() == pytest.approx(1 - 3 / 3.03)
    assert torch.allclose(ahead.map(mask, "target")[0], 3.03 * pair[0] * parts[0].sign())


def test_gap():
    """1 - s_2 / s_1, from numpy's singular values; 1 for a single unit, 0 for no contrast."""
    model, x = unet(), images(2)
    scene, target = Scene(model, x), Target(1)
    maps = scene.tail("mid").activation.flatten(2)
    values = [np.linalg.svd((m - m.mean(1, keepdim=True)).numpy())[1] for m in maps]
    expected = torch.tensor([1 - s[1] / s[0] for s in values])
    assert torch.allclose(SegEigenCam(layer="mid").gap(scene, target), expected, atol=1e-4)
    assert Spectrum.of(images(1, 3, 4, 1)).gap.item() == 1
    assert Spectrum.of(torch.ones(1, 3, 4, 5)).gap.item() == 0


@pytest.mark.parametrize("shape", [(1, 3, 4, 5), (1, 40, 4, 5), (1, 3, 1, 1), (1, 1, 4, 5)])
def test_no_contrast_gives_zeros(shape):
    found = Spectrum.of(torch.full(shape, 2.0)).map(
        torch.ones(1, 8, 10, dtype=torch.bool), "target"
    )
    assert found.shape == (1, *shape[2:]) and found.abs().max() == 0


@pytest.mark.parametrize("scale", [1e-25, 1e25])
def test_values_whose_squares_leave_the_type(scale):
    maps, mask = images(1, 6, 8, 5), images(1, 6, 8, 1)[:, 0] > 0.5
    expected = Spectrum.of(maps).map(mask, "target")
    found = Spectrum.of(maps * scale).map(mask, "target") / scale
    assert torch.allclose(found, expected, rtol=1e-3, atol=1e-4)


def test_the_mask_is_averaged_onto_the_grid():
    """On a coarse layer the region's share of each position tells the sign."""
    model, x = unet(), images(1)
    scene = Scene(model, x)
    # All of a block of positions but the first pixel of each, and of the others that pixel alone.
    given = torch.zeros(16, 24, dtype=torch.bool)
    given[:8, 4:16] = True
    given[::4, ::4] ^= True
    explainer = SegEigenCam(layer="mid", relu=False)
    found = explainer.on_grid(scene, Target(1, UserMask(given)))[0]
    share = torch.zeros(4, 6)
    for y, at in np.ndindex(16, 24):
        share[y // 4, at // 4] += given[y, at] / 16
    assert np.corrcoef(share.flatten(), found.flatten())[0, 1] > 0
    assert torch.equal(found, -explainer.on_grid(scene, Target(1, UserMask(~given)))[0])


def test_passes_and_decompositions(monkeypatch):
    """Without gradients no backward pass, and one decomposition for all targets."""
    calls = []
    made = Spectrum.of
    monkeypatch.setattr(
        seg_eigen_cam.Spectrum, "of", lambda maps: calls.append(maps.shape) or made(maps)
    )
    targets = [Target(c, Everything()) for c in range(3)]
    scene = Scene(unet(), images(2))
    SegEigenCam(layer="mid").on(scene, targets)
    assert scene.passes == {"forward": 2} and calls == [(2, 16, 4, 6)]
    scene = Scene(unet(), images(2))
    SegEigenCam(layer="mid", weighting="gradient").on(scene, targets)
    assert scene.passes == {"forward": 2, "tail backward": 6} and len(calls) == 4


def test_unknown_choices():
    with pytest.raises(ValidationError):
        SegEigenCam(weighting="squared")
    with pytest.raises(ValidationError):
        SegEigenCam(sign="positive")


@pytest.mark.slow  # loading the library takes seconds
@pytest.mark.parametrize("layer", ["mid", "dec2", "enc1"])
@pytest.mark.parametrize(
    ("name", "weighting"), [("EigenCAM", "none"), ("EigenGradCAM", "gradient")]
)
def test_pytorch_grad_cam(layer, name, weighting):
    """Equal but for the sign, about which it has no rule."""
    model, x = unet(), images(2)
    target = Target(1, Everything(), **LOGIT)
    expected = grad_cam_map(name, model, layer, x, target)
    explainer = SegEigenCam(layer=layer, weighting=weighting, relu=False)
    assert same_up_to_sign(explainer.on_grid(Scene(model, x), target), expected, 1e-4)


@pytest.mark.slow  # loading the library takes seconds
@pytest.mark.parametrize("layer", ["mid", "dec2", "enc1"])
def test_chung_and_ying_in_pytorch_grad_cam(layer):
    model, x = unet(), images(2)
    target = Target(1, Predicted(1), **LOGIT)
    expected = grad_cam_map("SegEigenCAM", model, layer, x, target)
    explainer = SegEigenCam(layer=layer, weighting="absolute", sign="absmax", relu=False)
    found = explainer.on_grid(Scene(model, x), target)
    assert torch.allclose(found, expected, atol=1e-4 * float(expected.abs().max()))
