"""What is concluded of flags and of the layer: against confidence that is fitted just as well."""

from types import SimpleNamespace

import numpy as np
import pytest

from conceptseg.result.saved import Result
from conceptseg.stats.estimate import Estimate, Sampling
from conceptseg.stats.family import Test
from conceptseg.study.bottleneck import conclude, findings, report, tables
from conceptseg.study.bottleneck.evaluate import Fitted, Standing, standings
from conceptseg.study.bottleneck.regress import Features, Search, crossed, from_log_odds
from conceptseg.study.bottleneck.slices import Slice

STUDY = SimpleNamespace(failure=None, budget=0.2, quality="iou")


def images(count, draws):
    ids = tuple(f"{number:02d}" for number in range(count))
    return Sampling(ids, ids, "images", (0, 11), draws)


def informed(seed, count=80):
    """Quality that a second confidence number tells; the layer repeats it; the first is noise."""
    rng = np.random.default_rng(seed)
    signal, groups = rng.normal(size=count), np.arange(count)
    quality = from_log_odds(1.5 * signal + 0.5 * rng.normal(size=count))
    confidence = np.c_[rng.normal(size=count), signal + 0.3 * rng.normal(size=count)]
    layer = np.c_[signal + 0.3 * rng.normal(size=count), rng.normal(size=(count, 2))]
    sets = {
        "layer": Features(layer, 3),
        "confidence": Features(confidence, 0),
        "both": Features(np.c_[layer, confidence], 3),
    }
    search = Search(("ridge",), inner=2, components=3, seed=0)
    fitted = {name: crossed(search, one, quality, groups, 4, 1) for name, one in sets.items()}
    sampling, largest = images(count, 200), confidence[groups, 0].astype(np.float64)
    return SimpleNamespace(largest=largest, fitted=fitted, quality=quality, sampling=sampling)


def test_what_confidence_holds_as_well_is_no_merit_of_the_layer():
    shown = []
    for seed in range(5):
        flags = conclude.flags_of(STUDY, informed(seed))
        claims = findings.flag_findings(STUDY, flags)
        assert set(flags.gains) == {"layer", "both", "raw"} and set(flags.tests) == {
            "layer",
            "both",
        }
        assert flags.precision["layer"].value > flags.precision["raw"].value
        shown.append(claims[0].standing == "evidence")
        assert (claims[0].n, claims[0].of) == (80, "images")
        assert f"{flags.precision['confidence'].value:.0%}" in claims[0].claim
    assert np.mean(shown) < 0.2


def led(p, adjusted):
    """The lead of a report whose layer lowers the error by 0.02, and the finding of it."""
    test = Test(p, adjusted, 0.001, 0.002 if p is not None else 0.5, 0.01, 0.025, 80, "images", "h")
    half, beats = Estimate(0.3, 0.2, 0.4, 80), Estimate(0.02, 0.003, 0.04, 80)
    standing = [
        Standing(name, half, half, half, half, *own, ("ridge",))
        for name, own in (
            ("layer", (beats, test)),
            ("confidence", (None, None)),
            ("both", (beats, test)),
        )
    ]
    flags = [{"score": each, "precision": 0.5} for each in tables.NAMES.values()]
    made = {"standing": tables.standing_table(standing), "flags": tables.Table(flags)}
    notes = {"images": 80, "budget": 0.1, "fold_groups": 9, "manifest_groups": 9, "groups": 9}
    result = Result(study="bottleneck", tables=made, notes=notes)
    return report._lead(result), findings.standing_findings(standing)[1]


def test_lead_and_finding_agree_and_claim_nothing_of_an_interval_that_excludes_zero():
    lead, finding = led(0.04, 0.06)
    assert "is not shown to add" in lead and finding.standing == "no evidence"
    assert "includes zero" not in lead and "0.003 to 0.040" in lead
    lead, finding = led(0.02, 0.04)
    assert "The layer adds to confidence" in lead and finding.standing == "evidence"
    lead, finding = led(None, None)
    assert "cannot be tested" in lead and finding.standing == "not testable"


