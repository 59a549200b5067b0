"""What decisions lose when their evidence, or a part of the image, is removed: estimates, tests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from conceptseg.stats.corrections import attainable, holm
from conceptseg.stats.intervals import bootstrap_interval, detectable_effect
from conceptseg.stats.mergeable.sample_table import SampleTable
from conceptseg.stats.p_values import Side, sign_flip_floor, sign_flip_p
from conceptseg.study.segnbdt.evidence import CONTEXT
from conceptseg.study.segnbdt.grown import Plan

if TYPE_CHECKING:
    from conceptseg.study.segnbdt.config import Segnbdt

ALPHA = 0.05
Rows = list[dict[str, Any]]
Measured = tuple[dict[str, Any], np.ndarray, Sequence[str]]
"""A row so far, a change of the margin in each image, and what each image counts as."""


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
    rows: list[Measured] = []
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
        rows.append((row, gone - random, units))
    return _tested(study, rows, "less")


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
    rows: list[Measured] = []
    for (edge, part), found in sorted(gathered.items()):
        number, branch = plan.tree.edges[edge]
        values, units = np.array([seen[1] for seen in found]), [seen[0] for seen in found]
        row = _branch(plan, number, branch, classes) | {
            "edge": edge,
            "part": "known context" if part == CONTEXT else classes[part],
            "images": len(found),
        }
        rows.append((row, values, units))
    return _tested(study, rows, "two")


def _branch(plan: Plan, number: int, branch: int, classes: tuple[str, ...]) -> dict[str, Any]:
    return {
        "node": number,
        "question": plan.tree.node_name(number, classes),
        "branch": plan.tree.branch_name(number, branch, classes),
    }


def _tested(study: Segnbdt, rows: Sequence[Measured], side: Side) -> Rows:
    """The rows with each mean change, its interval, and p, by Holm over those that can be shown.

    Few images cannot show a change however large: such rows have no p and do not count in the
    correction. `detectable` is the change that would have been shown, after correction.
    """
    floors = [sign_flip_floor(len(set(units)), side) for _, _, units in rows]
    able = attainable(floors, ALPHA)
    tests = max(1, int(able.sum()))
    level = ALPHA / tests / (2 if side == "two" else 1)
    done: Rows = []
    for (row, values, units), can in zip(rows, able, strict=True):
        low, high = bootstrap_interval(values, units, seed=study.seed)
        effect = {"effect": float(values.mean()), "effect_low": low, "effect_high": high}
        p = sign_flip_p(values, units, seed=study.seed, side=side, tests=tests) if can else None
        detectable = detectable_effect(values, units, level=level) if can else None
        done.append(row | effect | {"detectable": detectable, "p": p, "p_holm": None})
    tested = [row for row in done if row["p"] is not None]
    for row, p in zip(tested, holm([row["p"] for row in tested]), strict=True):
        row["p_holm"] = float(p)
    return done
