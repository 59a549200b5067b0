"""Every study says how often it is wrong, or why it tests nothing; the shipped rates are theirs."""

import numpy as np
import pytest

from conceptseg import __version__, catalogue
from conceptseg.report import rates
from conceptseg.study.selftest.bench import selftest_of
from conceptseg.study.shared.nulls import Claim, Power, Selftest

STUDIES = catalogue.names("study")


@pytest.mark.parametrize("study", STUDIES)
def test_a_study_has_claims_or_says_why_it_tests_nothing(study):
    own = selftest_of(study)
    assert own.claims or own.untested
    assert len({claim.test for claim in own.claims}) == len(own.claims)
    assert own.untested or isinstance(own.power, Power) or own.power


@pytest.mark.parametrize("study", STUDIES)
def test_the_shipped_rates_are_of_the_claims_that_it_makes(study):
    """By name: whoever changes a claim, or adds a study, has to measure it again."""
    held = rates.measured()
    own = selftest_of(study)
    shipped = {(row["test"], row["kind"]) for row in held["rates"] if row["study"] == study}
    assert shipped == {(claim.test, claim.kind) for claim in own.claims}
    reasons = [row["reason"] for row in held["untested"] if row["study"] == study]
    assert reasons == ([own.untested] if own.untested else [])
    assert bool(rates.limits(study))


def test_the_shipped_rates_are_of_this_version_and_of_enough_draws():
    held = rates.measured()
    assert held["version"] == __version__ and held["draws"] >= 300
    assert {row["study"] for row in held["rates"] + held["untested"]} == set(STUDIES)


@pytest.mark.parametrize("study", STUDIES)
def test_no_test_of_ours_is_wrong_more_often_than_it_says(study):
    """Not by what the file says of itself: counts are compared with the level anew."""
    own = [row for row in rates.measured()["rates"] if row["study"] == study]
    for row in own:
        error = np.sqrt(0.05 * 0.95 / row["draws"])
        if row["kind"] == "ours":
            assert row["false"] / row["draws"] <= 0.05 + 2 * error, row


def test_a_limit_tells_counts_of_its_own_study_and_none_of_an_unknown_one():
    row = next(row for row in rates.measured()["rates"] if row["study"] == "ace")
    (told,) = rates.limits("ace")
    assert f"{row['false']} of {row['draws']} draws" in told and row["test"] in told
    assert rates.limits("brightness") == ()


def test_claims_go_with_draws():
    claim = Claim("a test", "nothing", "one")
    with pytest.raises(ValueError, match="says why"):
        Selftest(claims=(claim,))
    with pytest.raises(ValueError, match="says why"):
        Selftest()
    assert Selftest(untested="it describes").untested
