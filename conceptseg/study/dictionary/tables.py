"""The tables of a dictionary result."""

from collections.abc import Sequence
from typing import Any

from conceptseg.engine.known import Known
from conceptseg.result.columns import Column
from conceptseg.result.saved import safe_key
from conceptseg.result.table import Table
from conceptseg.study.dictionary.assess import ATOMS, LOSSES, Atom
from conceptseg.study.dictionary.learn import LEARNT
from conceptseg.study.dictionary.pictures import DRAWN, SHOWN_ATOMS, atom_key, mended_key
from conceptseg.study.dictionary.repair import CHOSEN_ATOMS, FAILURES, REPAIRS
from conceptseg.study.shared.atoms import NONE

RECOVERS = Column("recovered", "IoU with the network's own prediction", interval=True)
CHANGE = Column("change", "IoU change when erased", interval=True)
SOBOL = Column("sobol", "total Sobol index", interval=True)
REGAINED = Column("regained", "share of the lost IoU regained", interval=True)
GAIN = Column("gain", "gain of IoU", interval=True)
PLACEBO = Column("placebo", "gain by other atoms", interval=True)
HARM = Column("harm", "IoU change where the class is right", interval=True)


def called(atom: Atom) -> str:
    """What texts call an atom: its name and number, or its number."""
    number = f"atom {atom.number + 1}"
    return number if atom.name.name == NONE else f"{number} ({atom.name.name})"


def tried(known: Known) -> Table:
    columns = (
        Column("asked", "atoms asked for", of=lambda one: one[0]),
        Column("atoms", of=lambda one: one[1]),
        Column("left", "share of squared length left", of=lambda one: one[2]),
        Column(RECOVERS.key, RECOVERS.label, interval=True, of=lambda one: one[3]),
        Column("taken", of=lambda one: one[3] == known[LEARNT].recovered),
    )
    return Table.of(known[LEARNT].tried, columns, "The numbers of atoms that were tried")


def atoms(known: Known, classes: Sequence[str]) -> Table:
    cost: dict[int, Any] = {}
    for loss in known[LOSSES]:
        if loss.atom not in cost or loss.change.value < cost[loss.atom].change.value:
            cost[loss.atom] = loss
    used: dict[int, list[str]] = {}
    for loss in known[LOSSES]:
        if loss.used:
            used.setdefault(loss.atom, []).append(classes[loss.class_id])
    columns = (
        Column("atom", of=lambda one: one.number + 1),
        Column("name", of=lambda one: one.name.name),
        Column("overlap", "IoU with it, other half", of=lambda one: one.name.overlap),
        Column("by_chance", "IoU by chance", of=lambda one: one.name.by_chance),
        Column("class", "costs most", of=lambda one: classes[one.of]),
        Column(
            CHANGE.key,
            CHANGE.label,
            interval=True,
            of=lambda one: cost[one.number].change if one.number in cost else None,
        ),
        Column("used_by", "used by", of=lambda one: ", ".join(used.get(one.number, []))),
        Column("tag", "where", of=lambda one: one.tag),
        Column("density", "times as dense there"),
        SOBOL,
        Column("stability", "stability over seeds (cosine)"),
        Column("mean", "mean code"),
    )
    return Table.of(known[ATOMS], columns, "The atoms")


def losses(known: Known, classes: Sequence[str]) -> Table:
    columns = (
        Column("atom", of=lambda one: one.atom + 1),
        Column("name", of=lambda one: called(known[ATOMS][one.atom])),
        Column("class", of=lambda one: classes[one.class_id]),
        Column("images", of="images"),
        Column("clean", "IoU before", of="clean"),
        CHANGE,
        Column("random", "by random directions", of="random"),
        Column("p_random", "p (one more random direction)", of="p_random"),
        Column("p", of=lambda one: one.test.p),
        Column("p_holm", "p adjusted", of=lambda one: one.test.adjusted),
        Column("detectable", "detectable loss", of=lambda one: one.test.detectable),
        Column("needs", of=lambda one: one.test.needs),
        Column("verdict", of="verdict"),
    )
    return Table.of(known[LOSSES], columns, "What erasing each atom does to each class")


def repairs(known: Known, classes: Sequence[str]) -> Table:
    columns = (
        Column("class", of=lambda one: classes[one.class_id]),
        Column("atom", of=lambda one: one.atom + 1),
        Column("name", of=lambda one: called(known[ATOMS][one.atom])),
        Column("failures", "failing images, other half"),
        Column("before", "IoU before"),
        Column("after", "IoU after", interval=True),
        REGAINED,
        Column("by_placebo", "regained by other atoms"),
        GAIN,
        PLACEBO,
        HARM,
        Column("p", of=lambda one: one.test.p),
        Column("p_adjusted", "p adjusted", of=lambda one: one.test.adjusted),
        Column("needs", of=lambda one: one.test.needs),
    )
    return Table.of(known[REPAIRS], columns, "Repairs, on the half that did not choose them")


def shown(known: Known) -> Table:
    rows = [
        {"atom": atom + 1, "sample": image, "picture": safe_key(atom_key(atom, image))}
        for atom, images in known[SHOWN_ATOMS]
        for image in images
    ]
    return Table(rows, caption="Images that hold most of each atom")


def mended(known: Known, classes: Sequence[str]) -> Table:
    rows = [
        {
            "class": classes[one.class_id],
            "atom": known[CHOSEN_ATOMS][one.class_id] + 1,
            "sample": image,
            **{
                which: safe_key(mended_key(one.class_id, image, which))
                for which in ("before", "after")
            },
        }
        for one in known[FAILURES]
        for image in one.images[1]
        if mended_key(one.class_id, image, "before") in known[DRAWN]
    ]
    return Table(rows, caption="Failing images before and after")
