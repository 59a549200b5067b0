"""The result of a counterfactual study: findings in words, tables and pictures."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from conceptseg.engine.contract import Context
from conceptseg.engine.known import Known
from conceptseg.result.columns import Column
from conceptseg.result.finding import Finding, ranked
from conceptseg.result.saved import Result
from conceptseg.result.table import Table
from conceptseg.result.verdict import counted
from conceptseg.stats.estimate import Estimate
from conceptseg.study.counterfactual.assess import (
    EDITED,
    SAMPLING,
    SHARES,
    Share,
    holding,
)
from conceptseg.study.counterfactual.config import ALL, ANY, Counterfactual
from conceptseg.study.counterfactual.edit import EDITS, pictures_of
from conceptseg.study.counterfactual.survey import PLAN
from conceptseg.study.shared import local_maps, studied
from conceptseg.study.shared.compare import COMPARISON

SHARE = Column("share", "share of images that flip", interval=True, brief="share")
MORE = Column("more", "share beyond edits elsewhere", interval=True, brief="beyond")
P_CORRECTED = Column("p_corrected", "p corrected", of=lambda one: one.test and one.test.adjusted)


def conclude(study: Counterfactual, context: Context, known: Known) -> Result:
    rows, shares, comparison = known[EDITED], known[SHARES], known[COMPARISON]
    classes, sampling = context.model.classes, known[SAMPLING]
    ids = list(sampling.ids)
    cases, pictures = case_table(study, known, classes)
    return Result(
        study="counterfactual",
        findings=ranked(findings(shares, classes)),
        tables={
            "regions": share_table(shares, classes, True),
            "attributes": share_table(shares, classes, False),
            "cases": cases,
            "saliency": local_maps.table(comparison, classes),
        },
        arrays={
            "flipped": rows.of("flipped").astype(np.int8),
            "holds": holding(study, rows),
            "size": rows.of("size").astype(np.float32),
            "held": rows.of("held").astype(np.float32),
            "by_chance": rows.of("by_chance").astype(np.float32),
        },
        images=pictures | local_maps.pictures(comparison),
        skipped=studied.left_out(context, ids, "shows no class that is edited, or was not kept"),
        notes=studied.notes(
            context,
            ids,
            list(sampling.groups),
            sampling.of.removesuffix("s"),
            comparison,
            classes=list(dict.fromkeys(classes[one.was] for one in shares)),
            cases=len(known[PLAN].cases),
            generator=study.editor.name(),
            second=study.second is not None,
            **study.model_dump(include={"steps", "random", "holds", "together"}),
        ),
    )


def target(to: int, classes: Sequence[str]) -> str:
    return ANY if to < 0 else classes[to]


def findings(shares: Sequence[Share], classes: Sequence[str]) -> list[Finding]:
    """Of each pair and region, how often editing it alone is enough, against edits elsewhere."""
    return [_finding(one, classes) for one in shares if one.attribute == ALL]


def _finding(one: Share, classes: Sequence[str]) -> Finding:
    was, to = classes[one.was], target(one.to, classes)
    said = f"{was} becomes {to} when {one.region} alone is edited"
    plain = f"{said}."
    beside = "" if np.isnan(one.elsewhere) else f"; by edits elsewhere in {one.elsewhere:.0%}"
    if not one.share.value:
        said = f"No edit of {one.region} alone was found that turns {was} into {to}"
        plain = f"{said}."
    elif one.test is not None and not one.test.passed:
        plain = (
            f"{said} in {_often(one.share)}; not shown to be more often than when as much "
            "elsewhere is."
        )
    elif one.test is None:
        plain = f"{said}; whether edits elsewhere do the same could not be asked."
    tested = one.test is not None and one.more is not None
    return Finding.about(
        f"{said}: in {one.share.value:.0%} of "
        f"{counted(one.share.n, one.share.of.removesuffix('s'))}{beside}.",
        one.more if tested and one.more is not None else one.share,
        one.test,
        class_name=was,
        evidence="regions",
        plain=plain,
        effect_name=MORE.label if tested else SHARE.label,
        region=one.region,
        to=to,
        own=one.own,
        share=one.share.value,
    )


def _often(share: Estimate) -> str:
    """A share in words: "1 of 9 images"; of groups, which may turn in part, "4% of 9 groups"."""
    count, things = share.value * share.n, counted(share.n, share.of.removesuffix("s"))
    whole = round(count)
    return f"{whole if abs(count - whole) < 1e-6 else f'{share.value:.0%}'} of {things}"


def share_table(shares: Sequence[Share], classes: Sequence[str], whole: bool) -> Table:
    rows = [
        {
            "class": classes[one.was],
            "to": target(one.to, classes),
            "region": one.region,
            **({} if whole else {"attribute": one.attribute}),
            "own": one.own,
            "images": one.share.n,
            **SHARE.cells(one.share),
            "elsewhere": one.elsewhere,
            **MORE.cells(one.more),
            "p": one.test and one.test.p,
            **P_CORRECTED.read(one),
            "by_chance": one.by_chance,
            "size": one.size,
            "plausible": one.plausible,
            "second": one.second,
        }
        for one in shares
        if (one.attribute == ALL) == whole
    ]
    labels = {
        **SHARE.labels,
        **MORE.labels,
        **P_CORRECTED.labels,
        "elsewhere": "share by edits elsewhere",
        "own": "the class's own region",
        "by_chance": "share by random edits of its parameters",
        "size": "median size",
        "plausible": "median share of real regions that are as unlike",
        "second": "share that flips a second network",
    }
    caption = "What of the image suffices" if whole else "By single attributes"
    return Table(rows, labels=labels, caption=caption)


def case_table(
    study: Counterfactual, known: Known, classes: Sequence[str]
) -> tuple[Table, dict[str, bytes]]:
    """Of each case its smallest edit in words; and the pictures of those that are shown."""
    rows, drawn = known[EDITED], pictures_of(known[EDITS])
    holds, ids = holding(study, rows), np.array(rows.ids)
    found, pictures = list[dict[str, Any]](), dict[str, bytes]()
    for name in dict.fromkeys(rows.ids):
        for place in np.unique(rows.case[ids == name]).tolist():
            own = np.flatnonzero((ids == name) & (rows.case == place))
            best = own[rows.of("best")[own] == 1]
            at = int(best[0]) if len(best) else int(own[0])
            keys = [f"case-{len(found)}-{n}" for n in range(len(drawn.get((name, place), ())))]
            pictures |= dict(zip(keys, drawn.get((name, place), ()), strict=True))
            found.append(
                {
                    "sample": name,
                    "class": classes[int(rows.of("was")[at])],
                    "to": target(int(rows.of("to")[at]), classes),
                    "region": str(rows.of("region")[at]) if len(best) else "",
                    "groups": int(rows.of("groups")[at]) if len(best) else None,
                    "edit": str(rows.of("words")[at]) if len(best) else "",
                    "size": float(rows.of("size")[at]) if len(best) else None,
                    "holds": bool(holds[at]) if len(best) else None,
                    "plausible": float(rows.of("plausible")[at]) if len(best) else None,
                    "elsewhere": float(rows.of("elsewhere")[at]) if len(best) else None,
                    "pictures": keys,
                }
            )
    labels = {
        "groups": "groups edited",
        "holds": "holds in 8 bits and noise",
        "plausible": "share of real regions that are as unlike",
        "elsewhere": "share of other pixels that change",
    }
    return Table(found, labels=labels, caption="The smallest edit of each image"), pictures
