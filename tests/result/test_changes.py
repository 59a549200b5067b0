"""What changed between two results: statuses that are known beforehand, and intervals that hold."""

import numpy as np
import pytest

from conceptseg.errors import InputError
from conceptseg.result.changes import Measured, _difference, compare
from conceptseg.result.finding import Finding
from conceptseg.result.saved import Result
from conceptseg.result.table import Table

ALL = Table([{"class": name} for name in ("three", "nine", "four")])


def finding(effect, half=0.1, name="three", shown=True, **details):
    return Finding(
        claim="c",
        class_=name,
        effect=effect,
        ci=(effect - half, effect + half),
        p_adjusted=0.01 if shown else 0.6,
        by="test",
        n=20,
        evidence="e",
        details={"effect_name": "loss", **details},
    )


def result(*findings, weights="a", table=ALL, **keys):
    provenance = {"weights": weights, "data": "d", "layer": "l", **keys.pop("provenance", {})}
    return Result("ace", findings, {"classes": table}, provenance=provenance, **keys)


def statuses(before, after):
    return {one.name: one.status for one in compare(before, after).changes}


def test_new_gone_grown_shrunk_turned_and_none():
    context = {"from_context": True}
    before = result(
        finding(-0.9, **context),
        finding(-0.3, name="nine"),
        finding(-0.5, name="four", half=0.2),
        finding(0.4, name="four", part="edge"),
        finding(-0.8, name="nine", part="edge"),
    )
    after = result(
        finding(-0.1, shown=False, **context),
        finding(-0.8, name="nine"),
        finding(-0.6, name="four", half=0.2),
        finding(-0.4, name="four", part="edge"),
        finding(-0.2, name="nine", part="edge"),
        finding(0.3, name="four", from_context=True),
        weights="b",
    )
    assert statuses(before, after) == {
        "three from context": "gone",
        "nine": "grown",
        "four": "no clear change",
        "four part edge": "turned",
        "nine part edge": "shrunk",
        "four from context": "new",
    }
    back = statuses(after, before)
    assert back["three from context"] == "new" and back["nine"] == "shrunk"


def test_a_mistake_is_the_same_whether_its_cause_was_shown_or_not():
    before, after = (
        result(finding(size, concept="letters", kind="false", caused=caused))
        for size, caused in ((0.9, True), (0.4, False))
    )
    (change,) = compare(before, after).changes
    assert change.status == "shrunk"


def test_what_is_not_evidence_is_not_compared():
    assert statuses(result(finding(-0.9, shown=False)), result()) == {}
    changed = statuses(result(finding(-0.9)), result(finding(-0.9, shown=False)))
    assert changed == {"three": "no longer shown"}


@pytest.mark.parametrize(
    ("before", "after", "status"),
    [
        (-0.5, -0.5, "no longer shown"),  # the same numbers: it passed once, and once it did not
        (-0.5, -0.4, "no longer shown"),  # less by 0.1, which is uncertain by 0.14
        (-0.5, -0.1, "gone"),
        (0.6, 0.2, "gone"),
        (0.3, 0.7, "no longer shown"),  # surely more, and yet not shown
        (-0.3, -0.7, "no longer shown"),
    ],
)
def test_gone_is_said_where_the_difference_is_surely_less(before, after, status):
    (change,) = compare(
        result(finding(before, part="edge")), result(finding(after, shown=False, part="edge"))
    ).changes
    assert change.status == status and change.after == Measured(after, after - 0.1, after + 0.1)
    (back,) = compare(
        result(finding(after, shown=False, part="edge")), result(finding(before, part="edge"))
    ).changes
    assert back.status == "new"


def test_gone_is_not_said_of_what_has_no_number():
    (change,) = compare(result(finding(-0.9, part="edge")), result()).changes
    assert change.status == "no longer shown" and change.difference is None
    assert "then not shown)" in change.sentence


@pytest.mark.parametrize(
    ("detectable", "status"),
    [([0.3, 0.79], "gone"), ([0.3, 0.81], "no longer shown"), ([0.3, None], "no longer shown")],
)
def test_gone_is_said_where_so_much_would_have_been_shown(detectable, status):
    """All that the class's rows call detectable is less than the least that it may have been."""
    rows = [{"class": "three", "detectable": value} for value in detectable]
    later = result(table=Table([*rows, {"class": "nine", "detectable": 0.95}]))
    assert statuses(result(finding(-0.9, part="edge")), later) == {"three part edge": status}


def test_gone_is_not_said_of_a_class_that_was_not_looked_at():
    other = result(table=Table([{"class": "nine"}]))
    assert statuses(result(finding(-0.9)), other) == {"three": "not looked at"}


def test_numbers_mean_a_thing_in_the_same_network_alone():
    before = result(finding(0.5, unit=3), finding(0.4, unit=5))
    same = result(finding(0.5, unit=5), finding(0.4, unit=7))
    found = [one.status for one in compare(before, same).changes]
    assert sorted(found) == ["new", "no clear change", "no longer shown"]
    weaker = result(finding(0.5, unit=5), finding(0.1, unit=3, shown=False))
    found = {one.name: one.status for one in compare(before, weaker).changes}
    assert found == {"three unit 3": "gone", "three unit 5": "no clear change"}
    other = result(finding(0.5, unit=5), finding(0.4, unit=7), weights="b")
    assert {one.status for one in compare(before, other).changes} == {"no clear change"}


def test_what_is_no_finding_is_looked_up_in_the_tables():
    """An effect that was measured and not shown: the answer has its number."""
    row = {"class": "three", "context": "brick", "effect": 0.01, "low": -0.02, "high": 0.04}
    other = result(table=Table([{**row, "context": "sand", "effect": 9.0}, row]))
    (change,) = compare(result(finding(0.9, context="brick")), other).changes
    assert change.status == "gone" and change.after == Measured(0.01, -0.02, 0.04)
    assert change.difference is not None and change.difference.high < -0.7
    assert "three context brick: gone (loss: +0.900" in change.sentence


def test_the_interval_of_a_difference_covers():
    """Means of 40 skewed values with bootstrap-like intervals: 95 % cover, 1000 times over."""
    noise = np.random.default_rng(0)
    hit = 0
    for _ in range(1000):
        sides = []
        for mean in (1.0, 1.5):
            values = noise.exponential(mean, 40)
            half = 2.02 * values.std(ddof=1) / np.sqrt(40)
            sides.append(Measured(values.mean(), values.mean() - half, values.mean() + half))
        found = _difference(*sides)
        hit += found.low <= 0.5 <= found.high
    assert 0.92 < hit / 1000 < 0.98
    assert not _difference(Measured(1.0), Measured(2.0)).known


def test_it_says_what_else_differs():
    before = result(config={"data": {"limit": 3}, "model": {"name": "a"}})
    after = result(
        config={"data": {"limit": 4}, "model": {"name": "b"}},
        provenance={"data": "other", "layer": "m"},
    )
    told = " ".join(compare(before, after).remarks)
    for part in ("different data", "data.limit", "l and m", "same weights"):
        assert part in told
    assert "model" not in told.replace("models", "")
    with pytest.raises(InputError, match="compare runs of one study"):
        compare(before, Result("audit"))