def differing(groups, seed=3):
    """Two sets whose error is below that of confidence by a little, over so many images."""
    rng = np.random.default_rng(seed)
    quality = rng.uniform(0.3, 0.7, groups)
    far = quality + 0.2
    sets = {name: far - 0.05 + 0.08 * rng.normal(size=groups) for name in ("layer", "both")}
    fits = {"layer": sets["layer"], "confidence": far, "both": sets["both"]}
    fitted = {name: Fitted(one[None], (), ("ridge",)) for name, one in fits.items()}
    return standings(fitted, far[None], quality, images(groups, 200), 0)


def test_the_standing_table_corrects_for_both_comparisons():
    rows = tables.standing_table(differing(12)).rows
    p = [rows[place]["p_beats"] for place in (0, 2)]
    adjusted = [rows[place]["p_beats_holm"] for place in (0, 2)]
    assert min(adjusted) == pytest.approx(min(1.0, 2 * min(p))) and max(adjusted) >= max(p)
    assert rows[1]["p_beats"] is None and rows[1]["p_beats_holm"] is None


def test_six_groups_are_judged_together_where_holm_could_never_pass():
    """By Holm the smallest p of 2 / 64 became 4 / 64 at least; signs flipped jointly keep it."""
    every = [one.test for one in differing(6) if one.test is not None]
    assert {test.by for test in every} == {"joint flips"} and all(t.testable for t in every)


@pytest.mark.parametrize("groups", [4, 5])
def test_of_four_or_five_groups_no_merit_is_tested(groups):
    """Two-sided, 2 / 32 is above 0.05: their p-values and corrected ones were reported before."""
    standing = differing(groups)
    assert not any(one.test.testable for one in standing if one.test is not None)
    for finding in findings.standing_findings(standing):
        assert finding.standing == "not testable" and (finding.n, finding.of) == (groups, "images")
        assert (finding.ci is None) == (groups < 5)


@pytest.mark.parametrize(
    ("gain", "adjusted", "said"),
    [
        (0.15, 0.03, "found by the layer more often than by the network's confidence."),
        (-0.15, 0.03, "found by the layer less often than by the network's confidence."),
        (-0.15, 0.3, "neither was shown to be better."),
        (0.15, 0.3, "neither was shown to be better."),
    ],
)
def test_a_test_of_both_sides_says_which_finds_more_failures(gain, adjusted, said):
    test = Test(0.01, adjusted, 0.001, 0.002, 0.1, 0.025, 60, "images", "holm")
    half, own = Estimate(0.4, 0.3, 0.5, 60), Estimate(gain, gain - 0.1, gain + 0.1, 60)
    flags = SimpleNamespace(
        precision=dict.fromkeys(("layer", "both", "confidence", "raw"), half),
        tests=dict.fromkeys(("layer", "both"), test),
        gains=dict.fromkeys(("layer", "both"), own),
        failed=np.array([True, False]),
        limit=0.5,
    )
    first, _ = findings.flag_findings(STUDY, flags)
    assert first.plain.startswith("Images that fail are") and first.plain.endswith(said)


@pytest.mark.parametrize("kind", ["metadata", "pair", "searched"])
def test_a_slice_that_was_searched_for_says_on_which_images_it_is_told(kind):
    test = Test(0.01, 0.02, 0.001, 0.002, 0.1, 0.025, 40, "images", "largest")
    members = np.arange(40) < 11
    own = Estimate(0.5, 0.4, 0.6, 11), Estimate(-0.2, -0.3, -0.1, 40)
    found = findings.slice_finding(Slice("rain = yes", kind, members, *own, 0.9, test, 0.02))
    end = " on the half that was not searched." if kind == "searched" else "."
    assert found.claim.endswith(f"over 11 images{end}")
