import pytest
import torch
from torch import nn

from conceptseg.explain.explainers.smoothgrad import SmoothGrad
from conceptseg.explain.explainers.vanilla_saliency import VanillaSaliency
from conceptseg.explain.regions import Everything
from conceptseg.explain.scene import Scene
from conceptseg.explain.target import Target
from tests.explain.explainers.quadratic import hessian, powers
from tests.small_models import images, seeded, unet, wrapped

WHOLE = Target(1, Everything(), score="logit", reduce="sum")


@pytest.mark.parametrize("samples", [1, 4])
def test_a_linear_network_is_as_it_was(samples):
    model, x = wrapped(seeded(nn.Conv2d, 3, 2, 3, padding=1), 2), images(2)
    expected = VanillaSaliency(reduce="sum_abs")(model, x, WHOLE)
    found = SmoothGrad(samples=samples, noise=0.5)(model, x, WHOLE)
    assert torch.allclose(found, expected, atol=1e-6)
    variance = SmoothGrad(samples=4, noise=0.5, kind="variance")(model, x, WHOLE)
    assert variance.abs().max() < 1e-10


def test_moments_on_a_quadratic_network():
    """Of x'Qx / 2: the mean is Qx, the variance s^2 sum_j Q_ij^2, squares add both."""
    model, x, samples, share = powers(2), images(1), 60, 0.2
    q = hessian(model, 1)
    s = share * (x.max() - x.min())
    plain, squared, variance = (
        SmoothGrad(samples=samples, noise=share, kind=kind, reduce="sum")(model, x, WHOLE)[0]
        for kind in ("plain", "squared", "variance")
    )
    clean = torch.einsum("dc,chw->dhw", q, x[0])
    spread = s**2 * q.sum(0).square().sum()  # of the sum over channels
    off = (plain - clean.sum(0)) / (spread / samples).sqrt()
    assert abs(off.mean()) < 5 / off.numel() ** 0.5
    assert off.square().mean().item() == pytest.approx(1, abs=0.2)
    expected = s**2 * q.square().sum()
    assert variance.mean().item() == pytest.approx(float(expected) * (1 - 1 / samples), rel=0.05)
    both = expected + clean.square().sum(0)
    assert squared.mean().item() == pytest.approx(float(both.mean()), rel=0.05)


@pytest.mark.parametrize("kind", ["plain", "squared", "variance"])
def test_loops_over_noisy_copies(kind):
    model, x = unet(), images(2)
    scene = Scene(model, x)
    explainer = SmoothGrad(samples=5, kind=kind, reduce="sum")
    copies = explainer.copies(scene, [0, 1])(0, 5)
    for i in range(2):
        score = scene.fix(Target(1)).image(i)
        found = []
        for j in range(5):
            copy = copies[i, j][None].clone().requires_grad_()
            score(model(copy)).sum().backward()
            found.append(copy.grad[0])
        found = torch.stack(found)
        expected = {
            "plain": found.mean(0),
            "squared": found.square().mean(0),
            "variance": found.var(0, correction=0),
        }[kind].sum(0)
        maps = explainer.on(scene, [Target(1)])[0, i]
        assert torch.allclose(maps, expected, atol=1e-5 * float(expected.abs().max()))


@pytest.mark.parametrize(
    ("kind", "name"),
    [("plain", "smoothgrad"), ("squared", "smoothgrad_sq"), ("variance", "vargrad")],
)
def test_captum(kind, name, monkeypatch):
    """With the same noise."""
    captum = pytest.importorskip("captum.attr")
    model, x = unet(), images(2)
    explainer = SmoothGrad(samples=6, kind=kind, reduce="sum")
    scene = Scene(model, x)
    noise = explainer.copies(scene, [0, 1])(0, 6) - x[:, None]
    monkeypatch.setattr(torch, "normal", lambda mean, std: noise.flatten(0, 1))
    fixed = scene.fix(Target(1))
    peer = captum.NoiseTunnel(captum.Saliency(lambda batch: fixed(model(batch))))
    expected = peer.attribute(x, nt_type=name, nt_samples=6, stdevs=1.0, abs=False).sum(1)
    found = explainer.on(scene, [Target(1)])[0]
    assert torch.allclose(found, expected.detach(), atol=1e-5 * float(expected.abs().max()))


def test_without_noise_it_is_the_gradient():
    model, x = unet(), images(2)
    found = SmoothGrad(samples=1, noise=0, reduce="max_abs")(model, x, Target(1))
    assert torch.equal(found, VanillaSaliency()(model, x, Target(1)))


def test_noise():
    """A share of the image's range or of each channel's; samples do not hang on their number."""
    x = images(2, 60, 60)
    x[:, 1] *= 0.1
    x[1] = 0.5 + x[1] / 2
    scene = Scene(unet(), x)
    for scale, spread in (("image", (1, 1, 1)), ("channel", (1, 0.1, 1))):
        copies = SmoothGrad(noise=0.2, scale=scale).copies(scene, [0, 1])
        added = copies(0, 8) - x[:, None]
        for i, whole in enumerate((1, 0.5)):
            expected = 0.2 * whole * torch.tensor(spread)
            assert torch.allclose(added[i].std((0, 2, 3)), expected, rtol=0.03)
        assert added.mean().abs() < 0.01
        assert torch.equal(copies(3, 5), copies(0, 8)[:, 3:5])
    assert not torch.equal(added[0, 0], added[0, 1])
    other = SmoothGrad(noise=0.2, scale="channel", seed=1).copies(scene, [0, 1])(0, 1)
    assert not torch.allclose(other[:, 0] - x, added[:, 0])


def test_the_variance_of_one_sample():
    with pytest.raises(ValueError, match="variance of one sample"):
        SmoothGrad(samples=1, kind="variance")


def test_passes_and_memory():
    model, x = unet(), images(3)
    seen = []
    model.register_forward_pre_hook(lambda module, args: seen.append(args[0].shape[0]))
    scene = Scene(model, x, batch_size=2)
    SmoothGrad(samples=3).on(scene, [Target(0), Target(1)])
    assert scene.passes == {"forward": 3 + 9, "backward": 18}
    assert max(seen) == 2
