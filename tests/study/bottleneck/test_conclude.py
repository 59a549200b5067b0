"""What is concluded of flags and of the layer: against confidence that is fitted just as well."""

from types import SimpleNamespace

import numpy as np

from conceptseg.result.saved import Result
from conceptseg.study.bottleneck import conclude, evaluate, findings, report, tables
from conceptseg.study.bottleneck.evaluate import Estimate, crossed
from conceptseg.study.bottleneck.regress import Features, from_log_odds

STUDY = SimpleNamespace(failure=None, budget=0.2, quality="iou")
OPTIONS = {"folds": 4, "inner": 2, "repeats": 1, "components": 3, "seed": 0}


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
    fitted = {
        name: crossed(("ridge",), one, quality, groups, **OPTIONS) for name, one in sets.items()
    }
    measured = SimpleNamespace(confidence=confidence)
    return SimpleNamespace(
        measured=measured, rows=groups, fitted=fitted, quality=quality, groups=groups
    )


def test_what_confidence_holds_as_well_is_no_merit_of_the_layer(monkeypatch):
    monkeypatch.setattr(evaluate, "DRAWS", 200)
    found = []
    for seed in range(5):
        flags = conclude._flags(STUDY, informed(seed), seed)
        claims = findings.flag_findings(STUDY, flags, 80)
        assert set(flags.gains) == {"layer", "both", "raw"}
        assert flags.precision["layer"].value > flags.precision["raw"].value
        found.append(claims[0].p_adjusted <= 0.05)
        assert f"in the same way, doubts, in {flags.precision['confidence'].value:.0%}" in str(
            claims[0].claim
        )
    assert np.mean(found) < 0.2


def led(p, adjusted):
    """The lead of a report whose layer lowers the error by 0.02, and the finding of it."""
    rows = [
        {"told_from": tables.NAMES[name], "r2": 0.3, "mae": 0.1, "gain": 0.1}
        | {"beats": 0.02, "beats_low": 0.003, "beats_high": 0.04}
        | {"p_beats": p, "p_beats_holm": adjusted}
        for name in ("layer", "confidence", "both")
    ]
    flags = [{"score": each, "precision": 0.5} for each in tables.NAMES.values()]
    made = {"standing": tables.Table(rows), "flags": tables.Table(flags)}
    notes = {"images": 80, "budget": 0.1, "fold_groups": 9, "manifest_groups": 9}
    result = Result(study="bottleneck", tables=made, notes=notes)
    return report._lead(result), findings.standing_findings(made["standing"], 80)[1].claim


def test_lead_and_finding_agree_and_claim_nothing_of_an_interval_that_excludes_zero():
    lead, claim = led(0.04, 0.06)
    assert "is not shown to add" in lead and "no better or worse" in claim
    assert "includes zero" not in lead and "0.003 to 0.040" in lead
    lead, claim = led(0.02, 0.04)
    assert "The layer adds to confidence" in lead and "predicted better" in claim


def test_the_standing_table_corrects_for_both_comparisons(monkeypatch):
    fits = {name: SimpleNamespace(predicted=name, chosen=["ridge"]) for name in tables.NAMES}
    del fits["raw"]
    p = {"layer": 0.03, "both": 0.02}
    one = Estimate(0.1, 0.0, 0.2)
    measures = dict.fromkeys(("r2", "mae", "spearman"), one)
    monkeypatch.setattr(tables, "standing", lambda fitted, *_: dict.fromkeys(fitted, measures))
    monkeypatch.setattr(tables, "gain", lambda own, *_: Estimate(0.1, 0.0, 0.2, p.get(own, 0.5)))
    judged = SimpleNamespace(fitted=fits, quality=None, groups=None)
    baseline = SimpleNamespace(predicted="mean")
    rows = {row["told_from"]: row for row in tables.standing_table(judged, baseline, 0).rows}
    adjusted = [row["p_beats_holm"] for row in rows.values()]
    np.testing.assert_allclose([adjusted[0], adjusted[2]], [0.04, 0.04])
    assert adjusted[1] is None
