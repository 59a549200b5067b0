import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from conceptseg.errors import InputError
from conceptseg.explain.explainers.u_noise import UNoise
from conceptseg.explain.fitted import Fitted
from conceptseg.explain.noise import generator
from conceptseg.explain.noise_model import Noise, NoiseNet, bilateral, kept_loss, train
from conceptseg.explain.regions import Everything
from conceptseg.explain.scene import Scene
from conceptseg.explain.target import Target
from conceptseg.notebook import explain, fit_noise
from tests.explain.metrics.judging import Sum
from tests.small_models import images, seeded, unet, wrapped

WHOLE = Target(1, Everything())


class Levels(nn.Module):
    """The same free numbers for any image: what B would be if it had not to be guessed."""

    def __init__(self, h, w):
        super().__init__()
        self.free = nn.Parameter(torch.zeros(1, 1, h, w))

    def forward(self, x):
        return self.free.expand(len(x), -1, -1, -1)


@pytest.mark.parametrize("low", [0.0, 0.2])
def test_levels_of_a_linear_network_are_the_closed_root(low):
    """E (w . noise)^2 = sum w^2 sigma^2; at the least cost 2 w^2 sigma s B = price / pixels."""
    h, w, price, high = 5, 6, 0.5, 1.0
    weight = (torch.rand(1, h, w, generator=generator("weights")) + 0.3) * 0.6
    net = wrapped(Sum(weight), 2, 1)

    def squared(logits, clean, classes):
        return (logits[:, 1, 0, 0] - clean[:, 1, 0, 0]).square()

    levels = Levels(h, w)
    with torch.no_grad():
        levels.free.fill_(-1.0)
    x = torch.full((1, 1, h, w), 0.5)
    train(levels, net, x, [[(0, 1)]], Noise(low, high, price), steps=1200, batch=400, rate=0.05,
          loss=squared)  # fmt: skip
    s, square = high - low, weight[0].double() ** 2
    c = price / (h * w)
    # 2 w^2 s (low + s B) B = c
    root = (-low + (low**2 + 2 * c / square).sqrt()) / (2 * s)
    found = levels.free[0, 0].sigmoid().double()
    print("largest relative deviation", ((found - root) / root).abs().max().item())
    assert root.max() < 1 and torch.allclose(found, root, rtol=0.05)


