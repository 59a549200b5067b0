"""Answers as a JUnit file, which pipelines show beside their tests."""

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from xml.etree import ElementTree

_NO_CHARACTER = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


@dataclass(frozen=True)
class Case:
    """One thing that was asked: what about, the word of its answer, and a sentence that says it."""

    name: str
    answer: str
    sentence: str


def failing(cases: Sequence[Case], fail_on: Collection[str]) -> list[Case]:
    """The cases whose answer is among those that are asked about."""
    return [one for one in cases if one.answer in fail_on]


def document(suite: str, cases: Sequence[Case], fail_on: Collection[str]) -> str:
    """The text of a JUnit file: a case fails if its answer is in `fail_on`."""
    bad = failing(cases, fail_on)
    counts = {"tests": str(len(cases)), "failures": str(len(bad)), "errors": "0", "skipped": "0"}
    root = ElementTree.Element("testsuites", counts)
    one_suite = ElementTree.SubElement(root, "testsuite", {"name": _text(suite), **counts})
    for case in cases:
        about = {"name": _text(case.name), "classname": _text(suite), "time": "0"}
        element = ElementTree.SubElement(one_suite, "testcase", about)
        if case in bad:
            told = {"message": _text(case.sentence), "type": case.answer}
            ElementTree.SubElement(element, "failure", told)
        else:
            ElementTree.SubElement(element, "system-out").text = _text(case.sentence)
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def _text(text: str) -> str:
    """Without what XML 1.0 cannot hold (its production 2, Char)."""
    return _NO_CHARACTER.sub("\ufffd", text)
