"""Means, ranks and differences against loops and closed forms."""

from types import SimpleNamespace

import numpy as np
import pytest

from conceptseg.stats.p_values import sign_flip_p
from conceptseg.study.saliency.standing import MASK_COPY, differences, mean, overall, ranks


def judged(values, better, methods=("a", "b", MASK_COPY), aside=()):
    metrics = {
        f"m{i}": SimpleNamespace(
            better=way,
            about=SimpleNamespace(family="sanity" if i in aside else "faithfulness"),
        )
        for i, way in enumerate(better)
    }
    values = np.asarray(values, dtype=float)
    return SimpleNamespace(
        methods=methods,
        metrics=metrics,
        seconds=np.zeros(values.shape[:2]),
        of=lambda name: values[:, :, list(metrics).index(name)],
    )


GROUPS = [f"g{i}" for i in range(8)]


def test_ranks_by_counting():
    rng = np.random.default_rng(0)
    values = rng.integers(0, 4, size=(20, 5)).astype(float)
    values[3, 2] = np.nan
    for better, sign in (("higher", -1), ("lower", 1)):
        found = ranks(values, better)
        for case in range(20):
            for m in range(5):
                own = sign * values[case]
                below = sum(v < own[m] for v in own)
                ties = sum(v == own[m] for v in own)
                expected = np.nan if np.isnan(own[m]) else below + (ties + 1) / 2
                assert found[case, m] == pytest.approx(expected, nan_ok=True)


def test_the_overall_rank_is_the_mean_over_metrics_that_judge():
    values = np.zeros((2, 3, 4))
    values[:, :, 0] = [3, 2, 1]
    values[:, :, 1] = [1, 3, 2]
    values[:, :, 2] = [9, 8, 7]
    values[:, :, 3] = [1, 2, 3]
    found = overall(judged(values, ("higher", "lower", "neither", "higher"), aside=(3,)))
    assert np.allclose(found, [[1.0, 2.5, 2.5]] * 2)


def test_where_nothing_judges_there_is_no_rank():
    assert np.isnan(overall(judged(np.zeros((2, 3, 1)), ("neither",)))).all()


def test_a_mean_leaves_out_what_is_undefined():
    found = mean(np.array([1.0, np.nan, 3.0, 5.0]), GROUPS[:4], 0)
    assert found.value == 3 and found.n == 3 and found.low <= 3 <= found.high
    nothing = mean(np.array([np.nan]), GROUPS[:1], 0)
    assert nothing.n == 0 and np.isnan(nothing.value)


def test_differences_are_paired_and_positive_where_better():
    rng = np.random.default_rng(1)
    base = rng.normal(0, 10, 8)
    values = np.stack([base - 1 + rng.normal(0, 0.1, 8), base + 2, base], axis=1)[:, :, None]
    a, b = differences(judged(values, ("lower",)), "m0", MASK_COPY, GROUPS, 0)
    assert (a.method, b.method) == ("a", "b")
    assert a.value == pytest.approx(float((base - values[:, 0, 0]).mean()))
    assert a.low > 0 and b.value == pytest.approx(-2) and b.high < 0
    p = sign_flip_p(base - values[:, 0, 0], GROUPS, seed=0)
    assert a.p == p and a.p_holm == pytest.approx(2 * p)


def test_without_the_reference_there_is_nothing_to_compare_with():
    one = judged(np.zeros((8, 3, 1)), ("lower",), methods=("a", "b", "c"))
    assert differences(one, "m0", MASK_COPY, GROUPS, 0) == []
