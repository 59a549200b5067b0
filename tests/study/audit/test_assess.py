"""The verdicts: each by what makes it, and how often there is one where nothing is."""

from dataclasses import replace
from math import ceil

import numpy as np
import pytest

from conceptseg.study.audit.findings import findings
from conceptseg.study.audit.tables import sentence
from tests.study.audit.small import assessed, looked

IMAGES, EACH = 20, 8
ARMS = np.repeat([1, -1], EACH)[:, None]
DONORS = list(range(30, 30 + 2 * EACH))
IDS = [f"s{i:03}" for i in range(10)]


def values(effect, spread=0.005, seed=0):
    """IoUs of images with placebo donors (0.9 and noise), and `effect` less with treated ones."""
    rng = np.random.default_rng(seed)
    found = (
        0.9 - np.where(ARMS[:, 0] < 0, effect, 0.0) + spread * rng.normal(size=(IMAGES, 2 * EACH))
    )
    return np.asarray(found)


def only(cases):
    (case,) = cases
    return case


@pytest.mark.parametrize("effect", [0.3, -0.08])
def test_an_effect_beyond_delta_is_shown_in_either_direction(effect):
    alone = only(assessed(values(effect), ARMS, DONORS))
    seen = only(assessed(values(effect), ARMS, DONORS, looked(IDS, 0.9)))
    assert alone.verdict == "behaviour only" and seen.verdict == "confirmed"
    assert alone.change.value == pytest.approx(effect, abs=0.01)
    (finding,) = findings([seen])
    assert finding.standing == "evidence" and finding.details["context"] == "t0"
    assert ("the absence of t0" in finding.claim) == (effect < 0)
    assert "no other line" in sentence(alone) and "seen alone, it loses 0.90" in sentence(seen)


def test_relevance_alone_supports_and_never_decides():
    nothing = assessed(values(0.0), ARMS, DONORS, looked(IDS, 0.0, 0.6))
    assert only(nothing).verdict == "attribution only" and not findings(nothing)
    shown = assessed(values(0.3), ARMS, DONORS, looked(IDS, 0.0, 0.6))
    assert only(shown).verdict == "confirmed" and "60 points" in sentence(only(shown))


