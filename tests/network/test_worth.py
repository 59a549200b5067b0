"""What is lost without a layer, against loops over pixels and against closed forms."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from conceptseg.network.worth import Weigher, compared
from tests.small_models import seeded, wrapped


def by_hand(before: Tensor, after: Tensor) -> tuple[float, float]:
    """Worth by loops over classes and pixels."""
    n, k, h, w = before.shape
    places = [(i, y, x) for i in range(n) for y in range(h) for x in range(w)]
    a = {p: [float(before[p[0], c, p[1], p[2]]) for c in range(k)] for p in places}
    b = {p: [float(after[p[0], c, p[1], p[2]]) for c in range(k)] for p in places}
    now = {p: max(range(k), key=lambda c, v=v: v[c]) for p, v in a.items()}
    then = {p: max(range(k), key=lambda c, v=v: v[c]) for p, v in b.items()}
    overlaps = []
    for c in set(now.values()):
        both = sum(now[p] == c and then[p] == c for p in places)
        overlaps.append(both / sum(now[p] == c or then[p] == c for p in places))
    a = {p: [x - sum(v) / k for x in v] for p, v in a.items()}
    b = {p: [x - sum(v) / k for x in v] for p, v in b.items()}
    mean = [sum(v[c] for v in a.values()) / len(places) for c in range(k)]
    spread = sum((a[p][c] - mean[c]) ** 2 for p in places for c in range(k))
    moved = sum((a[p][c] - b[p][c]) ** 2 for p in places for c in range(k))
    shares = [sum(one == c for one in now.values()) / len(places) for c in set(now.values())]
    left = max(shares) / len(overlaps)  # what one class everywhere keeps at most
    return min(1.0, (1 - sum(overlaps) / len(overlaps)) / (1 - left)), min(1.0, moved / spread)


@pytest.mark.parametrize("noise", [0.0, 0.3, 1.0, 5.0])
def test_it_is_what_loops_find(noise):
    torch.manual_seed(1)
    before = torch.randn(2, 4, 5, 6)
    after = before + noise * torch.randn_like(before) + torch.randn(2, 1, 5, 6)
    worth = compared(before, after).worth
    prediction, logits = by_hand(before, after)
    assert worth.prediction == pytest.approx(prediction, abs=1e-6)
    assert worth.logits == pytest.approx(logits, abs=1e-5)
    if noise == 0:
        assert worth.prediction == 0 and worth.logits < 1e-12, "what classes share does not count"


def test_what_is_no_number_is_lost():
    before = torch.randn(1, 3, 4, 4)
    worth = compared(before, before.clone().fill_(float("nan"))).worth
    assert worth.prediction == 1.0 and worth.logits == pytest.approx(1.0, abs=1e-12)


def test_a_draw_of_images_is_as_if_these_were_all():
    """Each image as often as it is drawn, against the same images one after the other."""
    torch.manual_seed(2)
    before = torch.randn(4, 3, 6, 5) + 2 * torch.randn(4, 3, 1, 1)
    after = before + 0.2 * torch.randn_like(before)
    after[1, :, 2:] = float("nan")
    losses = compared(before, after)
    for drawn in ([0, 1, 2, 3], [0, 0, 2, 2], [1, 1, 1, 3]):
        weights = np.bincount(drawn, minlength=4)[None].astype(float)
        prediction, logits = losses.drawn(weights)
        worth = compared(before[drawn], after[drawn]).worth
        assert prediction[0] == pytest.approx(worth.prediction, abs=1e-9)
        assert logits[0] == pytest.approx(worth.logits, abs=1e-6)
    one = compared(before[1:2], after[1:2]).worth
    kept = before[1:2, :, :2], after[1:2, :, :2]
    assert one.logits > compared(*kept).worth.logits, "what is no number is lost"


def test_which_class_is_left_everywhere_makes_no_difference():
    """Of nine tenths ground, 1 - mean IoU is 0.55 by ground everywhere, 0.95 by the other."""
    before = torch.zeros(5, 2, 4, 5)
    before[:, 0] = 1
    before[:, 1, 0, :2] = 2
    for left in (0, 1):
        after = torch.zeros_like(before)
        after[:, left] = 1
        assert compared(before, after).worth.prediction == pytest.approx(1)
    half = before.clone()
    half[:, 1, 0, 1] = 0
    overlaps = 0.5 * (18 / 19 + 1 / 2)
    expected = (1 - overlaps) / (1 - 0.5 * 0.9)
    assert compared(before, half).worth.prediction == pytest.approx(expected)


class Mixed(nn.Module):
    """z = weight a + (1 - weight) b, with a and b the image's two channels; one class against 0."""

    def __init__(self, weight: float):
        super().__init__()
        self.a, self.b = nn.Conv2d(2, 1, 1, bias=False), nn.Conv2d(2, 1, 1, bias=False)
        self.weight = weight
        with torch.no_grad():
            self.a.weight.copy_(torch.tensor([1.0, 0.0])[None, :, None, None])
            self.b.weight.copy_(torch.tensor([0.0, 1.0])[None, :, None, None])

    def forward(self, x: Tensor) -> Tensor:
        x = 2 * x - 1
        z = self.weight * self.a(x) + (1 - self.weight) * self.b(x)
        return torch.cat([-z, z], 1)


