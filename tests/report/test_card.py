"""Evidence cards: every number is the one that its pointer names, and blanks are named."""

import dataclasses
import json
import re

import numpy as np
import pytest

from conceptseg.errors import InputError
from conceptseg.report import card
from conceptseg.result.finding import Finding
from conceptseg.result.joined import joined
from conceptseg.result.saved import Result
from conceptseg.result.table import Table
from conceptseg.study import __main__ as command
from conceptseg.study.audit.tables import verdicts
from tests.study.audit.small import assessed, looked
from tests.study.audit.test_assess import ARMS, DONORS, IDS, values

PROVENANCE = {
    "weights": "abc",
    "data": "def",
    "layer": "body",
    "command": "conceptseg audit",
    "seed": 0,
    "configuration": "0",
    "versions": {"conceptseg": "0.1.0", "torch": "2"},
    "examination": {
        "verdicts": {"masks": "mean IoU 0.50 on 4 images"},
        "doubts": [{"what": "layer", "found": "odd"}],
    },
}
NOTES = {"model": "net", "origin": "file", "manifest": "set", "images": 8, "images_given": 9,
         "manifest_groups": 3, "unlocated": ["t0"]}  # fmt: skip


def audit(**changes):
    cases = assessed(values(0.3), ARMS, DONORS, looked(IDS, 0.9))
    found = Result(
        study="audit",
        tables={"verdicts": verdicts(cases)},
        notes=NOTES,
        provenance=PROVENANCE,
        skipped=[{"kind": "sample", "reason": "no mask", "sample": "a"}, {"reason": "no mask"}],
        timings={"finished": "today"},
    )
    return dataclasses.replace(found, **changes)


def finding(claim, **keys):
    return Finding(claim=claim, effect=0.123456789, ci=(0.1, 0.2), n=5, evidence="e", **keys)


def ace():
    findings = [
        finding("wheels", by="interval"),
        finding("chance", by="test", p_adjusted=0.8),
        finding("scale bars are taken for particles", by="interval", fault=True),
    ]
    notes, table = {**NOTES, "unlocated": []}, Table([{"class": "car", "iou": np.nan}])
    return Result("ace", findings, {"clean": table}, notes=notes, provenance=PROVENANCE)


@pytest.fixture
def saved(tmp_path):
    for name, result in (("one", audit()), ("two", ace())):
        result.save(tmp_path / name)
    return tmp_path


def test_every_number_is_what_its_pointer_names(saved, capsys):
    folders = [str(saved / "one"), str(saved / "two")]
    assert command.main(["card", *folders, "--format", "json"]) == 0
    made = json.loads(capsys.readouterr().out)
    seen = 0
    for line in (line for answer in made["answers"] for line in answer["lines"]):
        for one in line["numbers"]:
            value = json.loads((saved / one["run"] / "result.json").read_text())
            for step in one["pointer"].split("/")[1:]:
                value = value[int(step)] if isinstance(value, list) else value[step]
            assert value == one["value"]
            seen += 1
    assert seen > 30


def answers(*results):
    runs = [card.Run(f"run{i}", result) for i, result in enumerate(results)]
    return {one.question: one for one in card.compose(runs).answers}


def test_what_runs_say_stands_under_the_question_that_it_answers():
    found = answers(audit(), ace())

    def texts(question):
        (one,) = (one for key, one in found.items() if question in key)
        return [line.text for line in one.lines]

    assert "digit relies on t0" in texts("differ between groups")[0]
    assert texts("lean on context") == []
    assert texts("What does it use") == ["wheels"]
    assert texts("Which mistakes") == ["scale bars are taken for particles"]
    assert "run0: left out, 2 times: no mask" in texts("not looked at")
    assert "run0: doubt about layer: odd" in texts("not looked at")
    assert found["What is it for, who uses it, and on whom?"].blank == "the intended use"
    assert not any(line.text == "chance" for one in found.values() for line in one.lines)


@pytest.mark.parametrize("form", ["md", "html"])
def test_names_mean_nothing_but_themselves(form):
    hostile = "<img src=x> [a](javascript:b) | `c` *d*"
    text = card.FORMATS[form](card.compose([card.Run(hostile, audit())]))
    assert not re.search(r"(?<!\\)<img", text)
    if form == "md":
        assert "\\](javascript" in text and "\\`c\\`" in text
    assert "____ (the intended use: no run can know)" in text


def test_what_cannot_be_made_into_a_card(saved, capsys):
    with pytest.raises(InputError, match="no run is named"):
        card.compose([])
    other = audit(provenance={**PROVENANCE, "weights": "xyz"})
    with pytest.raises(InputError, match="run0 and run1 are of different networks"):
        answers(audit(), other)
    with pytest.raises(InputError, match="independent classes"):
        answers(joined({"a": ace(), "b": ace()}))
    assert command.main(["card", str(saved / "one"), "--format", "pdf"]) == 2
    assert "--format pdf" in capsys.readouterr().err
    assert command.main(["card", str(saved / "none")]) == 2


def test_it_is_written_where_it_is_asked_for(saved, capsys):
    out = saved / "card.html"
    assert command.main(["card", str(saved / "one"), "--out", str(out)]) == 0
    assert capsys.readouterr().out.strip() == str(out)
    page = out.read_text()
    assert page.count("<h2>") == len(card.QUESTIONS) and "Evidence on net" in page
