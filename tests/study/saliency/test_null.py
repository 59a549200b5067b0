"""How often the study claims something where nothing is there."""

import numpy as np
import pytest

from tests.study.saliency.made import claims, judged, sampling

METHODS = [*(f"m{i}" for i in range(22)), "prediction_mask"]


def false_claims(groups, sets, seed):
    """Share of data sets with a claim of 22 methods that are as good as the copy of the mask.

    Cases, one to three a group, differ from the copy by symmetric noise of heavy tails, most of
    which a group's cases, and all methods, share.
    """
    rng = np.random.default_rng(seed)
    count = 0
    for _ in range(sets):
        place = np.repeat(np.arange(groups), rng.integers(1, 4, groups))
        scale = rng.exponential(size=(groups, 1))
        noise = scale * (rng.normal(size=(groups, 22)) + rng.normal(size=(groups, 1)))
        values = np.zeros((len(place), 23))
        values[:, :22] = noise[place] + 0.2 * rng.normal(size=(len(place), 22))
        one = judged(values, ("insertion",), METHODS)
        count += bool(claims(one, sampling([f"g{g:02d}" for g in place])))
    return count / sets


@pytest.mark.parametrize(
    ("groups", "sets"), [(8, 12), pytest.param(13, 100, marks=pytest.mark.slow)]
)
def test_methods_as_good_as_the_copy_are_seldom_said_to_be_better(groups, sets):
    assert false_claims(groups, sets, seed=groups) <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / sets)
