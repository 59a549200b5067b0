"""The tables of an examples result."""

from collections.abc import Mapping, Sequence

import numpy as np

from conceptseg.result.columns import Column
from conceptseg.result.table import Table
from conceptseg.stats.estimate import Estimate
from conceptseg.study.examples.assess import Foretold, Neighbours, Objects, Portrait
from conceptseg.study.examples.config import OVERALL

SHARE = Column("share", "share of the class's objects", interval=True)
WRONG = Column("wrong", "part that is wrong", interval=True)
MORE = Column("more", "wrong more often than others", interval=True)
NEARNESS = Column("nearness", "AUROC, nearer to wrong examples", interval=True)
DOUBT = Column("doubt", "AUROC, the network's doubt", interval=True)
GAP = Column("difference", "difference of AUROC", interval=True)
LEFT = Column("left", "MMD² left")
CHANCE = Column("chance", "random objects")


def picture_key(row: int) -> str:
    return f"object-{row}"


def standing(
    portraits: Sequence[Portrait],
    objects: Objects,
    classes: Sequence[str],
    drawn: Mapping[int, bytes],
) -> Table:
    """A row for each prototype and criticism."""
    rows = []
    for portrait in portraits:
        name = classes[portrait.class_id]
        for rank, one in enumerate(portrait.prototypes, start=1):
            rows.append(
                {
                    "class": name,
                    "kind": "prototype",
                    "rank": rank,
                    "sample": objects.ids[one.row],
                    "outcome": outcome(objects, one.row),
                    **SHARE.cells(one.share),
                    **WRONG.cells(one.wrong),
                    **MORE.cells(one.more),
                    "p_adjusted": None if one.test is None else one.test.adjusted,
                    "witness": None,
                    "picture": picture_key(one.row) if one.row in drawn else None,
                }
            )
        for rank, row in enumerate(portrait.criticisms, start=1):
            nothing = {k: None for column in (SHARE, WRONG, MORE) for k in column.keys}
            rows.append(
                {
                    "class": name,
                    "kind": "criticism",
                    "rank": rank,
                    "sample": objects.ids[row],
                    "outcome": outcome(objects, row),
                    **nothing,
                    "p_adjusted": None,
                    "witness": float(portrait.witness[rank - 1]),
                    "picture": picture_key(row) if row in drawn else None,
                }
            )
    labels = {"p_adjusted": "p adjusted", "witness": "denser than prototypes say"}
    for column in (SHARE, WRONG, MORE):
        labels |= column.labels
    return Table(rows, labels=labels, caption="Prototypes and criticisms")


def outcome(objects: Objects, row: int) -> str:
    return ("right", "wrong", "not labelled")[int(objects.wrong[row])]


def curve(portraits: Sequence[Portrait], classes: Sequence[str]) -> Table:
    """MMD^2 left by so many prototypes, beside random sets of as many."""
    rows = [
        {
            "class": classes[one.class_id],
            "prototypes": m + 1,
            "left": float(one.left[m]),
            "chance": float(np.median(one.chance[:, m])),
            "chance_low": float(np.quantile(one.chance[:, m], 0.05)),
            "chance_high": float(np.quantile(one.chance[:, m], 0.95)),
        }
        for one in portraits
        for m in range(len(one.left))
    ]
    labels = {**LEFT.labels, **CHANCE.labels}
    labels |= {"chance_low": "random, 5 %", "chance_high": "random, 95 %"}
    return Table(rows, labels=labels, caption="What prototypes leave")


def foretold(found: Sequence[Foretold], classes: Sequence[str]) -> Table:
    def area(key: str, one: Foretold) -> Estimate | None:
        return None if one.areas is None else one.areas[key]

    rows = [
        {
            "class": OVERALL if one.class_id is None else classes[one.class_id],
            "right": one.right,
            "wrong": one.wrong,
            **NEARNESS.cells(area("nearness", one)),
            **DOUBT.cells(area("doubt", one)),
            **GAP.cells(area("difference", one)),
        }
        for one in found
    ]
    labels = {"right": "right objects", "wrong": "wrong objects"}
    labels |= NEARNESS.labels | DOUBT.labels | GAP.labels
    return Table(rows, labels=labels, caption="What foretells wrong objects")


def cases(
    rows: Sequence[int],
    near: Neighbours,
    objects: Objects,
    classes: Sequence[str],
    drawn: Mapping[int, bytes],
) -> Table:
    """Wrong objects with the nearest right and the nearest wrong one of other groups."""
    found = []
    for row in rows:
        right, wrong = near.nearest[row].tolist()
        found.append(
            {
                "class": classes[int(objects.class_id[row])],
                "sample": objects.ids[row],
                "score": float(near.score[row]),
                "confidence": float(objects.confidence[row]),
                "nearest right": objects.ids[right],
                "nearest wrong": objects.ids[wrong],
                "picture": picture_key(row) if row in drawn else None,
                "picture right": picture_key(right) if right in drawn else None,
                "picture wrong": picture_key(wrong) if wrong in drawn else None,
            }
        )
    labels = {"score": "nearer to wrong ones by"}
    return Table(found, labels=labels, caption="Wrong objects and their neighbours")
