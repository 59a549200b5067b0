"""Total indices against closed forms."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from conceptseg.study.dictionary.sobol import jansen, scored

A, B = 7.0, 0.1


def ishigami(points):
    """sin x1 + 7 sin^2 x2 + 0.1 x3^4 sin x1, of x in [-pi, pi]."""
    x = np.pi * (2 * points - 1)
    return np.sin(x[:, 0]) + A * np.sin(x[:, 1]) ** 2 + B * x[:, 2] ** 4 * np.sin(x[:, 0])


def test_ishigami():
    """Ishigami & Homma 1990; variances by hand."""
    whole = A**2 / 8 + B * np.pi**4 / 5 + B**2 * np.pi**8 / 18 + 0.5
    first = 0.5 * (1 + B * np.pi**4 / 5) ** 2
    both = B**2 * np.pi**8 * (1 / 18 - 1 / 50)
    expected = np.array([first + both, A**2 / 8, both])
    parts, variance = jansen(ishigami, 3, 2**12, 0)
    assert parts == pytest.approx(expected, rel=0.03)
    assert variance == pytest.approx(whole, rel=0.03)
    assert parts / variance == pytest.approx([0.5576, 0.4424, 0.2437], abs=0.02)


def test_of_a_sum_indices_are_shares_of_its_variance():
    weights = np.array([3.0, 2.0, 1.0, 0.0])
    parts, variance = jansen(lambda points: points @ weights, 4, 2**10, 1)
    assert parts / variance == pytest.approx(weights**2 / (weights**2).sum(), abs=0.01)
    assert parts[3] == 0


def test_few_draws_are_right_on_average():
    """Of 16 points as of thousands, over many designs."""
    weights = np.array([2.0, 1.0])
    each = [jansen(lambda points: points @ weights, 2, 16, seed) for seed in range(200)]
    mean = np.mean([parts for parts, _ in each], axis=0)
    assert mean == pytest.approx(weights**2 / 12, rel=0.05)


def test_the_score_is_of_the_classes_first_predicted_outside_of_the_background():
    logits = torch.tensor([[[[4.0, 0.0]], [[0.0, 3.0]]]])
    context = SimpleNamespace(
        model=SimpleNamespace(classes=("ground", "thing")),
        manifest=SimpleNamespace(background="ground"),
    )
    score = scored(logits, context)
    other = torch.tensor([[[[9.0, 1.0]], [[0.0, 1.0]]]])
    assert float(score(other)) == pytest.approx(np.log(0.5))
    assert float(score(logits)) == pytest.approx(-np.log1p(np.exp(-3.0)))
    context.manifest.background = None
    assert float(scored(logits, context)(logits)) == pytest.approx(
        -(np.log1p(np.exp(-3.0)) + np.log1p(np.exp(-4.0))) / 2, rel=1e-5
    )
