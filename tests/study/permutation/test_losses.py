"""Losses and donors against loops."""

import numpy as np
import pytest
import torch

from conceptseg.data.manifest import Sample
from conceptseg.stats.estimate import Sampling
from conceptseg.study.permutation import losses
from conceptseg.study.permutation.assess import estimate
from conceptseg.study.permutation.donors import derangement


def case(seed=0, n=2, k=3, h=9, w=11):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(n, k, h, w, generator=generator)
    labels = torch.randint(-1, k, (n, h // 3, w // 3 + 1), generator=generator)
    labels = labels.repeat_interleave(3, 1).repeat_interleave(3, 2)[:, :h, :w]
    return logits, labels


def test_likelihood_is_the_mean_over_each_classes_pixels():
    logits, labels = case()
    found = losses.likelihood_loss(logits, labels)
    p = logits.double().softmax(1).numpy()
    for i in range(2):
        for c in range(3):
            where = labels[i].numpy() == c
            expected = -np.log(p[i, c][where]).mean() if where.any() else np.nan
            np.testing.assert_allclose(found[i, c], expected, rtol=1e-6)


def border(mask, known):
    found = []
    for y, x in zip(*np.nonzero(mask), strict=True):
        for dy, dx in ((0, 1), (1, 0), (0, -1), (-1, 0)):
            a, b = y + dy, x + dx
            inside = 0 <= a < mask.shape[0] and 0 <= b < mask.shape[1]
            if inside and known[a, b] and not mask[a, b]:
                found.append((y, x))
                break
    return found


@pytest.mark.parametrize("tolerance", [1, 2])
def test_border_loss_by_loops(tolerance):
    logits, labels = case(3)
    found = losses.boundary_loss(logits, labels, tolerance)
    for i in range(2):
        known = labels[i].numpy() >= 0
        predicted = np.where(known, logits[i].argmax(0).numpy(), -1)
        for c in range(3):
            true, mine = border(labels[i].numpy() == c, known), border(predicted == c, known)
            if not true:
                assert np.isnan(found[i, c])
                continue

            def near(points, others):
                hits = [
                    any(max(abs(a - y), abs(b - x)) <= tolerance for a, b in others)
                    for y, x in points
                ]
                return np.mean(hits) if hits else 0.0

            p, r = near(mine, true), near(true, mine)
            assert found[i, c] == pytest.approx(1 - (2 * p * r / (p + r) if p + r else 0.0))


def test_a_perfect_prediction_loses_nothing():
    _, labels = case()
    labels = labels.clamp(min=0)
    logits = 50.0 * torch.nn.functional.one_hot(labels, 3).movedim(-1, 1)
    for loss in (losses.overlap_loss, losses.likelihood_loss):
        assert np.nanmax(loss(logits, labels)) < 1e-9
    assert np.nanmax(losses.boundary_loss(logits, labels, 1)) < 1e-9


@pytest.mark.parametrize("repeat", range(3))
def test_donors_are_of_other_groups_and_each_gives_once(repeat):
    samples = [Sample(id=f"s{i}", group=f"g{i % 7 // 2}") for i in range(21)]
    ring, apart = derangement(samples, 0, repeat)
    group = {sample.id: sample.group for sample in samples}
    assert apart and sorted(ring.values()) == sorted(ring) == sorted(group)
    assert all(group[a] != group[b] for a, b in ring.items())
    again, _ = derangement(list(reversed(samples)), 0, repeat)
    assert again == ring
    assert ring != derangement(samples, 0, repeat + 1)[0]


def test_one_large_group_still_gives_to_others():
    samples = [Sample(id=f"s{i}", group="g" if i < 8 else f"h{i}") for i in range(10)]
    ring, apart = derangement(samples, 0, 0)
    assert not apart and all(a != b for a, b in ring.items())
    assert sorted(ring.values()) == sorted(ring)


def test_the_interval_holds_the_spread_of_exchanges_too():
    """Images all alike, exchanges very different: drawing images alone would promise certainty."""
    names = tuple(f"s{i:02}" for i in range(40))
    sampling = Sampling(names, names, "images", (0, 31), 1000)
    exchanges = estimate(np.tile(np.linspace(-1, 1, 6), (40, 1)), sampling)
    assert exchanges.low < -0.4 and exchanges.high > 0.4
    alike = np.tile(np.linspace(-1, 1, 40)[:, None], (1, 6))
    images = estimate(alike, sampling)
    expected = 2 * 1.96 * alike[:, 0].std() / np.sqrt(40)
    assert images.high - images.low == pytest.approx(expected, rel=0.15)
