"""What a saliency study claims: against chance, copies and shuffled weights."""

from types import SimpleNamespace

import numpy as np
import pytest

from conceptseg.stats.corrections import holm
from conceptseg.stats.intervals import detectable_at
from conceptseg.stats.p_values import sign_flip_p
from conceptseg.study.saliency import findings
from conceptseg.study.saliency.judge import _chance
from conceptseg.study.saliency.standing import KNOWN, differences

METHODS = ("seer", "tracer", "noise")
KINDS = {
    "seer": SimpleNamespace(family="CAM"),
    "tracer": SimpleNamespace(family="CAM"),
    "noise": SimpleNamespace(family="baseline"),
}
GROUPS = [f"g{i}" for i in range(10)]


def judged(values, metric="cbl", chance=None):
    kind = SimpleNamespace(better="higher", about=SimpleNamespace(family="context"))
    values = np.asarray(values, dtype=float)
    return SimpleNamespace(
        methods=METHODS, metrics={metric: kind}, chance=chance, of=lambda name: values
    )


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
    chance = rng.uniform(0.4, 0.6, 10)
    wobble = rng.normal(0, 0.01, (10, 3))
    values = chance[:, None] + [0.3, 0.0, 0.3] + wobble
    values[0, 0] = np.nan  # a map without mass outside of the region
    one = judged(values, chance=chance)
    found = differences(one, "cbl", KNOWN, GROUPS, 0)
    change = values - chance[:, None]
    p = [sign_flip_p(change[1:, 0], GROUPS[1:], seed=0)]
    p += [sign_flip_p(change[:, m], GROUPS, seed=0) for m in (1, 2)]
    assert [d.n for d in found] == [9, 10, 10]
    assert [d.value for d in found] == pytest.approx(np.nanmean(change, 0).tolist())
    assert [d.p_holm for d in found] == pytest.approx(list(holm(p)))
    (claim,) = findings.sees_context(one, found, KINDS)
    assert claim.details["method"] == "seer" and claim.effect == pytest.approx(found[0].value)
    assert f"{np.nanmean(values[:, 0]):.0%} lies there" in claim.claim


def test_only_what_beats_the_copy_is_a_finding():
    change = np.stack([np.full(10, 2.0), np.full(10, -2.0), np.full(10, 3.0)], 1)
    one = judged(change, "insertion", chance=np.zeros(10))
    found = differences(one, "insertion", KNOWN, GROUPS, 0)
    (claim,) = findings.better_than_copy(found, KINDS)
    assert claim.details["method"] == "seer" and "beats a copy" in claim.claim


@pytest.mark.parametrize(("kept", "expected"), [(0.9, ["seer"]), (0.4, [])])
def test_a_method_is_blind_if_all_of_its_interval_is_above_the_limit(kept, expected):
    values = np.full((10, 3), kept)
    values[:, 1] = np.tile([0.0, 1.0], 5)
    one = judged(values, "randomisation")
    found = findings.blind(0.5, one, GROUPS, 0, KINDS)
    assert [claim.details["method"] for claim in found] == expected


def test_a_few_cases_are_no_bound_of_likeness():
    values = np.full((10, 3), 0.9)
    values[4:] = np.nan
    assert findings.blind(0.5, judged(values, "randomisation"), GROUPS, 0, KINDS) == []
    values[4] = 0.9
    found = findings.blind(0.5, judged(values, "randomisation"), GROUPS, 0, KINDS)
    assert len(found) == 2 and "kept a rank correlation of 0.90" in found[0].claim


def test_the_smallest_p_and_difference_that_could_be_found_are_told():
    change = np.random.default_rng(0).normal(size=(10, 3))
    found = differences(judged(change, chance=np.zeros(10)), "cbl", KNOWN, GROUPS, 0)
    assert [d.p_least for d in found] == pytest.approx([3 * 2 / 2**10] * 3)
    reach = [detectable_at(change[:, m], GROUPS, 0.05 / 3, "two") for m in range(3)]
    assert [d.detectable for d in found] == pytest.approx(reach)
