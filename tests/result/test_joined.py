"""Several results as one: findings under one correction, and every part as it was."""

import numpy as np
import pytest
from scipy import stats

from conceptseg.errors import InputError
from conceptseg.result.finding import Finding
from conceptseg.result.joined import joined, part_of, parts_of
from conceptseg.result.saved import Result
from conceptseg.result.table import Table
from conceptseg.stats.corrections import benjamini_hochberg, holm


def finding(p, least=0.001, **more):
    return Finding(claim="It is used.", p=p, p_adjusted=p, p_least=least, n=9, by="test",
                   evidence="uses", effect=0.5, **more)  # fmt: skip


def part(*findings, size=1):
    return Result(
        study="ace",
        findings=findings,
        tables={"uses": Table([{"a": size}])},
        arrays={"x": np.arange(size)},
        images={"photo": b"\x89PNG\r\n\x1a\n" + bytes([size])},
        skipped=[{"sample": "s"}],
        provenance={"weights": f"w{size}", "seed": 0},
        timings={"total_seconds": size},
        config={"model": {"name": "net", "positive_class": f"c{size}"}},
        notes={"layer": f"l{size}"},
    )


def test_parts_come_out_as_they_went_in(tmp_path):
    parts = {f"c{n}": part(finding(0.01 * n), size=n) for n in (1, 2, 3)}
    joined(parts).save(tmp_path / "out")
    found = parts_of(Result.load(tmp_path / "out"))
    assert list(found) == list(parts)
    for name, one in parts.items():
        again = found[name]
        assert again.findings == list(one.findings) and again.notes == one.notes
        assert again.config == one.config and again.provenance == one.provenance
        assert again.tables["uses"].rows == one.tables["uses"].rows
        assert again.images == one.images and list(again.arrays["x"]) == list(one.arrays["x"])


def test_several_parts_were_finished_with_the_last():
    times = {"one": "2026-01-31T10:00:00Z", "other": "2026-01-31T10:07:00Z"}
    parts = {name: Result("s", timings={"finished": time}) for name, time in times.items()}
    assert [one.finished for one in parts.values()] == list(times.values())
    assert Result("s", timings={"finished": times}).finished == times["other"]
    assert Result("s").finished == ""


def test_p_values_count_all_parts_and_what_cannot_pass_is_not_testable():
    parts = {
        "a": part(finding(0.004), finding(0.03)),
        "b": part(finding(0.04, least=0.02), finding(0.5, **{"class": "own"})),
        "c": part(Finding(claim="Large.", effect=2.0, ci=(1, 3), n=9, by="interval", evidence="x")),
    }
    found = {one.claim.partition(" So")[0] + str(one.p): one for one in joined(parts).findings}
    assert found["a: It is used.0.004"].p_adjusted == pytest.approx(0.012)
    assert found["a: It is used.0.004"].standing == "evidence"
    assert found["a: It is used.0.03"].standing == "no evidence"
    assert found["b: It is used.0.04"].standing == "not testable"
    assert found["b: It is used.0.5"].p_adjusted == 1 and found["b: It is used.0.5"].class_ == "own"
    assert found["c: Large.None"].standing == "evidence" and found["c: Large.None"].class_ == "c"
    assert found["a: It is used.0.004"].evidence == "a-uses"
    assert found["a: It is used.0.03"].details["p_within_class"] == 0.03
    lost = [one.p for one in found.values() if one.claim.endswith("not once all 3 are counted.")]
    assert sorted(lost) == [0.03, 0.04]


@pytest.mark.parametrize("correction", [holm, benjamini_hochberg])
def test_false_claims_over_all_parts_stay_at_the_level(correction):
    """Null: three classes of five tests each. Any false claim in 5 % of runs, by either correction
    (where nothing is true, the false share of claims is whether there is one)."""
    dice = np.random.default_rng(0)
    runs, wrong = 2000, 0
    for _ in range(runs):
        parts = {}
        for name in "abc":
            p = dice.random(5)
            found = [
                Finding(claim="x", p=q, p_adjusted=r, p_least=0, n=9, by="test", evidence="x")
                for q, r in zip(p, correction(p), strict=True)
            ]
            parts[name] = Result(study="ace", findings=found)
        wrong += any(one.standing == "evidence" for one in joined(parts).findings)
    assert 0.03 < wrong / runs < 0.06


def by_interval(values):
    """A finding that Student's interval decides, as that of a study."""
    mean, error = values.mean(), values.std(ddof=1) / np.sqrt(len(values))
    half = stats.t.ppf(0.975, len(values) - 1) * error
    return Finding(claim="It is better.", effect=mean, ci=(mean - half, mean + half),
                   n=len(values), by="interval", evidence="x")  # fmt: skip


def test_intervals_that_decide_count_all_parts():
    few = np.array([-0.3, 0, 0.3, 0.6, 0.9, 1.2, 0.4, 0.5])  # t = 2.68 of 7
    values = {"a": few, "b": np.random.default_rng(2).normal(4, 1, 12)}
    whole = joined({name: part(by_interval(one)) for name, one in values.items()})
    found = {one.class_: one for one in whole.findings}
    for name, one in values.items():
        test = stats.ttest_1samp(one, 0).confidence_interval(1 - 0.05 / 2)
        assert found[name].ci == pytest.approx(tuple(test))
        assert found[name].details["ci_within_class"] == list(by_interval(one).ci)
    assert by_interval(values["a"]).standing == "evidence"  # alone
    assert found["a"].standing == "no evidence" and "not once all 2" in found["a"].claim
    assert found["b"].standing == "evidence" and found["b"].claim == "b: It is better."
    tested = finding(0.001, ci=(0.2, 0.8))
    assert all(one.ci == (0.2, 0.8) for one in joined({"a": part(tested), "b": part()}).findings)


def test_false_claims_by_intervals_over_all_parts_stay_at_the_level():
    """Null: of five classes any false claim in 5 % of runs (20 % by the intervals alone)."""
    dice = np.random.default_rng(3)
    runs = [[by_interval(dice.normal(size=9)) for _ in range(5)] for _ in range(1000)]
    wrong, alone = 0, 0
    for each in runs:
        whole = joined({str(k): Result(study="ace", findings=[one]) for k, one in enumerate(each)})
        wrong += any(one.standing == "evidence" for one in whole.findings)
        alone += any(one.standing == "evidence" for one in each)
    assert 0.03 < wrong / len(runs) < 0.07 < 0.17 < alone / len(runs)


def test_a_strong_effect_in_one_class_is_still_found():
    dice = np.random.default_rng(1)
    strong = np.append(dice.random(4), 1e-4)
    parts = {"a": part(*(finding(q) for q in holm(strong))), "b": part(finding(0.7))}
    assert [one.class_ for one in joined(parts).findings if one.standing == "evidence"] == ["a"]


def test_the_part_of_a_class_is_asked_for_by_name():
    whole, alone = joined({"a": part(size=1), "b": part(size=2)}), part()
    assert part_of(whole, "b", "runs/x").notes == {"layer": "l2"}
    assert part_of(alone, None, "runs/x") is alone
    for name in (None, "c"):
        with pytest.raises(InputError, match="runs/x: .*model.positive_class"):
            part_of(whole, name, "runs/x")


def test_parts_are_of_one_study():
    with pytest.raises(ValueError, match="unpack"):
        joined({"a": part(), "b": Result(study="dissect")})