def signs(n: int = 8) -> Tensor:
    """Each combination of two channels, 0 or 1, at as many pixels: their covariance is 0."""
    cells = torch.tensor([[0.0, 0, 1, 1], [0, 1, 0, 1]])
    return cells.reshape(1, 2, 2, 2).repeat(n, 1, 4, 4)


@pytest.mark.parametrize("weight", [0.2, 0.6, 0.9])
def test_the_lost_variation_is_the_branch_s_share(weight):
    model = wrapped(Mixed(weight), 2, 2)
    weigher = Weigher(model, signs(), 3)
    assert weigher.record(["a", "b"])
    whole = weight**2 + (1 - weight) ** 2
    assert weigher.without("a").worth.logits == pytest.approx(weight**2 / whole, abs=1e-6)
    assert weigher.without("b").worth.logits == pytest.approx((1 - weight) ** 2 / whole, abs=1e-6)
    # The sign of z is the heavier channel's; without it, the other's, which agrees at half.
    heavy, light = ("a", "b") if weight > 0.5 else ("b", "a")
    assert weigher.without(heavy).worth.prediction == pytest.approx(2 / 3 / 0.75, abs=1e-6)
    assert weigher.without(light).worth.prediction == 0
    assert weigher.passed == 8 * 5


def test_another_image_s_output():
    """Of two images that are each other's negative all is lost, of equal ones nothing."""
    images = torch.cat([signs(1), 1 - signs(1)])
    model = wrapped(Mixed(0.9), 2, 2)
    for given, lost in ((images, 1.0), (images[:1].repeat(2, 1, 1, 1), 0.0)):
        weigher = Weigher(model, given, 1)
        weigher.record(["a"])
        assert weigher.exchanged("a").worth.prediction == lost
    assert not Weigher(model, images[:1], 1).several


def test_batches_change_nothing():
    from tests.small_models import UNet

    model, images = wrapped(seeded(UNet)), torch.rand(4, 3, 16, 24)
    found = []
    for size in (1, 3, 4):
        weigher = Weigher(model, images, size)
        weigher.record(["mid", "dec1"])
        found.append((weigher.without("dec1").worth, weigher.exchanged("mid").worth))
    for one in found[1:]:
        for left, right in zip(found[0], one, strict=True):
            assert left.logits == pytest.approx(right.logits, abs=1e-5)
            assert left.prediction == pytest.approx(right.prediction, abs=1e-3)


class Minds(Mixed):
    def forward(self, x: Tensor) -> Tensor:
        if float(self.a(x).std()) == 0:
            raise ValueError("nothing to normalise")
        return super().forward(x)


def test_a_layer_that_cannot_be_set_has_no_worth():
    weigher = Weigher(wrapped(Minds(0.5), 2, 2), signs(), 8)
    weigher.record(["a", "b"])
    assert weigher.without("a") is None
    assert weigher.without("b") is not None
