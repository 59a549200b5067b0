"""What reports say of how often their intervals hold the truth."""

import pytest

from conceptseg import __version__, catalogue
from conceptseg.report import cover, held
from conceptseg.result.saved import Result


def row(share, label="loss (pairs)", study="brightness", **keys):
    own = {"study": study, "table": "pairs", "column": "loss", "label": label, "sets": 12}
    return own | {"intervals": 240, "share": share, "error": 0.02} | keys


@pytest.fixture
def shipped(monkeypatch):
    def put(*rows):
        monkeypatch.setattr(held, "measured", lambda: {"version": "9", "rows": rows})

    return put


@pytest.mark.parametrize(
    ("share", "said"),
    [
        (0.9, "loss (pairs) in 90% +- 4 of 240; 1 other in 92 to 98 %."),
        (0.919, "loss (pairs) in 92% +- 4 of 240; 1 other"),
        (0.92, "): all in 92 to 98 %."),
        (0.98, "): all in 92 to 98 %."),
        (0.99, "more often than they say, in 99% or more: loss (pairs); 1 other"),
    ],
)
def test_what_is_not_as_promised_is_named_with_its_true_level(shipped, share, said):
    shipped(row(share), row(0.95, "gain (classes)"))
    (told,) = held.limits("brightness")
    assert said in told
    assert "gain" not in told and "12 fresh data sets" in told


def test_nothing_is_said_of_a_study_that_was_not_measured(shipped):
    shipped(row(0.7, study="other"))
    assert held.limits("brightness") == ()


def test_what_is_shipped_is_of_this_version_and_of_studies_that_there_are():
    found = held.measured()
    assert found["version"] == __version__
    assert {one["study"] for one in found["rows"]} <= set(catalogue.names("study"))
    for one in found["rows"]:
        assert 0 <= one["share"] <= 1 and one["sets"] >= 7 and one["intervals"] >= one["sets"]


def test_a_report_says_it_among_its_limits(shipped):
    shipped(row(0.7, study="x"))
    notes = {"model": "unet", "origin": "", "manifest": "", "images": 8, "unit": "image"}
    words = {"title": "A title", "method": "ACE on", "lead": "", "sections": (), "limits": ()}
    made = cover.report(Result("x", notes=notes), **words)
    assert any("loss (pairs) in 70% +- 4 of 240" in limit for limit in made.limits)
