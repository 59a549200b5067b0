"""What decisions lose when their evidence, or a part of the image, is removed: estimates, tests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from conceptseg.segnbdt.evidence import CONTEXT
from conceptseg.segnbdt.plan import Plan
from conceptseg.significance import bootstrap_interval, detectable_effect, holm, sign_flip_p
from conceptseg.stats.sample_table import SampleTable

if TYPE_CHECKING:
    from conceptseg.study.segnbdt import Segnbdt

LEAST = 5
Rows = list[dict[str, Any]]


def evidence_rows(
    study: Segnbdt,
    plan: Plan,
    table: SampleTable,
    groups: Mapping[str, str],
    classes: tuple[str, ...],
) -> Rows:
    """Per branch that enough images take: its margin, and how it changes with the evidence gone.

    `effect`: change when the evidence is removed minus the mean change when its shape is removed
    elsewhere; negative where the map shows what the decision rests on.
    """
    gathered: dict[int, list[tuple[str, float, float, float]]] = {}
    for sample_id in table.ids:
        one = table.tables[sample_id]
        for edge, margin, gone in zip(one["edge"], one["margin"], one["removed"], strict=True):
            if np.isfinite(gone).all():
                seen = (groups[sample_id], float(margin), float(gone[0]), float(gone[1:].mean()))
                gathered.setdefault(int(edge), []).append(seen)
    rows = []
    for edge, found in sorted(gathered.items()):
        number, branch = plan.tree.edges[edge]
        units = [seen[0] for seen in found]
        margin, gone, random = (np.array(values) for values in list(zip(*found, strict=True))[1:])
        row = _branch(plan, number, branch, classes) | {
            "edge": edge,
            "images": len(found),
            "margin": float(margin.mean()),
            "removed": float(gone.mean()),
            "by_chance": float(random.mean()),
        }
        rows.append(row | _effect(study, gone - random, units, "less"))
    return _corrected(rows)


def part_rows(
    study: Segnbdt,
    plan: Plan,
    table: SampleTable,
    groups: Mapping[str, str],
    classes: tuple[str, ...],
) -> Rows:
    """Per branch and removed part: the change of the branch's margin at its remaining pixels."""
    gathered: dict[tuple[int, int], list[tuple[str, float]]] = {}
    for sample_id in table.ids:
        one = table.tables[sample_id]
        for part, *changes in one["parts"].tolist():
            for edge, change in zip(one["edge"], changes, strict=True):
                if np.isfinite(change):
                    key = (int(edge), int(part))
                    gathered.setdefault(key, []).append((groups[sample_id], float(change)))
    rows = []
    for (edge, part), found in sorted(gathered.items()):
        number, branch = plan.tree.edges[edge]
        values, units = np.array([seen[1] for seen in found]), [seen[0] for seen in found]
        row = _branch(plan, number, branch, classes) | {
            "edge": edge,
            "part": "known context" if part == CONTEXT else classes[part],
            "images": len(found),
        }
        rows.append(row | _effect(study, values, units, "two"))
    return _corrected(rows)


def _branch(plan: Plan, number: int, branch: int, classes: tuple[str, ...]) -> dict[str, Any]:
    return {
        "node": number,
        "question": plan.tree.node_name(number, classes),
        "branch": plan.tree.branch_name(number, branch, classes),
    }


def _effect(
    study: Segnbdt, values: np.ndarray, units: Sequence[str], side: str
) -> dict[str, float | None]:
    """Mean with interval and p; no test for fewer than `LEAST` units."""
    low, high = bootstrap_interval(values, units, seed=study.seed)
    enough = len(set(units)) >= LEAST
    return {
        "effect": float(values.mean()),
        "effect_low": low,
        "effect_high": high,
        "detectable": detectable_effect(values, units),
        "p": sign_flip_p(values, units, seed=study.seed, side=side) if enough else None,
    }


def _corrected(rows: Rows) -> Rows:
    """The rows with Holm's correction over those that were tested."""
    tested = [row for row in rows if row["p"] is not None]
    for row in rows:
        row["p_holm"] = None
    for row, p in zip(tested, holm([row["p"] for row in tested]), strict=True):
        row["p_holm"] = float(p)
    return rows
