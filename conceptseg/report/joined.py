"""One report of several: of a network whose classes are independent, a part for each class."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from conceptseg.report import blocks
from conceptseg.report.blocks import Report
from conceptseg.report.told import Illustrate
from conceptseg.result.finding import Finding
from conceptseg.result.joined import anchor, parts_of, picture
from conceptseg.result.saved import Result

_OPAQUE = {"figure", "table"}
"""Fields that hold no picture and no id."""


def compose(result: Result, report: Callable[[Result], Report]) -> Report:
    """The report of a joined result: the sections that `report` makes of each part, in turn."""
    made = {name: report(part) for name, part in parts_of(result).items()}
    first = next(iter(made.values()))
    names = ", ".join(made)
    count = len(made)
    limits = dict.fromkeys(limit for one in made.values() for limit in one.limits)
    return dataclasses.replace(
        first,
        illustrate=_illustrated(result, made),
        lead="\n\n".join(
            [
                f"The network's {count} classes are independent: each is a yes or no of its own, "
                f"and a pixel may be of several or of none. {names} were studied one after the "
                "other, each against all that it is not.",
                *(f"{name}: {one.lead}" for name, one in made.items()),
            ]
        ),
        facts=[("Classes", names), *_facts(made)],
        sections=[
            _own(section, name, place)
            for place, (name, one) in enumerate(made.items())
            for section in one.sections
            if section is not None
        ],
        limits=[
            *limits,
            f"Corrected p-values of the findings above count all {count} classes together (each "
            f"is {count} times that within its class), and so do intervals that decide a finding. "
            "Those in the sections, and those of findings that a test decides, are of their own "
            "class alone.",
        ],
    )


def _illustrated(result: Result, made: Mapping[str, Report]) -> Illustrate:
    """The pictures of a finding as the report of its class chooses them."""
    parts = list(enumerate(parts_of(result).items()))

    def chosen(finding: Finding, card: Sequence[blocks.Picture]) -> Sequence[blocks.Picture]:
        for place, (name, part) in parts:
            choose = made[name].illustrate
            for own in part.findings if choose is not None else ():
                if choose is not None and finding.claim.startswith(f"{name}: {own.claim}"):
                    pictures = [_placed(one, name, place) for one in choose(own, ())]
                    return card or pictures
        return card

    return chosen


def _facts(made: Mapping[str, Report]) -> list[tuple[str, Any]]:
    """The facts of the covers: once where all agree, else for each class."""
    each = {name: dict(one.facts) for name, one in made.items()}
    found: list[tuple[str, Any]] = []
    for label in dict.fromkeys(label for one in each.values() for label in one):
        values = {name: one[label] for name, one in each.items() if label in one}
        same = len(values) == len(each) and len(set(map(str, values.values()))) == 1
        told = "; ".join(f"{name}: {value}" for name, value in values.items())
        found.append((label, next(iter(values.values())) if same else told))
    return found


def _own(section: blocks.Section, name: str, place: int) -> blocks.Section:
    """A section as that of one class: its title says so, its ids and pictures are its own."""
    owned: blocks.Section = _placed(section, name, place)
    return dataclasses.replace(owned, title=f"{name}: {section.title}")


def _placed(value: Any, name: str, place: int) -> Any:
    if isinstance(value, blocks.Picture):
        return dataclasses.replace(value, key=picture(place, value.key))
    if isinstance(value, list | tuple):
        return type(value)(_placed(one, name, place) for one in value)
    if not dataclasses.is_dataclass(value) or isinstance(value, type):
        return value
    changes: dict[str, Any] = {
        field.name: _placed(getattr(value, field.name), name, place)
        for field in dataclasses.fields(value)
        if field.name not in _OPAQUE
    }
    if changes.get("id"):
        changes["id"] = anchor(name, changes["id"])
    return dataclasses.replace(value, **changes)
