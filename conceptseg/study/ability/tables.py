"""The tables of an ability result."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from conceptseg.engine.contract import Context
from conceptseg.engine.known import Known
from conceptseg.result.columns import Column
from conceptseg.result.saved import safe_key
from conceptseg.result.table import Table
from conceptseg.study.ability.assess import ASSESSED, Assessed
from conceptseg.study.ability.config import Ability
from conceptseg.study.ability.pictures import exemplars, shown
from conceptseg.study.ability.read import VARIANTS, Abilities

ABILITY = Column("global", "ability", interval=True, of=lambda one: one.readings["global"])
EXCESS = Column("excess", "above the shuffled network", interval=True, brief="above shuffled")
ABOVE = Column("above", "above the output", interval=True)
P_ADJUSTED = Column("p_adjusted", "p, all cells together", of=lambda one: one.test.adjusted)
OUTPUT = Column("output", "Dice of the output", interval=True, brief="Dice")
DICE = Column(
    "dice", "Dice on images that did not choose it", interval=True, brief="", ends=("low", "high")
)
SPEARMAN = Column(
    "spearman", "rank correlation with true Dice", interval=True, brief="", ends=("low", "high")
)
READINGS = {
    "per_image": "per-image prototypes",
    "probe": "linear probe",
    "noise": "noise, per-image prototypes",
    "shuffled": "shuffled network",
    "shuffled_probe": "probe, shuffled network",
}
SOURCES = {
    "agreement": "agreement of the layers with the prediction",
    "confidence": "mean largest probability",
    "difference": "difference",
}


def _class(classes: Sequence[str]) -> Column:
    return Column("class", of=lambda one: classes[one.class_id])


def _reading(name: str, label: str) -> Column:
    """What one kind of prototypes reaches, without its interval."""
    return Column(name, label, of=lambda one: one.readings[name] and one.readings[name].value)


def levels(assessed: Assessed, classes: Sequence[str]) -> Table:
    """A row for each class and layer."""
    columns: tuple[Column | str, ...] = (
        _class(classes),
        "layer",
        ABILITY,
        *(_reading(name, label) for name, label in READINGS.items()),
        EXCESS,
        Column("excess_images", "above shuffled, images"),
        Column(
            "probe_excess",
            "probe above the shuffled network's",
            interval=True,
            brief="probe above shuffled's",
        ),
        ABOVE,
        Column("p", of=lambda one: one.test.p),
        P_ADJUSTED,
        Column("tested", "enough images or groups to test", of=lambda one: one.test.testable),
        Column("above_images", 'images behind "above the output"'),
        "images",
    )
    return Table.of(assessed.levels, columns, "Dice of each class as each layer is read")


def emergence(assessed: Assessed, classes: Sequence[str]) -> Table:
    """A row for each class."""
    lost = Counter(one.class_id for one in assessed.forgotten)
    columns = (
        _class(classes),
        "images",
        OUTPUT,
        Column("emerges", "emerges at", of="layer"),
        Column("doubt", "why no depth is reported", of=lambda one: one.doubt or None),
        Column("share", "draws that agree"),
        Column("probe_emerges", "emerges at, by the probe", of="probe_layer"),
        Column("best", "best layer, by hindsight"),
        Column("best_dice", "ability there"),
        Column("last_dice", "ability of the last layer"),
        Column("forgotten", "forgotten objects", of=lambda one: lost[one.class_id]),
        Column(
            "fade",
            "best above last, chosen on other images",
            interval=True,
            brief="best above last",
        ),
    )
    return Table.of(assessed.emergence, columns, "Where each class emerges")


def units(study: Ability, context: Context, known: Known) -> Table:
    """A row for each unit, class by class."""
    where = exemplars(study, context, known)
    columns = (
        _class(context.model.classes),
        "rank",
        "layer",
        "unit",
        DICE,
        "images",
        Column("sample", of=lambda one: where[one.class_id][0]),
        Column("picture", of=lambda one: safe_key(f"drawn-unit-{one.class_id}-{one.rank - 1}")),
    )
    every = [one for leaders in known[ASSESSED].leaders.values() for one in leaders]
    return Table.of(every, columns, "Units that read a class best")


def forgotten(study: Ability, known: Known, classes: Sequence[str]) -> Table:
    """A row for each object, the largest loss first; the first few have pictures."""
    assessed = known[ASSESSED]
    picture = {one: n for n, one in enumerate(shown(study, known))}
    columns = (
        "sample",
        _class(classes),
        "layer",
        Column("seen", "Dice at the layer"),
        Column("output", "Dice of the output"),
        Column("lost", "lost", of=lambda one: one.seen - one.output),
        Column("picture", of=picture.get),
    )
    return Table.of(assessed.forgotten, columns, "Objects that a layer saw and the output lost")


def estimates(assessed: Assessed) -> Table:
    columns = (
        Column("told_from", "predicted from", of=SOURCES.get),
        replace(SPEARMAN, of=assessed.estimates.get),
        Column("images", of=lambda name: assessed.judged),
    )
    return Table.of(assessed.estimates, columns, "Quality predicted without labels")


def images(abilities: Abilities, assessed: Assessed, classes: Sequence[str]) -> Table:
    """Each image and class it holds: the output's Dice, and the best layer's by prototypes."""
    dice = abilities.dice[:, VARIANTS.index("global"), :-1]
    rows, places = np.nonzero(np.isfinite(abilities.output[:, list(assessed.class_ids)]))
    ids = np.array(assessed.class_ids)[places]
    seen = dice[rows, :, ids]
    columns = {
        "sample": [abilities.ids[row] for row in rows],
        "class": [classes[class_id] for class_id in ids],
        "output": abilities.output[rows, ids],
        "best_layer": [abilities.layers[layer] for layer in seen.argmax(1)],
        "seen": seen.max(1),
    }
    caption = "Each image and class: Dice of the output and of the best layer, by hindsight"
    return Table.of_columns(columns, caption)
