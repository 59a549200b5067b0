"""BatchNorm folded away, exactly, wherever the data says that it follows a layer."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torchvision.ops import FrozenBatchNorm2d

from conceptseg.errors import InputError
from conceptseg.explain.lrp.canonise import canonise
from conceptseg.explain.lrp.engine import Engine
from conceptseg.explain.lrp.start import relevance_of_logits
from tests.small_models import images, seeded, unet, wrapped


def folded(module, channels=3):
    model = wrapped(seeded(lambda: module).double(), 2, channels)
    for part in model.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.eps = 0.3  # so large that a fold which forgets it is seen
    x = images(2, 8, 12, channels).double()
    found = canonise(model, x)
    assert torch.allclose(found.model(x), model(x), rtol=1e-12, atol=1e-12)
    return found


def test_order_of_definition_does_not_matter():
    class Swapped(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm, self.conv = nn.BatchNorm2d(2), nn.Conv2d(3, 2, 3, padding=1)

        def forward(self, x):
            return self.norm(self.conv(x))

    found = folded(Swapped())
    assert (found.norms, found.folded) == (1, 1)
    assert isinstance(found.model.module.norm, nn.Identity)


@pytest.mark.parametrize("groups", [1, 2])
def test_transposed_convolutions(groups):
    net = nn.Sequential(
        nn.Conv2d(3, 4, 1), nn.ConvTranspose2d(4, 6, 2, 2, groups=groups), nn.BatchNorm2d(6),
        nn.ReLU(), nn.Conv2d(6, 2, 1),
    )  # fmt: skip
    assert folded(net).folded == 1


class Joined(nn.Module):
    """A norm over two convolutions beside each other, and perhaps the image as well."""

    def __init__(self, with_image):
        super().__init__()
        self.with_image = with_image
        self.a, self.b = nn.Conv2d(3, 2, 1), nn.Conv2d(3, 3, 3, padding=1, bias=False)
        width = 8 if with_image else 5
        self.norm, self.last = nn.BatchNorm2d(width), nn.Conv2d(width, 2, 1)

    def forward(self, x):
        parts = [self.a(x), self.b(x)] + ([x] if self.with_image else [])
        return self.last(F.relu(self.norm(torch.cat(parts, 1))))


def test_norms_after_a_concatenation():
    assert folded(Joined(False)).folded == 1
    found = folded(Joined(True))
    assert found.folded == 0  # of the image's channels the norm remains
    assert type(found.model.module.norm).__name__ == "Affine"


class Shared(nn.Module):
    """What must not be folded: a convolution read twice, a norm and a convolution used twice."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1)
        self.norm, self.twice = nn.BatchNorm2d(3), nn.BatchNorm2d(3)
        self.last = nn.Conv2d(3, 2, 1)

    def forward(self, x):
        a = self.a(x)
        a = F.relu(self.norm(a)) + a
        return self.last(self.twice(self.b(self.twice(self.b(a)))))


class NormAndRectifier(nn.BatchNorm2d):
    """What encoders often have: a norm whose own forward rectifies as well."""

    def forward(self, x):
        normalised = F.batch_norm(
            *(x, self.running_mean, self.running_var, self.weight, self.bias),
            eps=self.eps,
        )
        return F.leaky_relu(normalised, 0.2)


@pytest.mark.parametrize("composite", ["epsilon_plus", "gamma"])
def test_a_norm_that_rectifies_as_well_goes_on_rectifying(composite):
    def network(kind, *after):
        class Net(nn.Module):
            def __init__(self):
                super().__init__()
                self.first, self.other = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(3, 2, 1)
                self.norm = nn.Sequential(kind(4), *after)
                self.both = nn.Sequential(kind(6), *after)
                self.last = nn.Conv2d(6, 2, 3, padding=1)

            def forward(self, x):
                # The second norm is folded into one part of what it reads, the other part is used.
                own = self.other(x)
                joined = torch.cat([self.norm(self.first(x)), own], 1)
                return self.last(self.both(joined)) + own

        return Net()

    x = images(2, 8, 12, 3).double()
    mine = wrapped(seeded(lambda: network(NormAndRectifier)).double(), 2, 3)
    plain = wrapped(seeded(lambda: network(nn.BatchNorm2d, nn.LeakyReLU(0.2))).double(), 2, 3)
    with torch.no_grad():
        for part, other in zip(
            [m for m in mine.modules() if isinstance(m, nn.BatchNorm2d)],
            [m for m in plain.modules() if isinstance(m, nn.BatchNorm2d)],
            strict=True,
        ):
            for one in (part, other):
                one.running_mean.copy_(torch.linspace(-1, 1, one.num_features))
                one.running_var.copy_(torch.linspace(0.5, 2, one.num_features))
                one.weight.copy_(torch.linspace(1, -1.5, one.num_features))
                one.bias.copy_(torch.linspace(-0.5, 0.7, one.num_features))
    assert torch.allclose(mine(x), plain(x), rtol=1e-12)
    found = canonise(mine, x)
    assert torch.allclose(found.model(x), mine(x), rtol=1e-12, atol=1e-12)
    assert (found.norms, found.folded) == (2, 1)
    maps = []
    for model in (mine, plain):
        run = Engine(model, x, composite).run(x)
        maps.append(run.at_input(relevance_of_logits(run.evidence, run.logits.argmax(1) == 1, 1)))
    assert maps[0].abs().max() > 0
    assert torch.allclose(maps[0], maps[1], rtol=1e-9, atol=1e-12)


