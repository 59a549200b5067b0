"""What two results of one study say differently: findings that are new, gone, grown or shrunk.

"Gone" is said only where the difference itself is sure, or where so large an effect would have been
shown. What was shown and is not any more, while the numbers may be the same, is "no longer shown":
that is no sign of a change.

A finding of one result is matched with that of the other about the same class, the same effect and
the same thing: whatever its `details` name in words, or by yes and no, such as `context: brick` and
`from_context: true`. Of several that agree in all this, as concepts do, whose numbers mean nothing
in another run, the largest is matched with the largest.

What the other result holds of such a thing is looked up where it is no evidence: in its findings,
and in its tables. That nothing was shown is an answer if it was measured, and none if it was not
looked at.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from conceptseg.errors import InputError, few
from conceptseg.result.columns import as_number
from conceptseg.result.encoding import plain
from conceptseg.result.finding import Finding
from conceptseg.result.saved import Result

Status = Literal[
    "new",
    "turned",
    "grown",
    "gone",
    "shrunk",
    "no longer shown",
    "not looked at",
    "no clear change",
]
STATUSES: tuple[Status, ...] = get_args(Status)
"""In the order in which they are told."""
_OUTCOMES = {"effect_name", "verdict", "standing", "label", "fit", "conclusion", "caused"}
"""Details that say what was found, and not of what."""
_NUMBERED = ("unit", "node")
"""Details that name a thing by its number, which is the same thing in the same network alone."""


@dataclass(frozen=True)
class Measured:
    """An effect with its interval; nan where there is none."""

    value: float
    low: float = math.nan
    high: float = math.nan

    @property
    def known(self) -> bool:
        return math.isfinite(self.low) and math.isfinite(self.high)


@dataclass(frozen=True)
class Change:
    """One thing that either result found. `difference` is the second effect less the first."""

    status: Status
    class_name: str | None
    thing: str
    effect_name: str
    before: Measured | None
    after: Measured | None
    difference: Measured | None
    findings: tuple[Finding | None, Finding | None]

    @property
    def name(self) -> str:
        """What it is about, in words: "digit 3 from context"."""
        words = " ".join(filter(None, (self.class_name, self.thing)))
        return words or self.effect_name

    @property
    def sentence(self) -> str:
        """The change in a line, numbers last: "digit 3 from context: gone (...)"."""
        told = [f"{self.effect_name}: {_told(self.before)}, then {_told(self.after)}"]
        if self.difference is not None:
            told.append(f"difference {_told(self.difference)}")
        return f"{self.name}: {self.status} ({'; '.join(told)})"


@dataclass(frozen=True)
class Comparison:
    """All changes, and what differs between the runs beside the network, in words."""

    study: str
    changes: tuple[Change, ...]
    remarks: tuple[str, ...]


def compare(before: Result, after: Result) -> Comparison:
    """The changes from one result to another of the same study.

    Only what counts as evidence in either is compared. Raises InputError for results of different
    studies.
    """
    if before.study != after.study:
        raise InputError(
            f"the runs are of {before.study} and of {after.study}; compare runs of one study"
        )
    same = _weights(before) == _weights(after)
    sides = [_by_subject(result, same) for result in (before, after)]
    found: list[Change] = []
    for subject in dict.fromkeys([*sides[0], *sides[1]]):
        first, second = (side.get(subject, []) for side in sides)
        for place in range(max(len(first), len(second))):
            one = first[place] if place < len(first) else None
            other = second[place] if place < len(second) else None
            found.append(_change(subject, one, other, before, after))
    found.sort(key=lambda one: (STATUSES.index(one.status), -_size(one)))
    return Comparison(before.study, tuple(found), tuple(_remarks(before, after)))


def subjects(result: Result) -> dict[str, float]:
    """What a result holds evidence of, by a name that is the same in the next run, and its effect:
    "class/thing/effect", of several that are called so the largest."""
    found = {}
    for (class_name, name, fault, details), own in _by_subject(result, False).items():
        words = (class_name, _thing(details), f"{name} (mistakes)" if fault else name)
        found["/".join(filter(None, words))] = float(own[0].effect or 0.0)
    return found


Subject = tuple[str | None, str, bool, tuple[tuple[str, Any], ...]]
"""Class, what the effect is, whether it is a mistake, and the details that name a thing."""


def _by_subject(result: Result, numbered: bool) -> dict[Subject, list[Finding]]:
    """What is evidence by what it is about, the largest first."""
    found: dict[Subject, list[Finding]] = defaultdict(list)
    for one in result.findings:
        if one.standing == "evidence" and one.effect is not None:
            found[_subject(one, numbered)].append(one)
    for each in found.values():
        each.sort(key=lambda one: -abs((one.effect or 0.0) - one.null))
    return found


def _subject(finding: Finding, numbered: bool) -> Subject:
    named = {
        key: value
        for key, value in finding.details.items()
        if key not in _OUTCOMES
        and (
            isinstance(value, bool)
            or (isinstance(value, str) and not any(c.isdigit() for c in value))
            or (numbered and key in _NUMBERED)
        )
    }
    name = str(finding.details.get("effect_name", "effect"))
    return finding.class_, name, finding.fault, tuple(sorted(named.items()))


def _change(
    subject: Subject, one: Finding | None, other: Finding | None, before: Result, after: Result
) -> Change:
    class_name, name, _, details = subject
    sides = [
        _of(finding) if finding is not None else _looked_up(result, subject)
        for finding, result in ((one, before), (other, after))
    ]
    first, second = sides
    difference = _difference(first, second) if first and second else None
    known = one or other
    assert known is not None
    return Change(
        _status(one, other, first, second, known.null, difference, before, after),
        class_name,
        _thing(details),
        name,
        first,
        second,
        difference,
        (one, other),
    )


def _status(
    one: Finding | None,
    other: Finding | None,
    first: Measured | None,
    second: Measured | None,
    null: float,
    difference: Measured | None,
    before: Result,
    after: Result,
) -> Status:
    if one is None or other is None:
        finding, missing, result = (other, first, before) if one is None else (one, second, after)
        assert finding is not None
        if missing is None and not _looked_at(result, finding.class_):
            return "not looked at"
        if one is None:
            return "new"
        less = first is not None and _moved(difference) * (first.value - null) < 0
        if second is None and first is not None:
            less = _would_be_shown(first, null, after, finding.class_)
        return "gone" if less else "no longer shown"
    assert first is not None and second is not None
    if (first.value - null) * (second.value - null) < 0:
        return "turned"
    if not _moved(difference):
        return "no clear change"
    return "grown" if _moved(difference) * (first.value - null) > 0 else "shrunk"


def _moved(difference: Measured | None) -> float:
    """A difference whose interval excludes 0; else 0."""
    if difference is None or not difference.known or difference.low <= 0 <= difference.high:
        return 0.0
    return difference.value


def _would_be_shown(one: Measured, null: float, result: Result, class_name: str | None) -> bool:
    """Whether a result would have shown of a class even the least that an effect may be: more than
    the largest of what it calls detectable there."""
    if not one.known or one.low <= null <= one.high:
        return False
    least = min(abs(one.low - null), abs(one.high - null))
    known = [
        as_number(row["detectable"])
        for table in result.tables.values()
        if {"class", "detectable"} <= set(table.columns)
        for row in table.rows
        if row["class"] == class_name
    ]
    return bool(known) and all(limit < least for limit in known)


def _of(finding: Finding) -> Measured:
    assert finding.effect is not None
    return Measured(finding.effect, *(finding.ci or ()))


def _difference(first: Measured, second: Measured) -> Measured:
    """Second less first, with the interval of two independent estimates from theirs.

    MOVER (Zou & Donner 2008): its ends lie sqrt((x - l)^2 + (u' - y)^2) apart from the difference.
    Two runs on the same images are not independent, which makes it too wide rather than too narrow
    where they react alike.
    """
    value = second.value - first.value
    if not (first.known and second.known):
        return Measured(value)
    below = math.hypot(second.value - second.low, first.high - first.value)
    above = math.hypot(second.high - second.value, first.value - first.low)
    return Measured(value, value - below, value + above)


def _looked_up(result: Result, subject: Subject) -> Measured | None:
    """An effect that is no evidence in a result: of a finding about it, or of a table's row."""
    class_name, _, _, details = subject
    numbered = any(key in _NUMBERED for key, _ in details)
    for one in result.findings:
        measured = one.standing != "evidence" and one.effect is not None
        if measured and _subject(one, numbered) == subject:
            return _of(one)
    words = {key: value for key, value in details if isinstance(value, str)}
    wanted = {**words, "class": class_name}
    for table in result.tables.values():
        if not words or not {*wanted, "effect", "low", "high"} <= set(table.columns):
            continue
        for row in table.rows:
            if all(row.get(key) == value for key, value in wanted.items()):
                cells = [as_number(row.get(key)) for key in ("effect", "low", "high")]
                return Measured(*cells) if math.isfinite(cells[0]) else None
    return None


def _looked_at(result: Result, class_name: str | None) -> bool:
    """Whether a result is about a class at all: it stands in its tables or findings."""
    if class_name is None:
        return True
    if any(one.class_ == class_name for one in result.findings):
        return True
    return any(
        row.get("class") == class_name
        for table in result.tables.values()
        if "class" in table.columns
        for row in table.rows
    )


def _thing(details: Sequence[tuple[str, Any]]) -> str:
    """The details that name a thing, in words."""
    told = []
    for key, value in details:
        words = key.replace("_", " ")
        if isinstance(value, bool):
            told.append(words if value else f"not {words}")
        else:
            told.append(f"{words} {value}")
    return ", ".join(told)


def _size(change: Change) -> float:
    one = change.difference or change.after or change.before
    return 0.0 if one is None else abs(one.value)


def _told(one: Measured | None) -> str:
    if one is None:
        return "not shown"
    ends = f" [{one.low:+.3f}, {one.high:+.3f}]" if one.known else ""
    return f"{one.value:+.3f}{ends}"


def _weights(result: Result) -> Any:
    return result.provenance.get("weights")


def _remarks(before: Result, after: Result) -> Iterator[str]:
    """What else differs than the network: then a change may come of that."""
    if before.provenance.get("data") != after.provenance.get("data"):
        yield "The runs looked at different data; a change may come of that."
    one, other = (dict(_flat(plain(_asked(result)))) for result in (before, after))
    keys = sorted(key for key in one.keys() | other.keys() if one.get(key) != other.get(key))
    if keys:
        yield f"The configurations differ beside the network: {few(keys, 6)}."
    if before.provenance.get("layer") != after.provenance.get("layer"):
        layers = [str(result.provenance.get("layer")) for result in (before, after)]
        yield f"The runs looked at different layers: {layers[0]} and {layers[1]}."
    if _weights(before) == _weights(after) and _weights(before) is not None:
        yield "Both runs are of the same weights."


def _asked(result: Result) -> dict[str, Any]:
    return {key: one for key, one in result.config.items() if key not in ("model", "run")}


def _flat(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in tree.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
