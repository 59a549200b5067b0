"""The confidence numbers against loops over pixels."""

import numpy as np
import pytest
import torch

from conceptseg.study.bottleneck.confidence import MIRRORED, NAMES, agreement, borders, summaries


def logits(n=3, k=4, h=7, w=9, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return 3 * torch.randn(n, k, h, w, generator=generator)


def by_loops(z, studied):
    k, h, w = z.shape
    p = np.exp(z - z.max(0)) / np.exp(z - z.max(0)).sum(0)
    cls = z.argmax(0)
    top, margin, entropy = (np.zeros((h, w)) for _ in range(3))
    edge = np.zeros((h, w), bool)
    for y in range(h):
        for x in range(w):
            ranked = sorted(p[:, y, x])[::-1]
            top[y, x], margin[y, x] = ranked[0], ranked[0] - ranked[1]
            entropy[y, x] = -sum(v * np.log(v) for v in p[:, y, x]) / np.log(k)
            for dy, dx in ((0, 1), (1, 0), (0, -1), (-1, 0)):
                if 0 <= y + dy < h and 0 <= x + dx < w:
                    edge[y, x] |= cls[y + dy, x + dx] != cls[y, x]
    front = np.isin(cls, studied)
    found = {
        "confidence": top.mean(),
        "margin": margin.mean(),
        "entropy": entropy.mean(),
        "least_sure": np.sort(top.ravel())[max(1, round(0.05 * h * w)) - 1],
        "foreground": front.mean(),
        "foreground_confidence": top[front].mean() if front.any() else top.mean(),
        "foreground_entropy": entropy[front].mean() if front.any() else entropy.mean(),
        "boundary": edge.mean(),
        "boundary_entropy": entropy[edge].mean() if edge.any() else 0.0,
        "classes_predicted": np.mean([(cls == c).any() for c in studied]),
    }
    return [found[name] for name in NAMES], p.reshape(k, -1).max(1)


@pytest.mark.parametrize("studied", [(1, 3), (2,)])
def test_summaries_are_what_loops_find(studied):
    z = logits()
    found, peak = summaries(z, studied)
    for i in range(len(z)):
        numbers, largest = by_loops(z[i].double().numpy(), studied)
        np.testing.assert_allclose(found[i], numbers, atol=2e-6)
        np.testing.assert_allclose(peak[i], largest, atol=2e-6)


def test_nothing_predicted_of_the_studied_classes():
    z = torch.zeros(1, 3, 4, 4)
    z[:, 0] = 5.0
    found, _ = summaries(z, (1, 2))
    told = dict(zip(NAMES, found[0].tolist(), strict=True))
    assert told["foreground"] == 0 and told["classes_predicted"] == 0
    assert told["foreground_confidence"] == pytest.approx(told["confidence"])
    assert told["boundary"] == 0 and told["boundary_entropy"] == 0


def test_agreement_with_the_mirrored_prediction():
    one = torch.tensor([[[1, 1, 0], [0, 2, 2]]])
    other = torch.tensor([[[1, 0, 0], [0, 2, 0]]])
    found = dict(zip(MIRRORED, agreement(one, other, (1, 2))[0].tolist(), strict=True))
    assert found["flip_agreement"] == pytest.approx(4 / 6)
    assert found["flip_overlap"] == pytest.approx((1 / 2 + 1 / 2) / 2)
    assert agreement(one * 0, one * 0, (1, 2))[0].tolist() == [1.0, 1.0]


def test_borders_have_two_sides():
    assert borders(torch.tensor([[[0, 0, 1]]]))[0].tolist() == [[False, True, True]]
