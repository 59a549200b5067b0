"""Many runs on one page: a card for each, and what those of one network say together."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from conceptseg.report.embedded import Run
from conceptseg.report.scripts import asset, environment, policy, script_text
from conceptseg.result.finding import Finding
from conceptseg.result.saved import Result

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

    A concern is of the classes that the verdict's sentence names, and of those with evidence that
    they lean on context.
    """
    about = {one.class_ for one in result.findings} | set(result.notes.get("classes", ()))
    if class_name not in about:
        return ""
    verdict = result.verdict
    if verdict is None:
        return "no verdict"
    if verdict.status != "concern":
        return verdict.status
    named = re.search(rf"(?<!\w){re.escape(class_name)}(?!\w)", verdict.sentence)
    leans = any(one.class_ == class_name and _of_context(one) for one in result.findings)
    return "concern" if named or leans else "none shown"


def _of_context(finding: Finding) -> bool:
    details = finding.details
    from_context = details.get("from_context") is True or isinstance(details.get("context"), str)
    return finding.standing == "evidence" and from_context


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
        f"{entry.run.result.study}: {cell}" + (f" ({_why(entry)})" if cell == "cannot tell" else "")
        for cell, entry in asked
        if cell != "concern"
    ]
    return text + (f" Not so: {'; '.join(others)}." if others else "")


def _why(entry: Entry) -> str:
    verdict = entry.run.result.verdict
    return "" if verdict is None else verdict.sentence.removesuffix(".")


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