class Frozen(FrozenBatchNorm2d):
    """One that rectifies as well, so it is no norm alone."""

    def forward(self, x):
        return F.relu(super().forward(x))


class HardEps(nn.Module):
    """As in DETR: its eps stands in its code."""

    def __init__(self, width):
        super().__init__()
        for name in ("weight", "bias", "running_mean", "running_var"):
            self.register_buffer(name, torch.ones(width))

    def forward(self, x):
        weight, bias, mean, variance = (
            getattr(self, name)[:, None, None]
            for name in ("weight", "bias", "running_mean", "running_var")
        )
        scale = weight * (variance + 1e-5).rsqrt()
        return x * scale + (bias - mean * scale)


@pytest.mark.parametrize("kind", [FrozenBatchNorm2d, HardEps])
@pytest.mark.parametrize("composite", ["epsilon_plus", "gamma", "rescale"])
def test_frozen_norms_are_folded_as_others_are(kind, composite):
    x, maps = images(2, 8, 12, 3).double(), []
    for norm in (kind, nn.BatchNorm2d):
        net = seeded(
            lambda norm=norm: nn.Sequential(
                nn.Conv2d(3, 4, 3), norm(4), nn.ReLU(), nn.Conv2d(4, 2, 1)
            )
        )
        with torch.no_grad():
            for name, low, high in (
                ("weight", 1, -1.5),
                ("bias", -0.5, 0.7),
                ("running_mean", -1, 1),
                ("running_var", 0.5, 2),
            ):
                getattr(net[1], name).copy_(torch.linspace(low, high, 4))
        model = wrapped(net.double(), 2, 3)
        found = canonise(model, x)
        assert (found.norms, found.folded) == (1, 1)
        assert torch.allclose(found.model(x), model(x), rtol=1e-12, atol=1e-12)
        run = Engine(model, x, composite).run(x)
        maps.append(run.at_input(relevance_of_logits(run.evidence, run.logits.argmax(1) == 1, 1)))
    assert maps[0].abs().max() > 0
    assert torch.equal(maps[0], maps[1])


def test_a_frozen_norm_that_does_more_is_left():
    net = nn.Sequential(nn.Conv2d(3, 4, 1), Frozen(4), nn.Conv2d(4, 2, 1))
    assert (folded(net).norms, folded(net).folded) == (0, 0)


def test_what_is_used_twice_is_left():
    assert (folded(Shared()).norms, folded(Shared()).folded) == (2, 0)


def test_everything_of_a_residual_u_net_goes():
    model = unet()
    found = canonise(model, images(1, 32, 48))
    assert found.norms == found.folded == 10
    assert torch.allclose(found.model(images(2, 32, 48)), model(images(2, 32, 48)), atol=1e-5)
    assert {n.owner for n in found.graph.first()} == {"enc1.conv1", "enc1.short"}
    assert [n.owner for n in found.graph.last()] == ["head"]


class Hiding(nn.Module):
    """An attribute that hides nn.Module's method of that name, as published code has."""

    def __init__(self):
        super().__init__()
        self.modules = []
        self.conv, self.norm = nn.Conv2d(3, 2, 3, padding=1), nn.BatchNorm2d(2)

    def forward(self, x):
        return self.norm(self.conv(x))


def test_an_attribute_that_hides_a_method_of_modules():
    found = folded(nn.Sequential(Hiding(), nn.ReLU(), nn.Conv2d(2, 2, 1)))
    assert (found.norms, found.folded) == (1, 1)


def test_statistics_of_the_batch_are_refused():
    """A norm of a kind of its own is not made to take each image's statistics."""

    class Own(nn.BatchNorm2d):
        pass

    net = nn.Sequential(nn.Conv2d(3, 2, 1), Own(2, track_running_stats=False))
    with pytest.raises(InputError, match=r"module '1' \(Own\) keeps no running statistics"):
        canonise(wrapped(net, 2), images())


class Noisy(nn.Module):
    def forward(self, x):
        return F.dropout(x, 0.5, training=True)


class Writing(nn.Module):
    """Writes into its input and returns something else."""

    def forward(self, x):
        F.relu(x, inplace=True)
        return x - 0.5


@pytest.mark.parametrize("culprit", [Noisy, Writing])
def test_a_copy_that_is_not_the_network_is_refused_by_name(culprit):
    net = seeded(
        lambda: nn.Sequential(
            nn.Conv2d(3, 4, 1), nn.ReLU(), nn.Conv2d(4, 4, 1), culprit(), nn.Conv2d(4, 2, 1)
        )
    )
    with pytest.raises(InputError, match=rf"differs is '3' \({culprit.__name__}\)"):
        Engine(wrapped(net, 2), images())


def test_a_network_of_nan_is_told():
    net = nn.Conv2d(3, 2, 1)
    net.weight.data.fill_(float("nan"))
    with pytest.raises(InputError, match="NaN"):
        Engine(wrapped(nn.Sequential(net), 2), images())
