"""What other units still read, what is ablated for a concept, and what is said of its use."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from conceptseg.stats.estimate import Estimate
from conceptseg.stats.family import Test
from conceptseg.study.dissect.ablate import Ablations, Loss, ablated_sets, edits, own_units
from conceptseg.study.dissect.findings import findings
from conceptseg.study.dissect.kept import Kept
from conceptseg.study.dissect.remaining import Places, Remaining
from conceptseg.study.shared.losing import Losing
from conceptseg.study.shared.verdicts import verdict
from tests.study.dissect.small import kept, vocabulary
from tests.study.dissect.test_ablate import study

UNITS, SIDE = 12, 16


def redundant(copies: int) -> Kept:
    """Units 0 to copies - 1 are high where the concept is; all others are noise."""
    rng = np.random.default_rng(0)
    slots = (rng.random((8, 1, SIDE, SIDE)) < 0.3).astype(np.int64)
    maps = rng.normal(size=(8, UNITS, SIDE, SIDE))
    maps[:, :copies] += 3.0 * (slots == 0)
    return kept(maps, slots, vocabulary(1), [0, 1] * 4)


def test_a_redundant_code_is_still_read_and_a_single_one_is_not():
    several, single = Places.of(redundant(4)), Places.of(redundant(2))
    rest = np.arange(2, UNITS)
    assert several.read(0, np.arange(UNITS)) > 0.95 < single.read(0, np.arange(UNITS))
    assert several.read(0, rest) > 0.95
    assert single.read(0, rest) == pytest.approx(0.5, abs=0.1)
    assert "still read it" in Remaining(0.99, several.read(0, rest)).told
    assert "hardly read it" in Remaining(0.99, single.read(0, rest)).told
    assert np.isnan(several.read(0, [])) and "could not be told" in Remaining(0.9, np.nan).told


def test_reading_is_fishers_discriminant_of_the_other_half():
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
    from sklearn.metrics import roc_auc_score

    places = Places.of(redundant(1))
    learn, shows = places.learn, places.shows[0]
    model = LinearDiscriminantAnalysis().fit(places.values[learn], shows[learn])
    score = model.decision_function(places.values[~learn])
    expected = roc_auc_score(shows[~learn], score)
    assert places.read(0, np.arange(UNITS)) == pytest.approx(expected, abs=2e-3)


def detection(overlap: np.ndarray):
    """Concepts' overlaps [v, l] with units; each concept has a detector."""
    units, count = overlap.shape
    best = overlap.argmax(0)
    concept = np.zeros(units, int)
    concept[best] = np.arange(count)
    return SimpleNamespace(
        grid=overlap,
        chosen=SimpleNamespace(concept=concept),
        detector=np.isin(np.arange(units), best),
        scored=SimpleNamespace(above_chance=overlap.max(1)),
        plan=SimpleNamespace(live=np.arange(units), vocabulary=vocabulary(count)),
        best_units=lambda c, n: np.argsort(-overlap[:, c], kind="stable")[:n],
        detectors=lambda c: np.flatnonzero((concept == c) & np.isin(np.arange(units), best)),
    )


def test_random_sets_hold_no_unit_of_the_concept():
    """Drawn from all live units, nearly every set of 9 held some of the concept's own 14."""
    overlap = np.full((60, 1), 0.01)
    overlap[:14, 0] = 0.5 - 0.01 * np.arange(14)
    one, few = detection(overlap), study(ablate_units=9)
    assert own_units(few, one, 0) == tuple(range(14))
    made = edits(few, one, 0)
    assert made["concepts"] == [tuple(range(9))], "no power of two"
    for units in made[0]:
        assert len(set(units)) == 9 and min(units) >= 14
    assert len(made[0]) == few.random_sets and len(set(made[0])) > 1
    assert len(made["singles"]) == few.random_sets + 1


def test_in_a_small_layer_random_sets_leave_out_the_set_at_least():
    overlap = np.full((12, 1), 0.5)
    made = edits(study(), detection(overlap), 0)
    assert made["concepts"] == [(0, 1, 2, 3)], "a third of the layer at most"
    assert all(min(units) >= 4 for units in made[0]) and len(set(made[0])) > 1


def test_concepts_of_the_same_units_are_one():
    overlap = np.full((30, 3), 0.01)
    overlap[:3, 0], overlap[:3, 1], overlap[5:8, 2] = (0.5, 0.4, 0.3), (0.3, 0.5, 0.4), 0.4
    assert ablated_sets(study(), detection(overlap)) == {(0, 1, 2): (0, 1), (5, 6, 7): (2,)}


def said(test: Test, change: float, clean=0.95, rest=0.9, concepts=((0, 1),), p=0.01):
    """The findings of one set of units and one class that does not count as using it."""
    known = verdict(test, clean, used=False)
    lost = Estimate(change, -1, 0.1, 20)
    how = Losing(lost, Estimate(0, 0, 0, 20), "found")
    loss = Loss(0, 0, 20, clean, lost, -0.4, p, test, False, known, how)
    ablations = Ablations(concepts, ((0,),), (), (loss,), (), 20, 20, "zero")
    one = detection(np.eye(9)[:, :2])
    return findings(one, ablations, (Remaining(0.97, rest),), ["digit 6"])


def test_a_large_loss_that_random_sets_may_cost_too_is_not_called_small():
    passed = Test(1e-4, 0.01, 1e-4, 0.01, 0.3, 1e-3, 20, "groups", "holm")
    (one,) = said(passed, -0.4, p=0.2)
    assert "more than one in twenty may cost as much" in one.claim
    assert "too little" not in one.claim and one.standing != "evidence"


TEST = Test(0.05, 1.0, 1e-4, 0.01, 0.3, 1e-3, 20, "groups", "holm")


@pytest.mark.parametrize(
    ("test", "change", "words"),
    [
        (TEST, -0.1, "a loss of 0.30 would have been shown"),
        (replace(TEST, detectable=1.7), -0.92, "not even the loss of all of it"),
        (replace(TEST, detectable=np.nan), -0.92, "not even the loss of all of it"),
        (
            replace(
                TEST, p=np.nan, adjusted=np.nan, least=0.2, detectable=np.nan, needs="6 groups"
            ),
            -0.92,
            "no loss can be shown without 6 groups",
        ),
        (replace(TEST, adjusted=0.01), -0.01, "too little to count as use"),
        (TEST, 0.001, "no class loses 0.01 IoU in the mean"),
        (TEST, -0.004, "no class loses 0.01 IoU in the mean"),
    ],
)
def test_no_claim_says_that_a_class_does_not_use_something(test, change, words):
    """This was said of 0.95: "no class was shown to use that: digit 6 loses most, 0.92 IoU"."""
    (one,) = said(test, change)
    assert "stays open" in one.claim and words in one.claim
    assert "no class was shown" not in one.claim and "still read it" in one.claim
    assert one.standing != "evidence"
    assert "0.0 and 0.1" in one.claim
    assert "without the one unit that overlaps it most, " in one.claim
    if change < -0.5:
        assert "0.92 of its 0.95 IoU" in one.claim


def test_under_two_names_one_finding():
    assert len(said(TEST, -0.1)) == 1
    assert len(said(TEST, -0.1, concepts=((0,),))) == 1
