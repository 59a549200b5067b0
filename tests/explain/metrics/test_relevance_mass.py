from itertools import permutations

import numpy as np
import pytest
import torch

from conceptseg.explain.metrics.relevance_mass import RelevanceMass, top_share
from conceptseg.explain.regions import Box
from conceptseg.explain.target import Target
from tests.explain.metrics.judging import noise, trial
from tests.small_models import images, unet

MODEL, X = unet(), images(2)
BOX = Target(1, Box(4, 6, 9, 12))
INSIDE = torch.zeros(2, 16, 24, dtype=torch.bool)
INSIDE[:, 4:9, 6:12] = True
TILE = torch.zeros(2, 16, 24, dtype=torch.bool)
TILE[:, 8:] = True


@pytest.mark.parametrize("within", ["region", "context"])
def test_loops(within):
    maps = noise(2, 16, 24)
    given = trial(MODEL, X, maps, BOX, context=TILE)
    mass = RelevanceMass(within=within).measure(given).value
    rank = RelevanceMass(within=within, read="rank").measure(given).value
    expected = INSIDE if within == "region" else TILE & ~INSIDE
    for i in range(2):
        wanted = {tuple(at) for at in expected[i].nonzero().tolist()}
        strong = {at: max(maps[i][at].item(), 0.0) for at in np.ndindex(16, 24)}
        inside = sum(value for at, value in strong.items() if at in wanted)
        assert mass[i].item() == pytest.approx(inside / sum(strong.values()), abs=1e-6)
        top = sorted(strong, key=lambda at: -strong[at])[: len(wanted)]
        positive = sum(value > 0 for value in strong.values())
        assert positive > len(wanted), "no tie decides"
        hits = sum(at in wanted for at in top)
        assert rank[i].item() == pytest.approx(hits / len(wanted), abs=1e-6)


def test_planted():
    for maps, expected in ((INSIDE.float(), 1.0), ((~INSIDE).float(), 0.0)):
        for read in ("mass", "rank"):
            found = RelevanceMass(read=read).measure(trial(MODEL, X, maps, BOX)).value
            assert found.tolist() == [expected] * 2
    even = RelevanceMass().measure(trial(MODEL, X, torch.ones(2, 16, 24), BOX)).value
    assert even.tolist() == pytest.approx([30 / 384] * 2)


def test_ties_are_shared_as_chance_would():
    """The mean over all orders of five pixels that is told from their values alone."""
    values, expected = torch.tensor([[2.0, 1.0, 1.0, 1.0, 0.0]]), torch.tensor([[1, 1, 0, 0, 1]])
    shares = []
    for order in permutations(range(5)):
        ordered = sorted(order, key=lambda i: -values[0, i].item())
        shares.append(sum(expected[0, i].item() for i in ordered[:3]) / 3)
    found = top_share(values, expected.bool()).item()
    assert found == pytest.approx(sum(shares) / len(shares))


def test_undefined_without_mass_or_context():
    for read in ("mass", "rank"):
        below = trial(MODEL, X, -noise(2, 16, 24).abs(), BOX)
        assert RelevanceMass(read=read).measure(below).value.isnan().all()
        nowhere = trial(MODEL, X, noise(2, 16, 24), BOX, context=INSIDE)
        found = RelevanceMass(read=read, within="context").measure(nowhere).value
        assert found.isnan().all()


@pytest.mark.parametrize("read", ["mass", "rank"])
@pytest.mark.slow
def test_quantus(read):
    quantus = pytest.importorskip("quantus")
    names = {"mass": "RelevanceMassAccuracy", "rank": "RelevanceRankAccuracy"}
    peer = getattr(quantus, names[read])(abs=False, normalise=False, disable_warnings=True)
    maps = noise(2, 16, 24).abs()
    expected = peer(
        model=torch.nn.Identity(),
        x_batch=X.numpy(),
        y_batch=np.ones(2, dtype=int),
        a_batch=maps[:, None].numpy(),
        s_batch=INSIDE[:, None].numpy(),
        channel_first=True,
    )
    found = RelevanceMass(read=read).measure(trial(MODEL, X, maps, BOX)).value
    assert found.tolist() == pytest.approx(expected, abs=1e-6)
