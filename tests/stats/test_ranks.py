"""AUC against scipy's ranks, to the bit, with ties, empty sides and nan."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import rankdata

from conceptseg.stats.estimate import Sampling
from conceptseg.stats.ranks import auc

SCORES = st.lists(st.sampled_from([-1.5, -0.0, 0.0, 0.1, 0.3, 2.0, 1e300, np.inf]), min_size=1)


@given(SCORES, SCORES)
def test_auc_is_that_of_ranks(positive, negative):
    p, n = len(positive), len(negative)
    above = rankdata([*positive, *negative])[:p].sum() - p * (p + 1) / 2
    assert auc(positive, negative) == above / (p * n)


def test_nothing_is_told_of_nothing_or_of_nan():
    assert np.isnan(
        [auc([], [1.0]), auc([1.0], []), auc([np.nan], [1.0]), auc([1.0], [np.nan])]
    ).all()


@pytest.mark.parametrize("groups", [list("abcdef"), list("aabbcc"), list("fedcba")])
def test_draws_take_the_rows_of_their_groups(groups):
    """Whether each image counts for itself or not: the same rows, group by group as drawn."""
    ids = [f"i{number}" for number in range(6)]
    sampling = Sampling(tuple(ids), tuple(groups), "groups", (0, 3), 50)
    seen = []
    sampling.drawn(lambda rows: float(seen.append(list(rows)) or 0))
    for rows, picks in zip(seen, sampling.picks(), strict=True):
        expected = [row for pick in picks for row in np.flatnonzero(sampling.place == pick)]
        assert rows == expected
