"""A finished run as a tracker of experiments has it: parameters, numbers by name, and files.

Numbers have names that are the same in the next run, so that a tracker draws them over checkpoints:
the class, the thing and the effect that a finding is about (as :mod:`conceptseg.result.changes`
matches findings), never the number of a concept, which means nothing in another run.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from conceptseg.report.embedded import Run
from conceptseg.report.page import render
from conceptseg.result.changes import subjects

LONGEST = 240
"""Characters of a name; trackers take no longer ones."""


@dataclass(frozen=True)
class Tracked:
    """What a tracker is given of a run.

    `numbers` are finite: `concern` and `cannot tell` (0 or 1), `findings` and `evidence` (how many
    there are, and how many count as evidence), and of each thing that was found the largest effect,
    under "class/thing/effect". `files` maps a file's name to its bytes.
    """

    name: str
    study: str
    verdict: str
    sentence: str
    parameters: Mapping[str, str]
    numbers: Mapping[str, float]
    files: Mapping[str, bytes]

    @classmethod
    def of(cls, run: Run) -> Tracked:
        """The run's report is drawn from its result: a `report.html` may be anybody's."""
        result, verdict = run.result, run.result.verdict
        status = verdict.status if verdict else ""
        numbers: dict[str, float] = {
            "concern": float(status == "concern"),
            "cannot tell": float(status == "cannot tell"),
            "findings": float(len(result.findings)),
            "evidence": float(sum(one.standing == "evidence" for one in result.findings)),
        }
        for name, effect in subjects(result).items():
            if math.isfinite(effect):
                numbers.setdefault(plain_name(name), effect)
        known = {"digest": result.digest, "model": result.notes.get("model", "")}
        return cls(
            name=run.name,
            study=result.study,
            verdict=status,
            sentence=verdict.sentence if verdict else "",
            parameters={**known, **flat(result.config)},
            numbers=numbers,
            files={
                "report.html": render(run.report, result).encode(),
                "result.json": result.to_json().encode(),
            },
        )


def plain_name(text: str) -> str:
    """A name of the characters that every tracker takes, of at most :data:`LONGEST`."""
    fit = " ".join(re.sub(r"[^\w ./-]+", " ", text, flags=re.ASCII).split())
    return fit[:LONGEST].strip() or "unnamed"


def flat(content: Any, start: str = "") -> dict[str, str]:
    """Nested settings by dotted keys: {"a": {"b": 1}} -> {"a.b": "1"}; lists stay whole."""
    if not isinstance(content, Mapping):
        return {start: str(content)}
    found: dict[str, str] = {}
    for key, value in content.items():
        found |= flat(value, f"{start}.{key}" if start else str(key))
    return found
