"""The steps of a prototypes study, in order."""

from collections.abc import Iterator

from conceptseg.engine.contract import Context, Step
from conceptseg.engine.known import Known
from conceptseg.engine.reading import first_images
from conceptseg.network.record import encode
from conceptseg.study.prototypes.assess import GROUPED, group, place
from conceptseg.study.prototypes.config import Prototypes
from conceptseg.study.prototypes.pictures import Pictures, choose_shown
from conceptseg.study.prototypes.regions import CALIBRATES, JUDGED, LISTED, list_regions
from conceptseg.study.prototypes.relevance import Describe, Gather, learn, no_atoms, open_engine
from conceptseg.study.shared.compare import CHOSEN, Compare
from conceptseg.study.shared.studied import labelled

COMPARED = 4


def steps(study: Prototypes) -> tuple[Step, ...]:
    """Regions are described by relevance, grouped, and set against others; the chosen are drawn."""
    concepts: tuple[Step, ...] = (no_atoms,) if study.finder is None else (Gather(study), learn)
    return (
        *concepts,
        Describe(study),
        list_regions,
        group,
        place,
        choose_shown,
        Pictures(study),
        to_compare,
        Compare(study.compare, picture_px=study.picture_px),
    )


def check(study: Prototypes, context: Context) -> None:
    """Refuse a network or layer without rules, and a finder that the layer is too small for."""
    open_engine(study, context)
    if study.finder is not None:
        images = first_images(context.manifest, context.run)[:1]
        _, units, y, x = encode(context.model, images, context.levels).shape
        count = len(context.manifest.samples)
        study.finder.allowed(count * min(study.positions, y * x), units, "positions")


def remarks(study: Prototypes, context: Context) -> Iterator[tuple[str, str]]:
    """That without masks no region is right or wrong."""
    if not len(labelled(context)):
        yield (
            "outcomes",
            "no image has a mask, so no region is right or wrong: all regions calibrate",
        )


def to_compare(study: Prototypes, context: Context, known: Known) -> Known:
    """The image of the first prototype of each class, of the classes with the most regions."""
    regions, chosen = known[LISTED], list[tuple[int, str, int]]()
    for one in known[GROUPED].prototypes:
        if one.number == 0 and one.nearest:
            count = len(regions.rows(one.class_id, CALIBRATES, JUDGED))
            chosen.append((-count, regions.ids[one.nearest[0]], one.class_id))
    return CHOSEN(tuple((name, c) for _, name, c in sorted(chosen)[:COMPARED]))
