"""What stands on the terminal when a run has ended."""

from conceptseg.result.finding import Finding
from conceptseg.result.saved import Result
from conceptseg.result.verdict import concern
from conceptseg.study.command.ending import MOST, lines


def finding(claim, plain="", shown=True):
    by = {"by": "test", "p_adjusted": 0.001 if shown else 0.9}
    return Finding(claim=claim, plain=plain, effect=1.0, n=5, evidence="e", **by)


def test_the_verdict_comes_first_and_equal_findings_once():
    found = [finding(f"unit {i} 0.5", "Some units agree.") for i in range(9)]
    found += [finding("not shown", shown=False), finding("digit 3\x1b[2J finds brick")]
    told = lines(Result("toy", found, verdict=concern("Look here.", "Do that.")))
    assert told == [
        "concern: Look here.",
        "  Do that.",
        "- Some units agree.",
        "- digit 3\\x1b[2J finds brick",
    ]


def test_the_rest_is_counted_and_nothing_is_said_to_be_nothing():
    told = lines(Result("toy", [finding(f"claim {i}") for i in range(MOST + 3)]))
    assert len(told) == MOST + 1 and told[-1] == "- and 3 more in the report"
    assert lines(Result("toy", [finding("x", shown=False)])) == ["- no finding counts as evidence"]
