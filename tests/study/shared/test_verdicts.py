"""What is said of cases in which no use was shown, and of tests that could not pass."""

import re
from pathlib import Path

import pytest

from conceptseg.result.table import Table
from conceptseg.study.shared.verdicts import MARKS, VERDICTS, open_pairs, unreachable


def row(verdict, loss=-0.1, detectable=0.3, needs=None):
    return {"verdict": verdict, "loss": loss, "detectable": detectable, "needs": needs}


def test_of_inconclusive_pairs_the_largest_detectable_loss_is_told():
    """The median, 0.04, was called what would have been seen of a concept that costs 0.92."""
    rows = [row("inconclusive", detectable=d) for d in (0.02, 0.04, 0.6)] + [row("used")]
    told = open_pairs(Table(rows), "loss", " if it moves")
    assert told.startswith("3 of 4 pairs of class and concept are inconclusive: of each, a loss of")
    assert "a loss of 0.60 IoU would have been shown in four of five such data sets if it" in told
    assert "(2 did cost what was detectable, yet a test failed)" in told


def test_what_could_not_be_shown_is_not_called_small():
    rows = [
        row("underpowered", detectable=1.7),
        row("not testable", detectable=None, needs="6 groups"),
        row("not testable", detectable=None, needs="6 groups"),
    ]
    told = open_pairs(Table(rows), "loss")
    assert "1 are underpowered: even the loss of all of the class's IoU" in told
    assert "2 are not testable without 6 groups that hold the class" in told
    assert "1.7" not in told


def test_of_uses_alone_nothing_is_open():
    assert open_pairs(Table([row("used")]), "loss") == open_pairs(Table([]), "loss") == ""


def of_groups(count, images=30):
    return [f"i{i}" for i in range(images)], [f"g{i % count}" for i in range(images)]


@pytest.mark.parametrize(("count", "unit"), [(6, "auto"), (8, "group"), (5, "auto"), (2, "image")])
def test_nothing_is_said_where_a_use_can_be_shown(count, unit):
    assert unreachable(*of_groups(count), unit, 3, ("nulls", 999)) == []


def test_too_few_groups_are_told_with_the_smallest_p_and_the_cure():
    (line,) = unreachable(*of_groups(5), "group", 3)
    assert "5 groups: the smallest corrected p possible is 0.094, over 0.05" in line
    assert line.endswith("6 groups that hold a class are needed, or set unit: image")
    (line,) = unreachable(*of_groups(2, images=4), "auto", 2)
    assert "4 images" in line and "0.12" in line and "unit: image" not in line


def test_too_few_random_concepts_are_told_under_their_key():
    (line,) = unreachable(*of_groups(9), "auto", 3, ("nulls", 19))
    assert line.startswith("nulls: of 19 the smallest corrected p possible is 0.15")
    assert line.endswith("59 are needed")


def test_no_chart_calls_anything_not_used():
    """Of what was not shown, in the code of every study: negatives that are no verdict."""
    import conceptseg.study as studies

    files = Path(studies.__file__).parent.rglob("*.py")
    assert [f.name for f in files if re.search(r"[(,] *\"(not|un)[ -]?used", f.read_text())] == []
    assert VERDICTS.keys() & set(MARKS) == {"used"}


def test_of_needs_that_differ_in_their_number_the_largest_is_told():
    needs = [
        "5 groups",
        "more than 6 groups",
        "6 groups",
        "0.02 IoU to lose on the images",
        "11 groups",
    ]
    table = Table([row("not testable", detectable=None, needs=one) for one in needs])
    told = open_pairs(table, "loss")
    assert (
        "5 are not testable without 0.02 IoU to lose on the images or 11 groups that hold" in told
    )
    table = Table([row("not testable", detectable=None, needs=one) for one in needs[1:3]])
    assert "2 are not testable without more than 6 groups that hold" in open_pairs(table, "loss")
