"""The tables of a diff result."""

from collections.abc import Sequence

from conceptseg.engine.known import Known
from conceptseg.result.columns import Column
from conceptseg.result.saved import safe_key
from conceptseg.result.table import Table
from conceptseg.study.diff.assess import CONCEPTS, MOVED, SHIFTS, UNITS, Concept
from conceptseg.study.diff.learn import RECOVERS
from conceptseg.study.diff.pictures import (
    DRAWN,
    SHOWN_CONCEPTS,
    SHOWN_IMAGES,
    SIDES,
    concept_key,
    image_key,
)
from conceptseg.study.shared.atoms import NONE

CHANGE = Column("change", "change of IoU", interval=True)
SHIFT = Column("change", "change of what erasing costs", interval=True)


def called(one: Concept) -> str:
    """What texts call a concept: its name by either network, and its number."""
    number, (old, new) = f"concept {one.number + 1}", one.names
    told = old if old == new else f"{old}, now {new}"
    return number if told == NONE else f"{number} ({told})"


def classes(known: Known, names: Sequence[str]) -> Table:
    columns = (
        Column("class", of=lambda one: names[one.class_id]),
        "images",
        Column("before", "IoU before"),
        Column("after", "IoU after"),
        CHANGE,
        Column("drift", "in units of drift"),
        Column("gained", "pixels gained (share)"),
        Column("lost", "pixels lost (share)"),
        Column("p", of=lambda one: one.test.p),
        Column("p_adjusted", "p adjusted", of=lambda one: one.test.adjusted),
        Column("detectable", "detectable change", of=lambda one: one.test.detectable),
        Column("shown"),
    )
    return Table.of(known[MOVED], columns, "The classes")


def shifts(known: Known, names: Sequence[str]) -> Table:
    columns = (
        Column("concept", of=lambda one: one.concept + 1),
        Column("name", of=lambda one: called(known[CONCEPTS][one.concept])),
        Column("class", of=lambda one: names[one.class_id]),
        "images",
        Column("before", "IoU change when erased, before"),
        Column("after", "IoU change when erased, after"),
        SHIFT,
        Column("drift", "in units of drift"),
        Column("outside_before", "codes outside the class, before", of=lambda one: one.outside[0]),
        Column("outside_after", "codes outside the class, after", of=lambda one: one.outside[1]),
        Column("p", of=lambda one: one.test.p),
        Column("p_adjusted", "p adjusted", of=lambda one: one.test.adjusted),
        Column("detectable", "detectable change", of=lambda one: one.test.detectable),
        Column("shown"),
    )
    return Table.of(known[SHIFTS], columns, "What classes owe to concepts")


def concepts(known: Known) -> Table:
    columns = (
        Column("concept", of=lambda one: one.number + 1),
        Column("name_before", "lies on, before", of=lambda one: one.names[0]),
        Column("name_after", "lies on, after", of=lambda one: one.names[1]),
        Column("weight", "other network's share of its atoms' length"),
        Column("mean_before", "mean code, before", of=lambda one: one.means[0]),
        Column("mean_after", "mean code, after", of=lambda one: one.means[1]),
    )
    return Table.of(known[CONCEPTS], columns, "The concepts of both networks")


def units(known: Known) -> Table:
    own = known[UNITS]
    columns = (
        Column("unit", of=lambda u: u),
        Column("partner", of=lambda u: int(own.partner[u])),
        Column("correlation", of=lambda u: float(own.correlation[u])),
    )
    return Table.of(range(len(own.partner)), columns, "Units and their partners")


def recovers(known: Known) -> Table:
    columns = (
        Column("concepts", of=lambda one: one[0]),
        Column("recovered", "least IoU recovered of any network", of=lambda one: one[1]),
    )
    return Table.of(known[RECOVERS], columns, "The numbers of concepts that were tried")


def shown(known: Known) -> Table:
    rows = [
        {
            "concept": q + 1,
            "sample": image,
            **{side: safe_key(concept_key(q, image, side)) for side in SIDES},
        }
        for q, images in known[SHOWN_CONCEPTS]
        for image in images
        if concept_key(q, image, SIDES[0]) in known[DRAWN]
    ]
    return Table(rows, caption="Images that hold most of each concept")


def examples(known: Known, names: Sequence[str]) -> Table:
    rows = [
        {
            "class": names[c],
            "sample": image,
            **{side: safe_key(image_key(image, side)) for side in SIDES},
        }
        for c, image in known[SHOWN_IMAGES]
    ]
    return Table(rows, caption="Images in which classes changed most")
