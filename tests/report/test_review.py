"""A review beside a result: in the report, and said to be of another result where it is."""

import dataclasses

import pytest
import yaml

from conceptseg.errors import InputError
from conceptseg.report.page import render
from conceptseg.report.review import FILE, read, section
from tests.reports import example

EVIL = "<script>alert(1)</script>"
GIVEN = {
    "reviewer": "Jane Doe",
    "date": "2026-03-01",
    "decision": "accepted with conditions",
    "notes": EVIL,
    "findings": [
        {"finding": 1, "decision": "rejected", "note": "a scale bar"},
        {"finding": 999, "decision": "open"},
    ],
}


@pytest.fixture
def page(tmp_path):
    result, report = example()

    def made(**changes):
        (tmp_path / FILE).write_text(yaml.safe_dump(GIVEN | changes))
        found = section(read(tmp_path), result)
        whole = dataclasses.replace(report, sections=[*report.sections, found])
        return render(whole, result)

    made.digest = result.digest
    return made


def test_it_stands_in_the_report_escaped(page):
    text = page()
    assert 'id="review"' in text and "Jane Doe" in text and "accepted with conditions" in text
    assert "a scale bar" in text and "there is no such finding" in text
    assert EVIL not in text and "&lt;script&gt;alert(1)" in text
    assert "Which result was read is not known" in text


def test_it_says_whether_it_is_of_this_result(page):
    own = page(digest=page.digest[:12])
    assert "of another result" not in own and "is not known" not in own
    assert "This review is of another result" in page(digest="0" * 12)


def test_none_and_mistakes(tmp_path):
    assert read(tmp_path) is None
    for changes, told in (
        ({"decison": "open"}, "did you mean 'decision'"),
        ({"decision": "maybe"}, "decision is 'maybe'"),
        ({"date": "soon"}, "date is 'soon'"),
        ({"digest": "zz"}, "digest is 'zz'"),
    ):
        (tmp_path / FILE).write_text(yaml.safe_dump(GIVEN | changes))
        with pytest.raises(InputError, match=told):
            read(tmp_path)
