"""What a run says as a whole: what weakens it, how several become one, how it is kept."""

import json

import pytest

from conceptseg.errors import InputError
from conceptseg.result.finding import Finding, ranked
from conceptseg.result.saved import Result, sealed
from conceptseg.result.verdict import (
    LEAST_WORTH,
    Verdict,
    among,
    cannot_tell,
    concern,
    listed,
    none_shown,
    weakened,
)

CONCERN, NONE, OPEN = (
    concern("It leans.", "Stop."),
    none_shown("No.", "Go."),
    cannot_tell("?", "Do"),
)


def worth(share, by="prediction"):
    return {"worth": {"by": by, "layers": [{"layer": "deep", "prediction": share, "logits": 1.0}]}}


@pytest.mark.parametrize(
    ("share", "status"),
    [(0.0, "cannot tell"), (LEAST_WORTH, "none shown"), (0.9, "none shown")],
)
def test_of_a_layer_without_effect_nothing_can_be_told(share, status):
    assert weakened(NONE, {"layer": "deep"}, worth(share)).status == status
    assert weakened(CONCERN, {"layer": "deep"}, worth(share)) == CONCERN  # what was shown stands
    assert weakened(NONE, {"layer": "other"}, worth(share)) == NONE
    assert weakened(NONE, {"layer": "deep"}, worth(share, "logits")) == NONE


def test_doubts_and_edits_weaken():
    doubts = {"examination": {"doubts": [{"what": "channels", "found": "reversed"}]}}
    weak = weakened(NONE, {}, doubts)
    assert weak.status == "cannot tell" and "channels" in weak.sentence
    assert weakened(CONCERN, {}, doubts) == CONCERN
    assert weakened(CONCERN, {}, {}, altered=True).status == "cannot tell"


def test_images_of_few_groups_speak_of_these_groups_alone():
    few = {"unit": "image", "images": 60, "manifest_groups": 6}
    for one in (CONCERN, NONE):
        told = weakened(one, few, {})
        assert told.status == one.status and "6 groups that the images come from" in told.sentence
        assert weakened(told, few, {}) == told  # said once
        assert weakened(one, {**few, "unit": "group"}, {}) == one
        assert weakened(one, {**few, "manifest_groups": 60}, {}) == one
    assert weakened(OPEN, few, {}) == OPEN


def test_the_gravest_of_several_decides_if_it_stands_among_all():
    parts = {"a": NONE, "b": CONCERN, "c": OPEN}
    assert among(parts, {"b"}).status == "concern"
    assert among(parts, {"b"}).sentence == "b: It leans."
    alone = among(parts, ())  # not once all are counted
    assert alone.status == "cannot tell" and "not once all are counted" in alone.sentence
    assert among({"a": NONE, "d": NONE}, ()).status == "none shown"


@pytest.mark.parametrize(
    ("names", "text"),
    [("a", "a"), ("ab", "a and b"), ("abc", "a, b and c"), ("abcdea", "a, b, c and 2 more")],
)
def test_names_are_listed_once_and_counted(names, text):
    assert listed(names) == text


def test_it_is_saved_and_loaded_and_sealed(tmp_path):
    folder = Result("ace", verdict=CONCERN).save(tmp_path / "run")
    assert Result.load(folder).verdict == CONCERN
    file = folder / "result.json"
    content = json.loads(file.read_text())
    content["verdict"]["status"] = "none shown"
    file.write_text(json.dumps(content))
    with pytest.raises(InputError, match="altered"):
        Result.load(folder)
    content["verdict"]["status"] = "safe"
    file.write_text(json.dumps(sealed(content)))
    with pytest.raises(InputError, match="a verdict's status"):
        Result.load(folder)


def test_results_of_earlier_versions_have_none(tmp_path):
    folder = Result("ace", [Finding(claim="c", n=3, evidence="x")]).save(tmp_path / "run")
    content = json.loads((folder / "result.json").read_text())
    del content["verdict"]
    for key in ("plain", "warning"):
        del content["findings"][0][key]
    (folder / "result.json").write_text(json.dumps(sealed(content)))
    loaded = Result.load(folder)
    assert loaded.verdict is None and loaded.findings[0].plain == ""


def test_a_warning_comes_before_all_that_it_limits():
    sure = Finding(claim="sure", n=9, evidence="x", by="test", p_adjusted=0.001, effect=1.0)
    warning = Finding(claim="warning", n=9, evidence="x", warning=True, effect=0.1)
    assert [one.claim for one in ranked([sure, warning])] == ["warning", "sure"]


def test_a_line_for_a_terminal():
    assert CONCERN.line == "concern: It leans."
    with pytest.raises(ValueError):
        Verdict(status="safe", sentence="s", advice="a")
