"""Sums, means and products without cancellation: by hand, and never more than there was."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from conceptseg.explain.lrp.shares import of_map, of_product, of_sum


def values(*numbers):
    return torch.tensor(numbers, dtype=torch.float64)


def test_a_sum_by_positive_parts_and_by_modulus_where_there_is_none():
    a, b = values(3.0, -1.0, -1.0, 0.0), values(1.0, 4.0, -3.0, 0.0)
    first, second = of_sum("positive", [a, b])(values(8.0, 8.0, 8.0, 8.0))
    assert first.tolist() == pytest.approx([6, 0, 2, 0], abs=1e-4)
    assert second.tolist() == pytest.approx([2, 8, 6, 0], abs=1e-4)


def test_what_keeps_its_own_takes_its_part():
    (found,) = of_sum("positive", [values(3.0)], besides=values(1.0))(values(8.0))
    assert found.tolist() == pytest.approx([6.0], abs=1e-4)
    (found,) = of_sum("proportion", [values(3.0)], besides=values(-1.0))(values(8.0))
    assert found.tolist() == pytest.approx([12.0], abs=1e-4)


def test_in_proportion_what_cancels_grows_and_by_positive_parts_it_does_not():
    """1.00 - 0.99 shared by x R / z: a hundred times what there is."""
    parts, r = [values(1.0), values(-0.99)], values(1.0)
    grown = sum(float(part.abs()) for part in of_sum("proportion", parts)(r))
    kept = sum(float(part.abs()) for part in of_sum("positive", parts)(r))
    assert grown == pytest.approx(199, rel=1e-3) and kept == pytest.approx(1, rel=1e-3)


MAPS = {
    "mean pooling": lambda x: F.avg_pool2d(x, 2),
    "bilinear": lambda x: F.interpolate(x, scale_factor=2, mode="bilinear"),
    "mean": lambda x: x.mean((2, 3), keepdim=True),
}


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 2**16), name=st.sampled_from(sorted(MAPS)))
def test_linear_maps_of_both_signs_make_no_relevance_and_lose_none(seed, name):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(1, 2, 4, 6, generator=generator).double()
    x = x + 0.1 * x.sign()  # far from what stabilises sums
    r = torch.randn(MAPS[name](x).shape, generator=generator).double()
    found = of_map("positive", x, MAPS[name])(r)
    assert float(found.sum()) == pytest.approx(float(r.sum()), abs=0.05)
    assert float(found.abs().sum()) <= float(r.abs().sum()) + 1e-6


def test_a_mean_of_both_signs_by_hand():
    x = values(3.0, -1.0, -1.0, -3.0).view(1, 1, 1, 4)
    found = of_map("positive", x, lambda v: F.avg_pool2d(v, (1, 2)))(values(1, 8).view(1, 1, 1, 2))
    assert found.flatten().tolist() == pytest.approx([1, 0, 2, 6], abs=1e-4)


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 2**16), left=st.booleans())
def test_matrix_products_are_shared_by_what_adds_to_them(seed, left):
    """Loops over every entry."""
    generator = torch.Generator().manual_seed(seed)
    v = torch.randn((3, 4) if left else (4, 3), generator=generator).double()
    f = torch.randn((4, 5) if left else (5, 4), generator=generator).double()
    out = v @ f if left else f @ v
    r = torch.randn(out.shape, generator=generator).double()
    expected = torch.zeros_like(v)
    for i in range(out.shape[0]):
        for j in range(out.shape[1]):
            at = [((i, k), float(f[k, j])) if left else ((k, j), float(f[i, k])) for k in range(4)]
            parts = {place: float(v[place]) * factor for place, factor in at}
            positive = {place: max(part, 0.0) for place, part in parts.items()}
            if sum(positive.values()) == 0:
                positive = {place: abs(part) for place, part in parts.items()}
            whole = sum(positive.values()) + 1e-6
            for place, part in positive.items():
                expected[place] += float(r[i, j]) * part / whole
    found = of_product("positive", v, f, left)(r)
    assert torch.allclose(found, expected, atol=1e-6)
