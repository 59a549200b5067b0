"""What a saliency study claims: against chance, copies and shuffled weights."""

import numpy as np
import pytest

from conceptseg.result.finding import ranked
from conceptseg.stats.corrections import holm
from conceptseg.stats.p_values import sign_flip_ps
from conceptseg.study.saliency.judge import _chance
from conceptseg.study.saliency.standing import KNOWN, differences
from tests.study.saliency.made import claims, judged, sampling

METHODS = ("seer", "tracer", "noise")
GROUPS = [f"g{i:02d}" for i in range(12)]


def named(found):
    return [claim.details["method"] for claim in found]


def test_cbl_by_chance_is_the_share_of_the_surroundings_that_the_context_covers():
    region = np.zeros((4, 6), dtype=bool)
    region[:2, :2] = True
    known = np.zeros_like(region)
    known[:, :3] = True
    counted = [known[y, x] for y in range(4) for x in range(6) if not region[y, x]]
    assert _chance(region, known) == pytest.approx(sum(counted) / 20)
    assert np.isnan(_chance(region, None)) and np.isnan(_chance(np.ones_like(region), known))


def test_a_method_sees_context_if_its_mass_lies_there_more_than_by_chance():
    rng = np.random.default_rng(0)
    chance = rng.uniform(0.4, 0.6, 12)
    values = chance[:, None] + [0.3, 0.0, 0.3] + rng.normal(0, 0.01, (12, 3))
    values[0, 0] = np.nan  # a map without mass outside of the region
    one, counted = judged(values, ("cbl",), METHODS, chance), sampling(GROUPS)
    tested = differences(one, "cbl", KNOWN, counted, 0)
    change = values - chance[:, None]
    p = [*sign_flip_ps([change[1:, 0]], seed=0), *sign_flip_ps(change[:, 1:].T, seed=0)]
    assert [d.cases for d in tested] == [11, 12, 12]
    assert [d.estimate.value for d in tested] == pytest.approx(np.nanmean(change, 0).tolist())
    assert [d.test.adjusted for d in tested] == pytest.approx(list(holm(p)))
    (claim,) = claims(one, counted, KNOWN)
    assert named([claim]) == ["seer"]
    assert claim.effect == pytest.approx(tested[0].estimate.value)
    assert f"{np.nanmean(values[:, 0]):.0%} of what it marks" in claim.claim


def test_only_what_beats_the_copy_is_a_finding():
    change = np.stack([np.full(12, 2.0), np.full(12, -2.0), np.full(12, 3.0), np.zeros(12)], 1)
    one = judged(change, ("insertion",), (*METHODS, "prediction_mask"))
    (claim,) = claims(one, sampling(GROUPS))
    assert named([claim]) == ["seer"] and "beats a copy" in claim.claim


@pytest.mark.parametrize(("kept", "expected"), [(0.9, ["seer"]), (0.4, [])])
def test_a_method_is_blind_if_all_of_its_interval_is_above_the_limit(kept, expected):
    values = np.full((12, 3), kept)
    values[:, 1] = np.tile([0.0, 1.0], 6)
    assert named(claims(judged(values, ("randomisation",), METHODS), sampling(GROUPS))) == expected


@pytest.mark.parametrize(
    ("kept", "said"),
    [
        (0.97, "hardly changed when the network's weights were shuffled."),
        (0.72, "depend only in part on what the network has learnt."),
        (0.86, "depend only in part on what the network has learnt."),
    ],
)
def test_how_far_maps_were_kept_goes_by_the_correlation(kept, said):
    values = np.full((12, 3), 0.1)
    values[:, 1] = kept + np.tile([0.01, -0.01], 6)
    (found,) = claims(judged(values, ("randomisation",), METHODS), sampling(GROUPS))
    assert found.plain == f"Maps of tracer {said}"


def test_a_few_cases_are_no_bound_of_likeness():
    values = np.full((12, 3), 0.9)
    values[4:] = np.nan
    assert claims(judged(values, ("randomisation",), METHODS), sampling(GROUPS)) == []
    values[4] = 0.9
    found = claims(judged(values, ("randomisation",), METHODS), sampling(GROUPS))
    assert len(found) == 2 and found[0].effect == pytest.approx(0.9)


def test_n_of_a_finding_counts_groups_and_says_so():
    """Rule (d): 24 cases in 12 groups are 12, not 24."""
    values = np.stack([np.full(24, 0.9), np.linspace(0, 1, 24), np.zeros(24)], 1)
    counted = sampling([f"g{i % 12:02d}" for i in range(24)])
    (kept,) = claims(judged(values, ("randomisation",), METHODS), counted)
    (better,) = claims(
        judged(values, ("insertion",), ("seer", "noise", "prediction_mask")), counted
    )
    for finding in (kept, better):
        assert finding.counted == "12 groups" and finding.details["cases"] == 24


def test_a_map_that_was_kept_is_evidence_by_its_interval_and_ranked_by_its_size():
    """Rule (e): it has no p, and was sorted below whatever has one."""
    values = np.stack([np.full(12, 0.99), np.linspace(0, 1, 12), np.zeros(12)], 1)
    kept = claims(judged(values, ("randomisation",), METHODS), sampling(GROUPS))
    change = np.stack([np.full(12, 0.005), np.zeros(12), np.zeros(12)], 1)
    methods = ("seer", "noise", "prediction_mask")
    better = claims(judged(change, ("insertion",), methods), sampling(GROUPS))
    assert kept[0].by == "interval" and kept[0].null == 0.5 and kept[0].standing == "evidence"
    assert better[0].standing == "evidence"
    assert ranked([*better, *kept]) == [*kept, *better]