def test_no_effect_is_shown_only_by_an_interval_within_delta():
    narrow, wide = (only(assessed(values(0.0, s), ARMS, DONORS)) for s in (0.005, 0.5))
    assert narrow.verdict == "no reliance shown" and wide.verdict == "underpowered"
    assert "up to" in sentence(narrow) and "No reliance of digit on t0" in sentence(narrow)
    assert wide.needed is not None and wide.needed > IMAGES
    assert f"About {wide.needed} images like these would" in sentence(wide)
    half = replace(wide.change, n=IMAGES // 2, of="groups")
    told = f"About {wide.needed} images like these, of {ceil(wide.needed / 2)} groups, would"
    assert told in sentence(replace(wide, change=half))


def test_what_would_decide_an_effect_beyond_delta_is_as_many_as_would_show_it():
    case = only(assessed(values(0.08, 0.5), ARMS, DONORS))
    beyond, half = abs(case.change.value) - case.delta, np.diff(case.change.ci)[0] / 2
    assert case.verdict == "underpowered" and 0 < beyond < half and half > case.test.detectable
    assert case.needed == ceil(IMAGES * (half / beyond) ** 2)
    many = replace(case, test=replace(case.test, detectable=3 * half))
    assert many.needed == ceil(IMAGES * (3 * half / beyond) ** 2)
    assert replace(case, test=replace(case.test, detectable=np.nan)).needed is None


def test_a_small_effect_that_is_sure_is_none_of_both():
    case = only(assessed(values(0.02, 0.001), ARMS, DONORS))
    assert case.test.passed and case.verdict == "underpowered"


def test_what_a_few_images_do_is_said():
    found = values(0.0, 0.0)
    found[0, EACH:] -= 0.2
    case = only(assessed(found, ARMS, DONORS, delta=0.1))
    assert case.verdict == "no reliance shown" and case.reacting == pytest.approx(1 / IMAGES)
    assert "5% of the images do react" in sentence(case)


def test_a_class_that_is_hardly_found_has_nothing_to_lose():
    """Its effect is nil because nothing can change it, which says nothing of its reliance."""
    case = only(assessed(values(0.0) - 0.85, ARMS, DONORS))
    assert case.change.within(case.delta) and case.verdict == "underpowered"
    assert "has nothing to lose" in sentence(case) and case.needed is None


def test_what_lies_within_the_margin_is_not_called_absent():
    """No swap reaches it, so that all swaps cost nothing."""
    half = range(0, IMAGES, 2)
    away = only(assessed(values(0.0), ARMS, DONORS, holds=half, filled=0.2))
    near = only(assessed(values(0.0), ARMS, DONORS, holds=half, filled=0.6))
    assert away.verdict == "no reliance shown" and near.verdict == "underpowered"
    assert "fills 60% of the margin" in sentence(near) and "smaller margin" in sentence(near)


def test_a_difference_from_the_start_that_swaps_do_not_explain_is_not_called_absent():
    before = np.where(np.arange(IMAGES) % 2 == 0, 0.95, 0.1)
    one = only(assessed(values(0.0), ARMS, DONORS, before=before, holds=range(0, IMAGES, 2)))
    assert one.verdict == "underpowered" and one.own.value == pytest.approx(0.85)
    assert "+0.85 from those that lack it" in sentence(one) and one.needed is None
    few = only(assessed(values(0.0), ARMS, DONORS, before=before, holds=range(0, 8, 2)))
    assert few.own is None and few.verdict == "no reliance shown"
    # What swaps do explain stays what it is.
    shown = only(assessed(values(0.3), ARMS, DONORS, before=before, holds=range(0, IMAGES, 2)))
    assert shown.verdict == "behaviour only"


HOLDS = range(0, IMAGES, 2)
APART = np.where(np.isin(np.arange(IMAGES), HOLDS), 0.95, 0.1)


@pytest.mark.parametrize(
    ("effect", "before", "hidden", "verdict", "said"),
    [
        (0.3, APART, 0.1, "confirmed", "hidden it loses 0.85 IoU more"),
        (-0.3, 1.05 - APART, 0.95, "confirmed", "hidden it gains 0.85 IoU more"),
        (-0.3, APART, 0.1, "behaviour only", "no other line"),  # it says the opposite
        (0.3, APART, APART, "behaviour only", "no other line"),  # objects differ, not surroundings
        (0.3, 0.95, 0.1, "behaviour only", "no other line"),  # any surroundings are missed alike
    ],
)
def test_hiding_supports_where_it_takes_away_what_sets_the_contexts_images_apart(
    effect, before, hidden, verdict, said
):
    before, hidden = (np.broadcast_to(one, IMAGES) for one in (before, hidden))
    case = only(assessed(values(effect), ARMS, DONORS, before=before, hidden=hidden, holds=HOLDS))
    assert case.verdict == verdict and said in sentence(case)


def test_hiding_decides_nothing_and_is_not_told_of_few_images():
    one = only(
        assessed(values(0.0), ARMS, DONORS, before=APART, hidden=np.full(IMAGES, 0.1), holds=HOLDS)
    )
    assert one.hiding.value == pytest.approx(0.85) and one.verdict == "underpowered"
    few = only(
        assessed(values(0.3), ARMS, DONORS, before=APART, hidden=0 * APART, holds=range(0, 8, 2))
    )
    assert few.hiding is None and few.verdict == "behaviour only"


def test_what_any_swap_costs_is_said_beside_no_reliance():
    case = only(assessed(values(0.0) - 0.4, ARMS, DONORS))
    assert case.verdict == "no reliance shown" and case.cost == pytest.approx(0.4, abs=0.01)
    assert "any swap of its surroundings costs it 0.40" in sentence(case)


def test_the_effect_that_was_detectable_is_capped_by_what_there_is_to_lose():
    case = only(assessed(values(0.0, 3.0), ARMS, DONORS))
    assert np.isnan(case.detectable)


def test_what_could_not_be_tested_says_of_how_many_it_was():
    """Donors of three groups hold the context and of three lack it: no way to give out the kinds is
    rare enough, and no number of images would change that."""
    rows = [*(30 + i % 3 for i in range(8)), *(38 + i % 3 for i in range(8))]
    found = values(0.0, 0.5)
    case = only(assessed(found, ARMS, rows))
    assert not case.test.testable and case.verdict == "underpowered" and case.needed is None
    assert "donors of 3 groups with it and of 3 without it, too few for any test." in sentence(case)
    both = assessed(found, np.concatenate([ARMS, ARMS], 1), rows)
    assert len(both) == 2 and "too few for a test among 2 pairs; name fewer" in sentence(both[0])


def test_one_donor_that_does_it_is_no_context():
    """All images agree, since all meet it; but of the donors only one does."""
    found = values(0.0)
    found[:, EACH] = 0.0
    case = only(assessed(found, ARMS, DONORS))
    assert abs(case.change.value) > 0.1 and case.change.n == IMAGES
    assert case.verdict == "underpowered" and not findings([case])


@pytest.mark.parametrize("sets", [60, pytest.param(400, marks=pytest.mark.slow)])
def test_findings_of_nothing_are_rare(sets):
    """Five contexts that do nothing, on donors that do: each donor has an effect of its own on all
    images, and holds each context or lacks it by chance. Families with a finding are counted."""
    rng = np.random.default_rng([3, sets])
    false = 0
    for _ in range(sets):
        many, contexts = 24, 5
        arms = np.array([rng.permutation(np.repeat([1, -1], many // 2)) for _ in range(contexts)]).T
        level = rng.normal(size=(IMAGES, 1))
        own, scale = rng.normal(size=many), rng.exponential(size=(IMAGES, 1))
        found = 0.5 + 0.1 * level + 0.1 * own + 0.1 * scale * rng.normal(size=(IMAGES, many))
        donors = list(range(30, 30 + many))
        false += bool(findings(assessed(found, arms, donors, delta=1e-6)))
    assert false / sets <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / sets)
