"""An evidence card: what finished runs say to the questions that a model card has to answer.

It is made of results alone, and computes nothing: each number stands in a `result.json`, and the
card says where, as a JSON pointer (RFC 6901). What no run can know is left blank, and named.

The questions and their order follow the model card of FDA's draft guidance "Artificial
Intelligence-Enabled Device Software Functions" (January 2025) and Annex IV of Regulation (EU)
2024/1689: description, data, performance, groups, risks, limits, oversight, monitoring.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from typing import Any

from conceptseg.errors import InputError
from conceptseg.report.scripts import environment, policy
from conceptseg.result.finding import Finding
from conceptseg.result.joined import parts_of
from conceptseg.result.saved import Result
from conceptseg.result.wording import number, p_value

MOST = 12
"""Findings of a run that answer one question; the others are counted."""


@dataclass(frozen=True)
class Number:
    """A value, and where it stands: `run` and a JSON pointer into its `result.json`."""

    name: str
    value: Any
    run: str
    pointer: str


@dataclass(frozen=True)
class Line:
    """One piece of evidence in words, with its numbers, and what it cannot say."""

    text: str
    numbers: tuple[Number, ...] = ()
    limit: str = ""


@dataclass(frozen=True)
class Answer:
    """A question with what runs say to it; `blank` names what somebody has to fill in."""

    question: str
    lines: tuple[Line, ...] = ()
    blank: str = ""


@dataclass(frozen=True)
class Card:
    """All questions, of runs of one network."""

    title: str
    runs: tuple[str, ...]
    answers: tuple[Answer, ...] = field(default=())


@dataclass(frozen=True)
class Run:
    """A finished run: what it is called, and its result."""

    name: str
    result: Result

    @cached_property
    def content(self) -> dict[str, Any]:
        """What its `result.json` holds."""
        content: dict[str, Any] = json.loads(self.result.to_json())
        return content

    def at(self, name: str, *path: str | int) -> Number:
        """What stands in its `result.json` at a path; None where nothing does."""
        value: Any = self.content
        for step in path:
            known = isinstance(value, list) or (isinstance(value, dict) and step in value)
            value = value[step] if known else None
        pointer = "".join(f"/{str(step).replace('~', '~0').replace('/', '~1')}" for step in path)
        return Number(name, value, self.name, pointer)


def compose(runs: Sequence[Run]) -> Card:
    """The card of some runs. Raises InputError for none, for runs of several networks, and for one
    of a network whose classes are independent, whose parts are results of their own."""
    if not runs:
        raise InputError("no run is named; give the folders of finished runs")
    for run in runs:
        if parts_of(run.result):
            raise InputError(
                f"{run.name}: it joins the results of independent classes, one by one; run the "
                "study for one of them (model.positive_class) to have a card"
            )
    weights = {run.result.provenance.get("weights"): run for run in runs}
    if len(weights) > 1:
        one, other, *_ = weights.values()
        raise InputError(
            f"{one.name} and {other.name} are of different networks; a card is of one: make two"
        )
    answers = tuple(
        Answer(question, tuple(_known(line) for run in runs for line in asked(run)), blank)
        for question, asked, blank in QUESTIONS
    )
    name = runs[0].result.notes.get("model", "a network")
    return Card(f"Evidence on {name}", tuple(run.name for run in runs), answers)


def _known(line: Line) -> Line:
    """Without the numbers that the result does not have."""
    return replace(line, numbers=tuple(one for one in line.numbers if one.value is not None))


def _network(run: Run) -> Iterator[Line]:
    yield Line(
        f"{run.name}: {run.result.study} of a network",
        (
            run.at("network", "notes", "model"),
            run.at("weights from", "notes", "origin"),
            run.at("weights, SHA-256", "provenance", "weights"),
            run.at("layer", "provenance", "layer"),
        ),
    )


def _data(run: Run) -> Iterator[Line]:
    yield Line(
        f"{run.name}: images that were looked at",
        (
            run.at("data set", "notes", "manifest"),
            run.at("images", "notes", "images"),
            run.at("of", "notes", "images_given"),
            run.at("groups", "notes", "manifest_groups"),
            run.at("data, SHA-256", "provenance", "data"),
        ),
    )


def _performance(run: Run) -> Iterator[Line]:
    where = ("provenance", "examination", "verdicts", "masks")
    found = run.at("agreement with the masks", *where)
    if found.value is not None:
        yield Line(f"{run.name}: {found.value}", (found,), "On the few images of the examination.")
    for name, key in (("clean", "iou"), ("parts", "before")):
        table = run.result.tables.get(name)
        if table is None or key not in table.columns:
            continue
        for row, cells in list({line["class"]: i for i, line in enumerate(table.rows)}.items()):
            limit = "Within the margin around the class's region." if name == "parts" else ""
            iou = run.at("IoU", "tables", name, "rows", cells, key)
            yield Line(f"{row}: mean IoU", (iou,), limit)


def _groups(run: Run) -> Iterator[Line]:
    yield from _verdicts(run, lambda row: row["context"] in run.result.notes.get("unlocated", ()))


def _contexts(run: Run) -> Iterator[Line]:
    yield from _verdicts(
        run, lambda row: row["context"] not in run.result.notes.get("unlocated", ())
    )


def _verdicts(run: Run, wanted: Callable[[Mapping[str, Any]], bool]) -> Iterator[Line]:
    table = run.result.tables.get("verdicts")
    if run.result.study != "audit" or table is None:
        return
    for place, row in enumerate(table.rows):
        if wanted(row):
            where = ("tables", "verdicts", "rows", place)
            keys = ("effect", "low", "high", "p_adjusted", "detectable", "n")
            numbers = (run.at(key, *where, key) for key in ("verdict", *keys))
            yield Line(row["sentence"], tuple(numbers))


USES = (
    "ace",
    "dissect",
    "lcrp",
    "segnbdt",
    "actmax",
    "deepdream",
    "permutation",
    "ability",
    "examples",
    "landmarks",
    "counterfactual",
    "graph",
    "language",
    "prototypes",
)
"""Studies that say what the network uses."""


def _uses(run: Run) -> Iterator[Line]:
    if run.result.study in USES:
        yield from _findings(run, lambda one: not one.fault)


def _mistakes(run: Run) -> Iterator[Line]:
    yield from _findings(run, lambda one: one.fault)


def _quality(run: Run) -> Iterator[Line]:
    if run.result.study == "bottleneck":
        yield from _findings(run, lambda one: not one.fault)


def _explanations(run: Run) -> Iterator[Line]:
    if run.result.study in ("saliency", "noise"):
        yield from _findings(run, lambda one: not one.fault)


def _findings(run: Run, wanted: Callable[[Finding], bool]) -> Iterator[Line]:
    """Evidence and descriptions first, as a result has them; what was not shown is not told."""
    own = [
        (place, one)
        for place, one in enumerate(run.result.findings)
        if wanted(one) and one.standing in ("evidence", "description")
    ]
    for place, one in own[:MOST]:
        keys = ("effect", "ci", "p_adjusted", "n")
        numbers = (run.at(key, "findings", place, key) for key in keys)
        limit = "" if one.standing == "evidence" else "A description: nothing was tested."
        yield Line(one.claim, tuple(numbers), limit)
    if len(own) > MOST:
        yield Line(f"{run.name}: {len(own) - MOST} more findings")


def _open(run: Run) -> Iterator[Line]:
    where = ("provenance", "examination", "doubts")
    for place, doubt in enumerate(run.at("", *where).value or ()):
        text = f"{run.name}: doubt about {doubt['what']}: {doubt['found']}"
        yield Line(text, (run.at("doubt", *where, place, "found"),))
    reasons: dict[str, int] = {}
    for row in run.result.skipped:
        reasons[row["reason"]] = reasons.get(row["reason"], 0) + int(row.get("count", 1))
    for reason, count in reasons.items():
        yield Line(f"{run.name}: left out, {count} times: {reason}")
    blind = [one for one in run.result.findings if one.standing == "not testable"]
    if blind:
        yield Line(f"{run.name}: {len(blind)} claims could not be tested, whatever the effect")


def _made(run: Run) -> Iterator[Line]:
    yield Line(
        f"{run.name}: how it was computed",
        (
            run.at("command", "provenance", "command"),
            run.at("seed", "provenance", "seed"),
            run.at("conceptseg", "provenance", "versions", "conceptseg"),
            run.at("torch", "provenance", "versions", "torch"),
            run.at("configuration, SHA-256", "provenance", "configuration"),
            run.at("finished", "timings", "finished"),
        ),
    )


Asked = Callable[[Run], Iterator[Line]]


def _nothing(run: Run) -> Iterator[Line]:
    return iter(())


QUESTIONS: tuple[tuple[str, Asked, str], ...] = (
    ("Which network is this, in which version?", _network, "its architecture in words"),
    ("What is it for, who uses it, and on whom?", _nothing, "the intended use"),
    ("On which data was it developed?", _nothing, "training data: source, size, selection, labels"),
    ("On which data was it examined?", _data, "how these data were collected, and whom they show"),
    ("How well does it segment them?", _performance, "performance on an independent test set"),
    ("Does it differ between groups?", _groups, "groups that these data do not name"),
    ("Does it lean on context that it should not?", _contexts, "contexts that nobody named"),
    ("What does it use, and what can it not do without?", _uses, ""),
    ("Which mistakes does it make, and what brings them about?", _mistakes, "their harm"),
    ("Can a bad result be told without labels?", _quality, ""),
    ("How far can its explanations be believed?", _explanations, ""),
    ("What was not looked at, or is not decided?", _open, "known limits beyond these"),
    ("Who oversees it, and how?", _nothing, "measures of human oversight"),
    ("How is it monitored, and which changes are foreseen?", _nothing, "monitoring and changes"),
    ("How was all this computed?", _made, ""),
)
"""A question, what answers it, and what no run can know."""


def as_json(card: Card) -> str:
    return json.dumps(asdict(card), indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def as_html(card: Card) -> str:
    """One page without scripts; whatever names hold is escaped."""
    template = environment().get_template("card.html.j2")
    return template.render(card=card, policy=policy(()), told=told)


def as_markdown(card: Card) -> str:
    lines = [f"# {_plain(card.title)}", "", f"Runs: {_plain(', '.join(card.runs))}", ""]
    for answer in card.answers:
        lines += [f"## {answer.question}", ""]
        for line in answer.lines:
            limit = f" *{_plain(line.limit)}*" if line.limit else ""
            lines.append(f"- {_plain(line.text)}{limit}")
            lines += [f"  - {_plain(told(one))}" for one in line.numbers]
        if answer.blank:
            lines.append(f"- ____ ({answer.blank}: no run can know)")
        if not (answer.lines or answer.blank):
            lines.append("- No run was made that answers this.")
        lines.append("")
    return "\n".join(lines)


def told(one: Number) -> str:
    """A number with its name and where it stands."""
    shown = p_value(one.value) if one.name == "p_adjusted" else number(one.value)
    return f"{one.name.replace('_', ' ')}: {shown} ({one.run}/result.json#{one.pointer})"


def _plain(text: str) -> str:
    """A text as Markdown that means nothing but itself."""
    return "".join(f"\\{c}" if c in "\\`*_[]<>#|!" else c for c in " ".join(text.split()))


FORMATS: Mapping[str, Callable[[Card], str]] = {
    "html": as_html,
    "md": as_markdown,
    "json": as_json,
}
