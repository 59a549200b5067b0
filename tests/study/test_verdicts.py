"""What every study's verdict has in common."""

import pytest

from conceptseg import catalogue
from conceptseg.study.actmax.verdict import verdict as actmax
from conceptseg.study.permutation.verdict import verdict as permutation
from tests.study.verdicts import result


@pytest.mark.parametrize("study", catalogue.names("study"))
def test_every_study_has_a_rule(study):
    kind = catalogue.load("study", study)
    assert kind.verdict.__func__ is catalogue.load("study", "ace").verdict.__func__
    __import__(f"conceptseg.study.{study}.verdict")


def test_studies_that_ask_something_else_cannot_tell():
    rows = [{"scheme": "swap", "class": "all classes", "part": "phase", "p_adjusted": 0.01,
             "value": 0.3, "low": 0.2}]  # fmt: skip
    found = permutation(result("permutation", importance=rows))
    assert found.status == "cannot tell" and "own phase" in found.sentence
    found = actmax(result("actmax", units=[{"verdict": "representative"}, {"verdict": "dead"}]))
    assert found.status == "cannot tell" and found.sentence.startswith("1 of 2 pictures")
