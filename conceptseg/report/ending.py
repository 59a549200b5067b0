"""What every report ends with: coverage, limits, how the network was read, provenance, words."""

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from conceptseg.errors import InputError
from conceptseg.report import blocks, examined
from conceptseg.result.saved import Result
from conceptseg.result.table import Table

WORDS = {
    "IoU": "Intersection over union, from 0 to 1: how much of what is predicted and what is true "
    "is the same. 1 is perfect, 0 has nothing in common.",
    "Dice": "Twice what is predicted and true, over both together; from 0 to 1, like IoU.",
    "95 % interval": "Where the number lies if the study were done on other such images: in 19 of "
    "20 such studies the interval holds it.",
    "corrected p": "A p-value that allows for all tests made together; at or below 0.05 it counts "
    "as evidence. Mostly it is how often chance alone would give as much in any of them; where it "
    "is by Benjamini & Hochberg, one in twenty of what is found is expected to be false.",
    "n": "How many images, groups or draws stand behind a number.",
    "group": "Images that are not independent, such as those of one patient or one drive.",
    "concept": "A kind of image region that a layer treats alike, or that somebody has drawn.",
    "unit, channel": "One of the numbers that a layer holds at each place.",
    "layer": "A stage within the network; what passes by it through skips is not seen there.",
    "margin": "The score of the class less that of the strongest other class.",
    "context": "What lies around an object, and is no part of it.",
    "shuffled weights": "The same network with its numbers mixed up, so that it has learnt "
    "nothing: what it shows comes by chance.",
    "AUC, AUROC": "How well two kinds are told apart, from 0.5 (not at all) to 1.",
    "detectable": "The smallest effect that the test would have shown in four of five such data "
    "sets.",
    "erasing, ablating": "Taking away from the layer what it holds of a concept, and running the "
    "rest of the network as it is.",
}
"""What the words of all reports mean."""


MEANT = {
    "weights": "SHA-256 of the network's numbers: another network, or one trained on, has another",
    "data": "SHA-256 of the images and masks that were read",
    "code": "SHA-256 of the program's source files",
    "configuration": "SHA-256 of the study's file, but for how it is run and called",
    "command": "what was typed",
    "inputs": "SHA-256 of other files that were read",
    "versions": "packages",
    "machine": "where it was computed",
    "passes": "how often the data were gone through",
    "seed": "of everything random",
}
"""What the rows of the provenance are, by the first part of their name."""


def sections(report: blocks.Report, result: Result) -> list[blocks.Section]:
    """The study's sections, then what every report ends with."""
    ends: list[blocks.Section | None] = [coverage(result)]
    if report.limits:
        limits = blocks.Notice("", level="limit", points=tuple(report.limits))
        ends.append(blocks.Section("limits", "Limits", "What this report cannot say.", [limits]))
    ends += [examined.section(result), provenance(result)]
    made = [section for section in (*report.sections, *ends) if section is not None]
    twice = [name for name, count in Counter(s.id for s in made).items() if count > 1]
    if twice or any(section.id in ("findings", "about", "words") for section in made):
        raise ValueError(f"the section id {(twice or ['findings'])[0]!r} is taken")
    return made


def cover(result: Result) -> list[tuple[str, str]]:
    """What the study's file says of the report itself: author, purpose, intended use."""
    given = result.config.get("cover") or {}
    if not isinstance(given, Mapping) or not all(isinstance(one, str) for one in given.values()):
        raise InputError("result.json: config.cover must hold texts; run the study again")
    return [(str(key).replace("_", " ").capitalize(), text) for key, text in given.items() if text]


def coverage(result: Result) -> blocks.Section:
    """What was skipped, by reason and one by one."""
    if not result.skipped:
        return blocks.Section("coverage", "Coverage and skipped samples", "Nothing was skipped.")
    reasons: Counter[str] = Counter()
    for entry in result.skipped:
        reasons[str(entry.get("reason", "no reason given"))] += int(entry.get("count", 1))
    rows = [{"reason": reason, "number": count} for reason, count in reasons.most_common()]
    columns = sorted(
        {column for entry in result.skipped for column in entry},
        key=lambda column: (column not in ("sample", "id"), column),
    )
    return blocks.Section(
        "coverage",
        "Coverage and skipped samples",
        f"Skipped entries: {sum(reasons.values())}. They count in no number of this report.",
        [
            blocks.TableBlock(Table(rows), "By reason"),
            blocks.TableBlock(Table(list(result.skipped), columns), "Each one", folded=True),
        ],
    )


def provenance(result: Result) -> blocks.Section:
    """Everything needed to compute the result again."""
    apart = ("examination", "worth")
    made_with = {key: value for key, value in result.provenance.items() if key not in apart}
    rows = [
        {"what": name, "value": value, "meaning": MEANT.get(name.partition(".")[0], "")}
        for name, value in _flat(made_with)
    ]
    times = [{"step": name, "value": value} for name, value in _flat(result.timings)]
    config = [{"key": name, "value": value} for name, value in _flat(result.config)]
    tables = [
        ("From what this was computed", rows, False),
        ("Configuration", config, True),
        ("Time taken", times, True),
    ]
    return blocks.Section(
        "provenance",
        "Provenance",
        "Everything needed to compute this again.",
        [
            blocks.TableBlock(Table(found), heading, limit=1000, folded=folded)
            for heading, found, folded in tables
            if found
        ],
    )


def _flat(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Leaves with their dotted names, by name: a saved mapping has no other order."""
    for key, value in sorted(tree.items(), key=lambda item: str(item[0])):
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
