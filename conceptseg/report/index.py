"""Many runs on one page: a card for each, and what those of one network say together."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from conceptseg.report.charts import Row
from conceptseg.report.embedded import Run
from conceptseg.report.scripts import asset, environment, policy, script_text
from conceptseg.result.finding import Finding
from conceptseg.result.saved import Result

BLIND = ("underpowered", "not testable", "cannot be told")
"""Verdicts of a row that could hardly have shown anything."""
SHOWN = ("confirmed", "behaviour only")
"""Verdicts of a row that are a concern by themselves."""
WORDS = {"concern": "!", "none shown": "✓", "cannot tell": "?", "no verdict": "–"}
"""The verdict of a run, and the mark beside it."""


@dataclass(frozen=True)
class Entry:
    """A run with where its report lies, relative to the page."""

    run: Run
    link: str

    @property
    def status(self) -> str:
        verdict = self.run.result.verdict
        return "no verdict" if verdict is None else verdict.status


@dataclass(frozen=True)
class Together:
    """What runs of the same weights say: class by run, and of each class a sentence. `heads` are
    the runs' studies, with their data where these differ."""

    title: str
    entries: tuple[Entry, ...]
    heads: tuple[str, ...]
    rows: tuple[tuple[str, tuple[str, ...], str], ...]


def together(entries: Sequence[Entry]) -> list[Together]:
    """The tables of all networks of which there are several runs."""
    groups: dict[str, list[Entry]] = {}
    for one in entries:
        weights = one.run.result.provenance.get("weights")
        if isinstance(weights, str):
            groups.setdefault(weights, []).append(one)
    return [_table(group) for group in groups.values() if len(group) > 1]


def says(result: Result, class_name: str) -> str:
    """What a run says of a class: concern, none shown, cannot tell; "" if it is not about it.

    A concern is of the classes whose own rows or findings raise it, and of those that the verdict's
    sentence names. Of a class most of whose rows could hardly have shown anything, a run cannot
    tell; nor of any, where its concern is of none.
    """
    about = {one.class_ for one in result.findings} | set(result.notes.get("classes", ()))
    if class_name not in about:
        return ""
    verdict = result.verdict
    if verdict is None:
        return "no verdict"
    every = _judged(result)
    rows = [row for row in every if row["class"] == class_name]
    if verdict.status == "concern" and _raised(result, class_name, every):
        return "concern"
    blind = sum(_blind(row) for row in rows)
    if verdict.status == "cannot tell" or 2 * blind > len(rows) or (every and not rows):
        return "cannot tell"
    of_classes = every or any(one.class_ is not None for one in result.findings)
    named = any(_names(verdict.sentence, str(one)) for one in about)
    return "none shown" if verdict.status == "none shown" or of_classes or named else "cannot tell"


def _judged(result: Result) -> list[Row]:
    """The rows that judge a class, each thing that is judged once: several tables may show it.

    Where rows say whether they are of context, those alone are what the verdict asks about.
    """
    tables = [one for one in result.tables.values() if {"class", "verdict"} <= {*one.columns}]
    if any("of_context" in one.columns for one in tables):
        tables = [one.where(lambda row: row.get("of_context")) for one in tables]
    found: dict[str, Row] = {}
    for row in (row for one in tables for row in one.rows):
        of = [row.get(key) for key in ("class", "context", "concept", "unit", "atom")]
        found.setdefault(repr(of), row)
    return list(found.values())


def _blind(row: Row) -> bool:
    """Whether a row could hardly have shown anything, or leaves open where a use acts from."""
    still_open = row.get("used") and row.get("from_context", False) is None
    return row.get("verdict") in BLIND or bool(still_open)


def _raised(result: Result, class_name: str, every: Sequence[Row]) -> bool:
    """Whether a run's concern is of a class. Rows that raise one by themselves say all of it; else
    the verdict's sentence does, which names some classes and counts the others."""
    rows = [row for row in every if row["class"] == class_name]
    own = [one for one in result.findings if one.class_ == class_name]
    own = [one for one in own if one.standing == "evidence"]
    if any(_raises(row) or row.get("acts") for row in rows):
        return True
    if any(_leans(one) or _misled(one, result) for one in own):
        return True
    sentence = "" if result.verdict is None else result.verdict.sentence
    if any(_raises(row) for row in every):
        return False
    errs = any(_errs(one) for one in own)
    if any(one.details.get("region") == class_name for one in result.findings):
        return errs  # the sentence may name it as what lies around another class
    return _names(sentence, class_name) or (errs and bool(re.search(r" and \d+ more\b", sentence)))