def test_where_the_network_does_not_look_noise_is_let_in():
    """The left half is read, the right is not: after a short fit B is larger on the right."""

    class Left(nn.Module):
        def __init__(self):
            super().__init__()
            self.scale = nn.Parameter(torch.tensor(20.0))

        def forward(self, x):
            seen = x[..., : x.shape[3] // 2].mean((2, 3))[:, 0] - 0.5
            z = (self.scale * seen)[:, None, None].expand(-1, *x.shape[2:])
            return torch.stack((torch.zeros_like(z), z), 1)

    net = wrapped(Left(), 2, 1)
    x = torch.rand(16, 1, 12, 16, generator=generator("halves")) * 0.5 + 0.5
    x[:, :, :, 8:] = torch.rand(16, 1, 12, 8, generator=generator("right"))
    made = seeded(NoiseNet, 1, 1)
    costs = train(made, net, x, [[(0, 1)]] * 16, Noise(price=0.02), steps=150)
    level = made(x).sigmoid().detach()
    assert np.mean(costs[-20:]) < np.mean(costs[:20])
    assert level[..., 9:].mean() > level[..., :7].mean() + 0.2


def test_loss_of_one_class_against_all_others_by_hand():
    logits = torch.randn(2, 4, 3, 5, generator=generator("logits"))
    clean = torch.randn(2, 4, 3, 5, generator=generator("clean"))
    classes = torch.tensor([2, 0])
    found = kept_loss(logits, clean, classes)
    for i, c in enumerate([2, 0]):
        p = logits[i].double().softmax(0)[c]
        held = clean[i].argmax(0) == c
        expected = -torch.where(held, p.log(), (1 - p).log()).mean()
        assert found[i].item() == pytest.approx(expected.item(), rel=1e-5)


def test_a_bilateral_filter_by_loops_and_in_its_limits():
    maps = torch.rand(1, 2, 7, 8, generator=generator("maps"), dtype=torch.float64)
    guide = torch.rand(1, 3, 7, 8, generator=generator("guide"), dtype=torch.float64)
    found = bilateral(maps, guide, 1.0, 0.3)
    for y, x in ((0, 0), (3, 4), (6, 7)):
        total = weights = 0.0
        for v in range(max(0, y - 2), min(7, y + 3)):
            for u in range(max(0, x - 2), min(8, x + 3)):
                apart = (guide[0, :, v, u] - guide[0, :, y, x]).square().sum().item()
                weight = np.exp(-((v - y) ** 2 + (u - x) ** 2) / 2 - apart / (2 * 0.3**2))
                total, weights = total + weight * maps[0, :, v, u], weights + weight
        assert torch.allclose(found[0, :, y, x], total / weights)
    constant = bilateral(torch.full_like(maps, 0.7), guide, 2.0, 0.1)
    assert torch.allclose(constant, torch.full_like(maps, 0.7))
    blind = bilateral(maps, guide, 1.0, 1e6)
    assert torch.allclose(blind, bilateral(maps, torch.zeros_like(guide), 1.0, 0.1))
    given = maps.requires_grad_()
    assert torch.autograd.gradcheck(lambda m: bilateral(m, guide, 1.0, 0.3), given)


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("fitted") / "noise.safetensors"
    return fit_noise(unet(), list(images(4, 24, 32)), "class 0", "class 1", "class 2", out=path,
                     steps=4, smooth=1.0)  # fmt: skip


def test_a_map_is_one_small_pass_and_that_of_its_file_s_network(file):
    x = images(2, 24, 32)
    scene = Scene(unet(), x)
    found = UNoise(weights=file).on(scene, [WHOLE, Target(0, Everything())])
    assert scene.passes == {"forward": 2}
    saved = Fitted.load(file, "u_noise", unet(), "")
    net = NoiseNet(3, 3)
    net.load_state_dict(saved.tensors)
    level = bilateral(net(x).sigmoid(), x, 1.0, 0.1)
    assert torch.allclose(found, 1 - level[:, [1, 0]].transpose(0, 1), atol=1e-6)
    again = explain(unet(), x[0], "class 1", {"kind": "u_noise", "weights": str(file)})
    assert np.allclose(again.attributions["u_noise"], found[0, 0], atol=1e-6)


def test_fitting_is_repeated_to_the_bit_and_leaves_the_network_alone(tmp_path):
    net = unet()
    before, mode = net.fingerprint(), net.module.training
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    files = [fit_noise(net, list(images(3, 16, 16)), "class 1", out=tmp_path / name, steps=3)
             for name in "ab"]  # fmt: skip
    assert torch.equal(torch.rand(3), expected)
    assert files[0].read_bytes() == files[1].read_bytes()
    assert net.fingerprint() == before and net.module.training == mode
    assert all(p.grad is None for p in net.parameters())


def test_what_is_refused_is_one_line(file, tmp_path):
    x = images(1, 24, 32)
    other = unet()
    with torch.no_grad():
        other.module.head.bias += 0.1
    plain = tmp_path / "plain.safetensors"
    save_file({"a": torch.zeros(1)}, plain)
    odd = tmp_path / "odd.safetensors"
    save_file({"a": torch.zeros(1)}, odd, {"conceptseg-fitted": "[1]"})
    (tmp_path / "text").write_text("no tensors")
    cases = [
        (UNoise(), unet(), WHOLE, "u_noise: weights: none are given; fit one .*fit_noise"),
        (UNoise(weights=file), other, WHOLE, "made for other weights .*of model 'small'"),
        (UNoise(weights=plain), unet(), WHOLE, "holds no u_noise"),
        (UNoise(weights=tmp_path / "text"), unet(), WHOLE, "cannot be read"),
        (UNoise(weights=odd), unet(), WHOLE, "cannot be read"),
        (UNoise(weights=tmp_path / "none"), unet(), WHOLE, "is no file"),
        (UNoise(weights=tmp_path), unet(), WHOLE, "give the folder of a finished run"),
    ]
    for method, net, target, message in cases:
        with pytest.raises(InputError, match=message) as raised:
            method(net, x, target)
        assert "\n" not in str(raised.value)
    one = fit_noise(unet(), list(x), "class 1", out=tmp_path / "one", steps=1)
    with pytest.raises(InputError, match="fitted to class 1, and not to class 0"):
        UNoise(weights=one)(unet(), x, Target(0, Everything()))


@pytest.mark.parametrize(
    ("names", "given", "message"),
    [
        (("class 9",), {}, "class 9"),
        (("class 1",), {"prize": 1.0}, "takes no 'prize'.*'price'"),
        (("class 1",), {"low": 2.0}, r"low 2 has to lie in \[0, high\)"),
        ((), {}, "needs images, class names"),
    ],
)
def test_what_cannot_be_fitted(names, given, message, tmp_path):
    with pytest.raises(InputError, match=message):
        fit_noise(unet(), list(images(1, 16, 16)), *names, out=tmp_path / "out", steps=1, **given)


def test_images_of_two_sizes_and_a_folder_that_is_not_there(tmp_path):
    sizes = [images(1, 16, 16)[0], images(1, 16, 20)[0]]
    with pytest.raises(InputError, match="images of one size"):
        fit_noise(unet(), sizes, "class 1", out=tmp_path / "out", steps=1)
    with pytest.raises(InputError, match="cannot be written"):
        fit_noise(unet(), sizes[:1], "class 1", out=tmp_path / "no" / "out", steps=1)
