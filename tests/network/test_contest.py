"""The layer that carries the decision, by simulated losses whose means are known."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from conceptseg.network import contest as contests
from conceptseg.network.candidates import Candidate
from conceptseg.network.contest import Contest, estimated, ratio
from conceptseg.network.worth import Losses

FOUND = [
    Candidate(name, level, visit, 0, (8, 4, 4))
    for visit, (name, level) in enumerate((("deep", 3), ("mid", 1), ("top", 0)))
]


def losses_of(shares: np.ndarray) -> Losses:
    """Of one class on 1000 pixels, of which so large a share is lost on each image."""
    pixels = np.full((len(shares), 1), 1000.0)
    none, sums = np.zeros(len(shares)), np.zeros((len(shares), 1))
    kept = pixels * (1 - shares[:, None])
    return Losses(kept, pixels, pixels, none, sums, none, pixels[:, 0], (sums, none, none))


def weighers(shares: dict[str, np.ndarray], kept: float = 1.0):
    """What stands in for passes of a network: the shares that are lost, by layer and image."""

    class Weigher:
        def __init__(self, model, images, batch_size):
            self.rows, self.passed = images.long().flatten().numpy(), 0
            self.images, self.several, self.means = len(self.rows), len(self.rows) > 1, {}

        def record(self, names):
            self.means |= dict.fromkeys(names)
            return True

        def without(self, name):
            assert name in self.means
            self.passed += self.images
            return losses_of(shares[name][self.rows])

        def exchanged(self, name):
            self.passed += 2 * self.images
            return losses_of(shares[name][self.rows] * (kept if name == "deep" else 1.0))

    return Weigher


def settled(monkeypatch, shares, kept=1.0, first=8, most=64):
    monkeypatch.setattr(contests, "Weigher", weighers(shares, kept))
    images = torch.arange(len(shares["top"]))[:, None, None, None]
    found = Contest(SimpleNamespace(), images, FOUND, 4, first, most)
    assert found.begin()
    return found.settle(), found


def drawn(seed: int, deep: float, count: int = 64) -> dict[str, np.ndarray]:
    """A deep layer that loses a share of what the top one does, more on some images than others."""
    rng = np.random.default_rng(seed)
    top = rng.beta(8, 2, count)
    return {
        "top": top,
        "deep": np.clip(top * deep + rng.normal(0, 0.15, count), 0, 1),
        "mid": top * 0.97,
    }


@pytest.mark.parametrize(("deep", "rates"), [(0.95, (0.95, 1)), (0.7, (0, 0.02))])
def test_fresh_images_choose_the_same(monkeypatch, deep, rates):
    """Four images, as one look has them, choose another layer in many sets; as many as it takes,
    in hardly any. The deep layer's share of the mean is known: what is sought is known."""
    often = {most: [] for most in (4, 64)}
    for seed in range(60):
        for most, layers in often.items():
            layer, found = settled(monkeypatch, drawn(seed, deep), first=min(8, most), most=most)
            layers.append(layer)
            assert most == 4 or found.told or found.weigher.images == 64
    assert set(often[64]) <= {"deep", "mid"}
    share = {most: np.mean([one == "deep" for one in layers]) for most, layers in often.items()}
    assert rates[0] <= share[64] <= rates[1]
    if deep > 0.9:
        assert share[4] < 0.9


def test_clear_ones_are_settled_at_once_and_close_ones_at_most():
    with pytest.MonkeyPatch.context() as patch:
        layer, clear = settled(patch, drawn(0, 0.2))
        assert layer == "mid" and clear.told and clear.weigher.images == 8
        top = np.linspace(0.5, 0.9, 64)
        wild = {"top": top, "mid": 0.5 * top, "deep": top * (0.85 + 0.6 * np.tile([1, -1], 32))}
        layer, close = settled(patch, {**wild, "deep": wild["deep"].clip(0, 1)})
        assert not close.told and close.weigher.images == 64
        own = close.known["deep"].of_best
        assert own.low < 0.9 < own.high and layer == ("deep" if own.value >= 0.8 else "top")
        asked = sum(one.images for one in close._weighers) * 3 * 3 + 8
        assert close.passed <= asked


def test_a_layer_that_others_outputs_do_not_move_is_passed_over(monkeypatch):
    assert settled(monkeypatch, drawn(1, 1.0))[0] == "deep"
    layer, found = settled(monkeypatch, drawn(1, 1.0), kept=0.5)
    assert layer == "mid" and found.known["deep"].of_best.value > 0.9


def test_few_images_decide_by_the_share_itself(monkeypatch):
    for seed in range(5):
        shares = drawn(seed, 0.9, count=3)
        layer, found = settled(monkeypatch, shares)
        assert found.weigher.images == 3 and not found.told
        assert found.known["deep"].of_best.ci is None
        reaches = shares["deep"].mean() >= 0.9 * shares["top"].mean()
        assert layer == ("deep" if reaches else "mid")


def test_shares_are_of_losses_drawn_together():
    """A tenth less on each image is a tenth less in each draw, however much images differ."""
    top = np.random.default_rng(0).uniform(0.1, 0.9, 12)
    paired = ratio(losses_of(0.9 * top), losses_of(top), "prediction")
    assert (paired.low, paired.high) == pytest.approx((0.9, 0.9), abs=1e-9)
    alone = estimated(losses_of(top), "prediction")
    assert alone.value == pytest.approx(top.mean()) and alone.high - alone.low > 0.2
