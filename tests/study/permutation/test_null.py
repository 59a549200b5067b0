"""Where nothing costs more than the smallest effect, few families claim that something does."""

import numpy as np
import pytest

from conceptseg.study.permutation.findings import findings
from conceptseg.study.permutation.null import exchanged
from tests.study.permutation.small import assessed, deltas

PARTS, CLASSES = 6, 3


def false_claims(groups, sets, seed=0):
    """Share of data sets, of two images a group, with a finding that counts as evidence.

    Effects lie symmetrically about the smallest one that counts, groups are of unlike spread, and
    parts and classes share half of their variance.
    """
    rng = np.random.default_rng([seed, groups])
    count = 0
    for _ in range(sets):
        scale = rng.exponential(0.1, (groups, 1, 1))
        shared = rng.normal(size=(groups, 1, 1))
        rise = 0.005 + scale * (rng.normal(size=(groups, PARTS, CLASSES)) + shared)
        overlap = np.repeat(rise, 2, axis=0)
        given = deltas(overlap, np.full((2 * groups, CLASSES), 0.2))
        rows = assessed(given, lambda i: f"g{i // 2}").values()
        count += any(one.standing == "evidence" for one in findings(list(rows)))
    return count / sets


@pytest.mark.parametrize(("groups", "sets"), [(8, 40), (13, 15)])
def test_findings_of_nothing_are_rare(groups, sets):
    assert false_claims(groups, sets) <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / sets)


@pytest.mark.parametrize("sets", [20, pytest.param(300, marks=pytest.mark.slow)])
def test_exchanging_noise_that_the_network_reads_is_no_need(sets):
    """A null that can fail: there is IoU to lose, each image loses or gains some, none on average,
    as another image's noise is as good as its own. Even with no loss too small to count."""
    false, covered, rows = 0, [], {}
    for seed in range(sets):
        rows = assessed(exchanged((seed,)), lambda i: f"s{i:02}", smallest=0.0)
        named = [one.details["part"] for one in findings(list(rows.values()))]
        assert "p0" in named, "the channel that shows the classes is found in every data set"
        false += any(part != "p0" for part in named)
        noise = [one for (place, _), one in rows.items() if place > 0]
        covered += [one.loss.low <= 0 <= one.loss.high for one in noise]
    assert rows[0, "c1"].loss.value > 0.15 and np.nanmean(exchanged((0,)).clean[:, 1:]) < 0.8
    assert false / sets <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / sets)
    print(f"{false} of {sets} data sets with a false finding, {np.mean(covered):.3f} covered")
    assert np.mean(covered) >= 0.92
