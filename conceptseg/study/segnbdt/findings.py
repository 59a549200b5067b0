"""What a SegNBDT study says in plain words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from conceptseg.result.finding import Finding
from conceptseg.study.segnbdt.grown import Plan
from conceptseg.study.segnbdt.tables import WORDS, Rows

ALPHA = 0.05
MOST = 3
MOST_PARTS = 5


def findings(rows: dict[str, Rows], notes: dict[str, Any], plan: Plan) -> list[Finding]:
    return [
        *_fidelity(rows["fidelity"], notes),
        *_wrong_nodes(rows["nodes"], notes),
        *_pairs(rows["confusions"], notes),
        *_evidence(rows["evidence"]),
        *_parts(rows["parts"]),
    ]


def passed(row: Mapping[str, Any]) -> bool:
    """Whether a change by removal is significant after correction."""
    return row["p_holm"] is not None and row["p_holm"] <= ALPHA


def _ci(row: dict[str, Any], name: str) -> tuple[float, float] | None:
    low, high = row[f"{name}_low"], row[f"{name}_high"]
    return None if low != low or high != high else (low, high)


def _fidelity(rows: Rows, notes: dict[str, Any]) -> list[Finding]:
    by = {row["decided_by"]: row for row in rows}
    hard = by[WORDS["hard"]]
    found = [
        Finding(
            claim=f"The tree made from {notes['kind']}, followed hard, agrees with the network at "
            f"{hard['agreement']:.1%} of the pixels; random binary trees agree at "
            f"{notes['null_mean']:.1%} on average.",
            effect=hard["agreement"],
            ci=_ci(hard, "agreement"),
            p=notes["p_random"],
            p_adjusted=notes["p_random"],
            n=notes["groups"],
            evidence="fidelity",
            details={"effect_name": "agreement with the network"},
        )
    ]
    for name in ("hard", "soft", "hard, tuned", "soft, tuned"):
        row = by.get(WORDS[name])
        if row is None or "change" not in row:
            continue
        ends = _ci(row, "change")
        verb = "costs" if row["change"] < 0 else "gains"
        if ends is None or ends[0] <= 0 <= ends[1]:
            verb = "was not shown to change the mIoU; measured:"
        size = f"{row['change']:+.3f}" if verb.endswith(":") else f"{abs(row['change']):.3f} mIoU"
        found.append(
            Finding(
                claim=f"Deciding by the {WORDS[name]} {verb} {size} "
                f"({by[WORDS['network']]['miou']:.3f} for the network, {row['miou']:.3f} for "
                "the tree).",
                effect=row["change"],
                ci=ends,
                n=notes["groups"],
                evidence="fidelity",
                details={"effect_name": "change of mIoU"},
            )
        )
    return found


def _wrong_nodes(rows: Rows, notes: dict[str, Any]) -> list[Finding]:
    wrong = sorted((r for r in rows if r["wrong_share"] > 0), key=lambda r: -r["wrong_share"])
    against = "wrong pixels" if notes["labelled"] else "departures from the network"
    found = [
        Finding(
            claim=f"{row['wrong_share']:.0%} of the tree's {against} go wrong first at node "
            f"{row['node']} (depth {row['depth']}): {row['question']}. Its own decision is right "
            f"at {row['accuracy']:.1%} of the pixels below it.",
            effect=row["wrong_share"],
            ci=_ci(row, "wrong_share"),
            n=notes["groups"],
            evidence=f"node-{row['node']}",
            details={"effect_name": "share of wrong pixels", "node": row["node"]},
        )
        for row in wrong[:MOST]
    ]
    own = [r for r in rows if r["network_wrong_share"] > 0] if notes["labelled"] else []
    own.sort(key=lambda r: -r["network_wrong_share"])
    found += [
        Finding(
            claim=f"{row['network_wrong_share']:.0%} of the network's own wrong pixels belong to "
            f"node {row['node']} (depth {row['depth']}), where the true path and that to the "
            f"network's class part: {row['question']}.",
            effect=row["network_wrong_share"],
            ci=_ci(row, "network_wrong_share"),
            n=notes["groups"],
            evidence=f"node-{row['node']}",
            details={"effect_name": "share of wrong pixels", "node": row["node"]},
        )
        for row in own[:MOST]
    ]
    return found


def _pairs(rows: Rows, notes: dict[str, Any]) -> list[Finding]:
    return [
        Finding(
            claim=f"{row['true_class']} is taken for {row['decided']}: {row['share']:.0%} of all "
            f"wrong pixels, in {row['images']} images; the paths part at node "
            f"{row['first_wrong_node']}, depth {row['depth']}.",
            class_=row["true_class"],
            effect=row["share"],
            ci=_ci(row, "share"),
            n=notes["groups"],
            evidence="wrong",
            details={"effect_name": "share of wrong pixels", "node": row["first_wrong_node"]},
        )
        for row in rows[:MOST]
    ]


def _evidence(rows: Rows) -> list[Finding]:
    """The branches whose evidence does, and (one sentence) whether any does not."""
    shown = sorted(filter(passed, rows), key=lambda r: r["effect"])
    return [
        Finding(
            claim=f"At node {row['node']} ({row['question']}) the decision for {row['branch']} "
            f"rests on its evidence: with it removed the margin changes by {row['removed']:+.2f}, "
            f"with as much removed elsewhere by {row['by_chance']:+.2f}.",
            effect=row["effect"],
            ci=_ci(row, "effect"),
            p=row["p"],
            p_adjusted=row["p_holm"],
            n=row["images"],
            evidence=f"node-{row['node']}",
            details={"effect_name": "change of margin beyond chance", "node": row["node"]},
        )
        for row in shown[:MOST]
    ]


def _parts(rows: Rows) -> list[Finding]:
    """What other parts of the image do to a decision: known context first of all."""
    shown = sorted(
        filter(passed, rows), key=lambda r: (r["part"] != "known context", -abs(r["effect"]))
    )
    return [
        Finding(
            claim=f"At node {row['node']} ({row['question']}) the decision for {row['branch']} "
            f"changes with {_part(row['part'])}, at other pixels: filling it moves the margin by "
            f"{row['effect']:+.2f}.",
            effect=row["effect"],
            ci=_ci(row, "effect"),
            p=row["p"],
            p_adjusted=row["p_holm"],
            n=row["images"],
            evidence="removal",
            details={"effect_name": "change of margin", "part": row["part"]},
        )
        for row in shown[:MOST_PARTS]
    ]


def _part(name: str) -> str:
    return "the context that the data set names" if name == "known context" else f"{name} regions"
