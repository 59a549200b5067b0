"""The tables of a prototypes result."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from conceptseg.engine.known import Known
from conceptseg.result.columns import Column
from conceptseg.result.saved import safe_key
from conceptseg.result.table import Table
from conceptseg.stats.estimate import Estimate
from conceptseg.study.prototypes.assess import FORETOLD, GROUPED, PLACED, Apart, Prototype
from conceptseg.study.prototypes.config import OVERALL, Prototypes
from conceptseg.study.prototypes.mixture import chosen
from conceptseg.study.prototypes.pictures import DRAWN, UNLIKELY, map_key, odd, region_key
from conceptseg.study.prototypes.regions import CALIBRATES, FITTED, JUDGED, LISTED

SHARE = Column("share", "share of the class's new regions", interval=True)
OUTSIDE = Column("outside", "relevance outside of the region", interval=True)
WRONG = Column("wrong", "part that is wrong", interval=True)
MORE = Column("more", "wrong more often than others", interval=True)
HOLDS = Column("holds", "share of relevance", interval=True)
GAP = Column("gap", "more than in the class's other regions", interval=True)
COVERED = Column("covered", "judged regions that are not rare", interval=True)
RARE_WRONG = Column("rare_wrong", "rare ones that are wrong", interval=True)
OTHER_WRONG = Column("other_wrong", "others that are wrong", interval=True)
UNLIKELY_AREA = Column("unlikely", "AUROC, being unlikely", interval=True)
DOUBT = Column("doubt", "AUROC, the network's doubt", interval=True)
DIFFERENCE = Column("difference", "difference of AUROC", interval=True)
OUTCOME = ("right", "wrong", "not labelled")


def concept_name(known: Known, concept: int, atoms: int) -> str:
    """What a concept is called: its channel or atom."""
    if not atoms:
        return f"channel {concept}"
    return f"atom {concept + 1}" if concept < atoms else "what no atom explains"


def prototypes(known: Known, classes: Sequence[str]) -> Table:
    drawn = known[DRAWN]

    def pictures(one: Prototype) -> list[str]:
        keys = [region_key(row) for row in one.nearest]
        return [safe_key(key) for key in keys if key in drawn]

    columns = (
        Column("class", of=lambda one: classes[one.class_id]),
        Column("prototype", of=lambda one: one.number + 1),
        Column("name", "what its regions have in common", of=lambda one: one.name.text),
        Column("here", "share that has it", of=lambda one: one.name.here),
        Column("elsewhere", "share of the others", of=lambda one: one.name.elsewhere),
        SHARE,
        OUTSIDE,
        WRONG,
        MORE,
        Column("p", of=lambda one: None if one.test is None else one.test.p),
        Column("p_adjusted", "p adjusted", of=lambda one: one.test and one.test.adjusted),
        Column("pictures", of=pictures),
    )
    return Table.of(known[GROUPED].prototypes, columns, "Prototypes, on new regions")


def apart(known: Known, classes: Sequence[str], atoms: int) -> Table:
    def picture(one: Prototype, each: Apart) -> str | None:
        key = map_key(one.nearest[0], each.concept) if one.nearest else ""
        return safe_key(key) if key in known[DRAWN] else None

    rows = [
        {
            "class": classes[one.class_id],
            "prototype": one.number + 1,
            "concept": concept_name(known, each.concept, atoms),
            **HOLDS.cells(each.share),
            **GAP.cells(each.more),
            "picture": picture(one, each),
        }
        for one in known[GROUPED].prototypes
        for each in one.apart
    ]
    labels = {**HOLDS.labels, **GAP.labels}
    return Table(rows, labels=labels, caption="Concepts that set prototypes apart, on new regions")


def tried(known: Known, classes: Sequence[str]) -> Table:
    rows = [
        {
            "class": classes[c],
            "prototypes": one.count,
            "density": one.density,
            "behind": one.behind,
            "error": one.error,
            "taken": one.count == chosen(each),
        }
        for c, each in known[GROUPED].tried.items()
        for one in each
    ]
    labels = {
        "density": "mean log density of regions left out",
        "behind": "behind the best",
        "error": "standard error of that",
    }
    return Table(rows, labels=labels, caption="Numbers of prototypes that were tried")


def coverage(study: Prototypes, known: Known, classes: Sequence[str]) -> Table:
    """Of each class: regions by part, how many prototypes, and which of the judged are rare."""
    regions, placed = known[LISTED], known[PLACED]
    rows = []
    for c in regions.classes:
        judged = regions.rows(c, JUDGED)
        rare, own = placed.p[judged] <= study.rare, regions.sampling.at(judged)
        told = regions.wrong[judged] >= 0
        parts: dict[str, Estimate | None] = {}
        for name, inside in (("rare", rare & told), ("other", ~rare & told)):
            mine = judged[inside]
            wrong = regions.wrong[mine]
            parts[name] = regions.sampling.at(mine).share(wrong) if len(mine) else None
        rows.append(
            {
                "class": classes[c],
                "prototypes": known[GROUPED].mixtures[c].count,
                "fitted": len(regions.rows(c, FITTED)),
                "calibrating": len(regions.rows(c, CALIBRATES)),
                "groups": placed.calibrating[c],
                "least_p": placed.floor(c),
                "judged": len(judged),
                "outliers": int(placed.outlier[judged].sum()),
                **COVERED.cells(own.share(~rare) if len(judged) else None),
                **RARE_WRONG.cells(parts["rare"]),
                **OTHER_WRONG.cells(parts["other"]),
            }
        )
    labels = {
        "fitted": "regions fitted to",
        "calibrating": "regions that calibrate",
        "groups": f"{regions.dealt_of}s that do",
        "least_p": "least p-value",
        "judged": "judged regions",
        **COVERED.labels,
        **RARE_WRONG.labels,
        **OTHER_WRONG.labels,
    }
    return Table(rows, labels=labels, caption="How prototypes cover the classes")


def foretold(known: Known) -> Table:
    one = known[FORETOLD]
    areas = one.areas or {}
    row: dict[str, Any] = {
        "class": OVERALL,
        "right": one.right,
        "wrong": one.wrong,
        **MORE.cells(one.more),
        "p": None if one.test is None else one.test.adjusted,
        **UNLIKELY_AREA.cells(areas.get("unlikely")),
        **DOUBT.cells(areas.get("doubt")),
        **DIFFERENCE.cells(areas.get("difference")),
    }
    labels = {"right": "right regions", "wrong": "wrong regions"}
    labels |= {MORE.key: "rare ones wrong more often"} | UNLIKELY_AREA.labels | DOUBT.labels
    return Table([row], labels=labels | DIFFERENCE.labels, caption="What foretells wrong regions")


def unlikely(known: Known, classes: Sequence[str], atoms: int) -> Table:
    """The most unlikely judged regions, each with the prototype that it is nearest to."""
    regions, grouped, placed, drawn = known[LISTED], known[GROUPED], known[PLACED], known[DRAWN]
    by_place = {(one.class_id, one.number): one for one in grouped.prototypes}
    rows = []
    for row in known[UNLIKELY]:
        c, j = int(regions.class_id[row]), int(grouped.component[row])
        concept, gap = odd(regions, grouped, row)
        near = by_place[c, j].nearest[:1]
        keys = {
            "picture": region_key(row),
            "map": map_key(row, concept),
            "like": region_key(near[0]) if near else "",
        }
        rows.append(
            {
                "class": classes[c],
                "sample": regions.ids[row],
                "p": float(placed.p[row]),
                "p_adjusted": float(placed.adjusted[row]),
                "outlier": bool(placed.outlier[row]),
                "outcome": OUTCOME[int(regions.wrong[row])],
                "confidence": float(regions.confidence[row]),
                "prototype": j + 1,
                "concept": concept_name(known, concept, atoms),
                "gap": gap,
                **{n: safe_key(key) if key in drawn else None for n, key in keys.items()},
            }
        )
    labels = {
        "p_adjusted": "p adjusted",
        "prototype": "likeliest prototype",
        "concept": "departs most in",
        "gap": "by this share of relevance",
    }
    return Table(rows, labels=labels, caption="The judged regions that are most unlikely")


def calibration(known: Known) -> Table:
    """How often right judged regions have so small a p-value: no more often than it says."""
    regions, placed = known[LISTED], known[PLACED]
    judged = np.isfinite(placed.p)
    kinds = {"all judged regions": judged}
    if placed.of_right:
        kinds["right ones"] = judged & (regions.wrong == 0)
        kinds["wrong ones"] = judged & (regions.wrong == 1)
    rows = []
    for level in np.arange(0.02, 1.001, 0.02):
        row: dict[str, Any] = {"level": float(level)}
        for name, inside in kinds.items():
            row[name] = float((placed.p[inside] <= level).mean()) if inside.any() else None
        rows.append(row)
    return Table(rows, labels={"level": "p-value"}, caption="How p-values are spread")