def _raises(row: Row) -> bool:
    """Whether a row is a concern by itself."""
    context = row.get("from_context") or row.get("of_context")
    return bool(row.get("used") and context) or row.get("verdict") in SHOWN


def _leans(finding: Finding) -> bool:
    """Whether evidence says that a class leans on context."""
    details = finding.details
    context = isinstance(details.get("context"), str) and details.get("verdict", SHOWN[0]) in SHOWN
    return details.get("from_context") is True or context


def _misled(finding: Finding, result: Result) -> bool:
    """Whether evidence is of mistakes that come from what the user has drawn."""
    drawn = finding.details.get("concept") in (result.config.get("masks") or ())
    return finding.fault and finding.details.get("caused") is True and drawn


def _errs(finding: Finding) -> bool:
    """Whether evidence is of mistakes, or of what lies around a class, without a row that says so.

    Mistakes that lie on a concept are a concern only where that was drawn (:func:`_misled`)."""
    fault = finding.fault and "caused" not in finding.details
    return fault or finding.details.get("own") is False


def _names(sentence: str, name: str) -> bool:
    """Whether a sentence names a class; "the background" is a word of its own, and no class."""
    return bool(re.search(rf"(?<!\w)(?<!the ){re.escape(name)}(?!\w)", sentence))


def _table(entries: Sequence[Entry]) -> Together:
    results = [one.run.result for one in entries]
    classes: dict[str, None] = {}
    for result in results:
        classes |= dict.fromkeys(map(str, result.notes.get("classes", ())))
    rows = []
    for name in classes:
        cells = tuple(says(result, name) for result in results)
        if any(cells):
            rows.append((name, cells, _sentence(name, cells, entries)))
    rows.sort(key=lambda row: (-row[1].count("concern"), row[0]))
    sets = [str(result.notes.get("manifest", "")) for result in results]
    several = len(set(sets)) > 1
    heads = [
        f"{result.study} on {name}" if several else result.study
        for result, name in zip(results, sets, strict=True)
    ]
    title = str(results[0].notes.get("model", "a network"))
    title += "" if several else f" on {sets[0]}"
    return Together(title, tuple(entries), tuple(heads), tuple(rows))


def _sentence(name: str, cells: Sequence[str], entries: Sequence[Entry]) -> str:
    """What the studies say together of a class; where they disagree, what the others say."""
    asked = [(cell, entry) for cell, entry in zip(cells, entries, strict=True) if cell]
    raised = [entry.run.result.study for cell, entry in asked if cell == "concern"]
    if not raised:
        return f"None of {len(asked)} runs raises a concern."
    text = f"{len(raised)} of {len(asked)} runs raise a concern on {name}: {', '.join(raised)}."
    others = [
        f"{entry.run.result.study}: {cell}"
        + (f" ({_why(entry.run.result)})" if cell == "cannot tell" else "")
        for cell, entry in asked
        if cell != "concern"
    ]
    return text + (f" Not so: {'; '.join(others)}." if others else "")


def _why(result: Result) -> str:
    """Why a run cannot tell of a class: its own sentence, unless that is of other classes."""
    verdict = result.verdict
    if verdict is None:
        return ""
    if verdict.status != "cannot tell" and _judged(result):
        return "little could have been shown of this class"
    beside = "" if verdict.status == "cannot tell" else "it is of no class by name: "
    return beside + verdict.sentence.removesuffix(".")


def as_html(entries: Sequence[Entry], remarks: Sequence[str]) -> str:
    """One page; its script, which filters, is its own, and whatever names hold is escaped."""
    cards = []
    for one in entries:
        result = one.run.result
        first = next(iter(result.findings), None)
        pictures = (one.run.pictures(finding, 1) for finding in result.findings[:6])
        cards.append(
            {
                "it": one,
                "study": result.study,
                "verdict": result.verdict,
                "mark": WORDS[one.status],
                "claim": "" if first is None else first.plain or first.claim,
                "picture": next((found[0] for found in pictures if found), None),
                "network": str(result.notes.get("model", "")),
                "data": str(result.notes.get("manifest", "")),
                "weights": str(result.provenance.get("weights") or "")[:10],
                "finished": result.finished[:16].replace("T", " "),
            }
        )
    script = script_text(asset("index.js"))
    return (
        environment()
        .get_template("index.html.j2")
        .render(
            cards=cards,
            together=together(entries),
            marks=WORDS,
            remarks=remarks,
            script=_markup(script),
            policy=policy((script,)),
        )
    )


def _markup(script: str) -> Any:
    from markupsafe import Markup

    return Markup(script)
