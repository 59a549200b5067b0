"""What is claimed, and how surely."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from conceptseg.result.finding import Finding
from conceptseg.result.table import Table
from conceptseg.stats.corrections import holm
from conceptseg.study.bottleneck import tables
from conceptseg.study.bottleneck.evaluate import Flagging
from conceptseg.study.bottleneck.judge import Judged
from conceptseg.study.bottleneck.slices import Slice

if TYPE_CHECKING:
    from conceptseg.study.bottleneck.config import Bottleneck


ALPHA = 0.05


SLICES_TOLD = 8


DOUBTS = {"layer": "layer doubts", "both": "layer and confidence together doubt"}


def findings(
    study: Bottleneck,
    found: Judged,
    flags: Flagging,
    slices: Sequence[Slice],
    made: Mapping[str, Table],
) -> list[Finding]:
    n = len(set(found.groups.tolist()))
    sure = [one for one in slices if one.p_family is not None and one.p_family <= ALPHA]
    sure.sort(key=lambda one: one.difference.value)
    return [
        *standing_findings(made["standing"], n),
        *flag_findings(study, flags, n),
        *(slice_finding(one, n) for one in sure[:SLICES_TOLD]),
    ]


def standing_findings(table: Table, n: int) -> list[Finding]:
    standing = {row["told_from"]: row for row in table.rows}
    rows = [standing[tables.NAMES[name]] for name in ("layer", "both")]
    confident = standing[tables.NAMES["confidence"]]["mae"]
    result = []
    for row in rows:
        adjusted = row["p_beats_holm"]
        verdict = "no better or worse, as far as is shown,"
        if adjusted <= ALPHA:
            verdict = "better" if row["beats"] > 0 else "worse"
        claim = (
            f"Told from the {row['told_from']}, quality is predicted {verdict} than from the "
            f"network's own confidence: the mean absolute error is {row['mae']:.3f}, that of "
            f"confidence {confident:.3f}, that of the plain mean {row['mae'] + row['gain']:.3f}."
        )
        result.append(
            Finding(
                claim=claim,
                effect=row["beats"],
                ci=(row["beats_low"], row["beats_high"]),
                p=row["p_beats"],
                p_adjusted=adjusted,
                n=n,
                evidence="standing-table",
                details={"effect_name": "error below that of confidence"},
            )
        )
    return result


def flag_findings(study: Bottleneck, flags: Flagging, n: int) -> list[Finding]:
    gains = [flags.gains[name] for name in DOUBTS]
    base, raw = (flags.precision[name].value for name in ("confidence", "raw"))
    result = []
    for name, gained, adjusted in zip(
        DOUBTS, gains, holm([1.0 if g.p is None else g.p for g in gains]), strict=True
    ):
        claim = (
            f"When {study.budget:.0%} of the images are reviewed, those that the {DOUBTS[name]} "
            f"fail in {flags.precision[name].value:.0%} of cases; those that the network's "
            f"confidence, fitted in the same way, doubts, in {base:.0%}; by its mean largest "
            f"probability as it is, in {raw:.0%}. {flags.failed.mean():.0%} of all images fail "
            f"({study.quality} of at most {flags.limit:.2f})."
        )
        if adjusted > ALPHA:
            claim += " The difference to fitted confidence is not significant."
        result.append(
            Finding(
                claim=claim,
                effect=gained.value,
                ci=(gained.low, gained.high),
                p=gained.p,
                p_adjusted=float(adjusted),
                n=n,
                evidence="flag-curve",
                details={"effect_name": "precision above that of fitted confidence"},
            )
        )
    return result


def slice_finding(one: Slice, n: int) -> Finding:
    change = one.difference.value
    return Finding(
        claim=f"Images of {one.name} are segmented {'worse' if change < 0 else 'better'}: mean "
        f"quality {one.quality.value:.2f}, {abs(change):.2f} {'below' if change < 0 else 'above'} "
        f"all others, over {int(one.members.sum())} images.",
        effect=change,
        ci=(one.difference.low, one.difference.high),
        p=one.difference.p,
        p_adjusted=one.p_family,
        n=n,
        evidence="slices",
        details={"effect_name": "mean quality against all other images", "slice": one.name},
    )
