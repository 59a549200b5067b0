"""What a SegNBDT study says in plain words."""

from collections.abc import Mapping, Sequence
from typing import Any

from conceptseg.result.columns import Column
from conceptseg.result.finding import Finding
from conceptseg.result.table import Table
from conceptseg.stats.estimate import Estimate
from conceptseg.stats.family import given
from conceptseg.study.segnbdt.columns import (
    AGREEMENT,
    CHANGE,
    CONCEPT,
    KNOWN,
    NETWORK_WRONG,
    SHARE,
    WORDS,
    WRONG,
    given_first,
)
from conceptseg.study.segnbdt.removal import Removals

Row = Mapping[str, Any]
Rows = Sequence[Row]
LOST = 0.1
"""Loss of mIoU from which deciding by the tree says little of the network."""
MOST = 3
MOST_PARTS = 5


def findings(
    tables: Mapping[str, Table], removals: Removals, notes: dict[str, Any]
) -> list[Finding]:
    return [
        *_fidelity(tables["fidelity"].rows, notes),
        *_wrong_nodes(tables["nodes"].rows, notes),
        *_pairs(tables["confusions"].rows, notes),
        *evidence_findings(removals),
        *part_findings(removals),
    ]


def _estimate(row: Row, column: Column, notes: dict[str, Any]) -> Estimate:
    """A number of a row with its interval; all judged images, or their groups, are behind it."""
    value, low, high = (row[key] for key in column.keys)
    return Estimate(value, low, high, notes["groups"], f"{notes['unit']}s")


def _fidelity(rows: Rows, notes: dict[str, Any]) -> list[Finding]:
    by = {row["decided_by"]: row for row in rows}
    hard, trees = by[WORDS["hard"]], notes["random_trees"]
    test = given([notes["p_random"]], 1 / (1 + trees), n=trees, of="random trees")[0]
    claims = [
        Finding.about(
            f"The tree made from {notes['kind']}, followed hard, agrees with the network at "
            f"{hard['agreement']:.1%} of the pixels; random binary trees agree at "
            f"{notes['null_mean']:.1%} on average.",
            _estimate(hard, AGREEMENT, notes),
            test,
            plain="The tree was not shown to read the network better than random trees do."
            if not test.passed
            else "The tree reads the network better than random trees do.",
            warning=not test.passed,
            evidence="fidelity",
            effect_name="agreement with the network",
        )
    ]
    for name in ("hard", "soft", "hard, tuned", "soft, tuned"):
        row = by.get(WORDS[name])
        if row is None or "change" not in row:
            continue
        change = _estimate(row, CHANGE, notes)
        effect = f"{'costs' if change.value < 0 else 'gains'} {abs(change.value):.3f} mIoU"
        if not change.excludes(0):
            effect = f"was not shown to change the mIoU; measured: {change.value:+.3f}"
        claims.append(
            Finding.about(
                f"Deciding by the {WORDS[name]} {effect} ({by[WORDS['network']]['miou']:.3f} for "
                f"the network, {row['miou']:.3f} for the tree).",
                change,
                null=0.0,
                plain=f"Deciding by the {WORDS[name]} "
                + (
                    ("costs accuracy." if change.value < 0 else "gains accuracy.")
                    if change.excludes(0)
                    else "was not shown to change the accuracy."
                ),
                warning=change.value < -LOST and change.excludes(0),
                evidence="fidelity",
                effect_name="change of mIoU",
            )
        )
    return claims


def _wrong_nodes(rows: Rows, notes: dict[str, Any]) -> list[Finding]:
    against = "wrong pixels" if notes["labelled"] else "departures from the network"

    def by_tree(row: Row) -> str:
        return (
            f"{row['wrong_share']:.0%} of the tree's {against} go wrong first at node "
            f"{row['node']} (depth {row['depth']}): {row['question']}. Its own decision is right "
            f"at {row['accuracy']:.1%} of the pixels below it."
        )

    def by_network(row: Row) -> str:
        return (
            f"{row['network_wrong_share']:.0%} of the network's own wrong pixels belong to "
            f"node {row['node']} (depth {row['depth']}), where the true path and that to the "
            f"network's class part: {row['question']}."
        )

    deciders = [(WRONG, by_tree), (NETWORK_WRONG, by_network)]
    return [
        Finding.about(
            claim(row),
            _estimate(row, column, notes),
            plain=f"{'The tree' if column is WRONG else 'The network'} goes wrong at node "
            f"{row['node']} in {row[column.key]:.0%} of {against}: {row['question']}.",
            evidence=f"node-{row['node']}",
            effect_name="share of wrong pixels",
            node=row["node"],
        )
        for column, claim in deciders[: 2 if notes["labelled"] else 1]
        for row in sorted(rows, key=lambda row: -row[column.key])[:MOST]
        if row[column.key] > 0
    ]


def _pairs(rows: Rows, notes: dict[str, Any]) -> list[Finding]:
    def by_network(row: Row) -> str:
        """What the network itself does, where that is known: without labels it is what is asked."""
        if not notes["labelled"]:
            return ""
        return f" The network itself does so at {row['pixels_network']} pixels."

    return [
        Finding.about(
            f"The tree takes {row['true_class']} for {row['decided']}: {row['share']:.0%} of its "
            f"wrong pixels ({row['pixels']}), in {row['images']} images; the paths part at node "
            f"{row['first_wrong_node']}, depth {row['depth']}.{by_network(row)}",
            _estimate(row, SHARE, notes),
            plain=f"The tree takes {row['true_class']} for {row['decided']}.",
            evidence="wrong",
            class_name=row["true_class"],
            effect_name="share of wrong pixels",
            node=row["first_wrong_node"],
        )
        for row in rows[:MOST]
    ]


def evidence_findings(removals: Removals) -> list[Finding]:
    """The branches whose decision was shown to rest on its evidence."""
    shown = sorted((r for r in removals.evidence if r.test.passed), key=lambda r: r.effect.value)
    return [
        Finding.about(
            f"At node {r.node} ({r.question}) the decision for {r.branch} rests on its evidence: "
            f"with it removed the margin changes by {r.removed:+.2f}, with as much removed "
            f"elsewhere by {r.by_chance:+.2f}.",
            r.effect,
            r.test,
            plain=f"At node {r.node} ({r.question}) the decision for {r.branch} rests on a place "
            "in the image that can be shown.",
            evidence=f"node-{r.node}",
            effect_name="change of margin beyond chance",
            node=r.node,
        )
        for r in shown[:MOST]
    ]


def part_findings(removals: Removals) -> list[Finding]:
    """What other parts of the image do to a decision: known context first of all."""
    shown = [r for r in removals.parts if r.test.passed]
    shown.sort(key=lambda r: (given_first(r.part), -abs(r.effect.value)))
    return [
        Finding.about(
            f"At node {r.node} ({r.question}) the decision for {r.branch} changes with "
            f"{_part(r.part)}, at other pixels: filling it moves the margin by "
            f"{r.effect.value:+.2f}, by {r.size:.2f} in size; as much filled elsewhere, as near, "
            f"moves it by {r.elsewhere:.2f}.",
            r.effect,
            r.test,
            plain=f"The decision for {r.branch} changes with {_part(r.part)}.",
            evidence="removal",
            effect_name="change of margin",
            part=r.part,
            node=r.node,
        )
        for r in shown[:MOST_PARTS]
    ]


def _part(name: str) -> str:
    if name.startswith(CONCEPT):
        return f"the concept {name.removeprefix(CONCEPT)}"
    return "the context that the data set names" if name == KNOWN else f"{name} regions"
