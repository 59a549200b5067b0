"""The steps of an examples study, in order."""

from collections.abc import Iterator

from conceptseg.engine.contract import Context, Step
from conceptseg.engine.known import Known
from conceptseg.errors import InputError
from conceptseg.study.examples.assess import (
    LISTED,
    PORTRAITS,
    find_neighbours,
    list_objects,
    portray,
)
from conceptseg.study.examples.config import Examples
from conceptseg.study.examples.objects import Describe
from conceptseg.study.examples.pictures import Pictures, choose_shown
from conceptseg.study.shared.compare import CHOSEN, Compare
from conceptseg.study.shared.studied import labelled

COMPARED = 4


def steps(study: Examples) -> tuple[Step, ...]:
    """Objects are described, some stand for all, neighbours are found, and the chosen are drawn."""
    return (
        Describe(study),
        list_objects,
        portray,
        find_neighbours,
        choose_shown,
        Pictures(study),
        to_compare,
        Compare(study.compare, picture_px=study.picture_px),
    )


def check(study: Examples, context: Context) -> None:
    """Refuse labelled regions where there are no labels."""
    if study.regions == "labelled" and not len(labelled(context)):
        raise InputError(
            f"{context.manifest.where}: regions: labelled, but none of the "
            f"{len(context.manifest.samples)} images has a mask; add masks, or take predicted"
        )


def remarks(study: Examples, context: Context) -> Iterator[tuple[str, str]]:
    """That without masks no object is right or wrong."""
    if not len(labelled(context)):
        yield (
            "outcomes",
            "no image has a mask, so objects have no outcome: prototypes and criticisms alone",
        )


def to_compare(study: Examples, context: Context, known: Known) -> Known:
    """The image of each class's first prototype, of the classes with the most objects."""
    # Saliency is taken of the predicted region, so the class has to be predicted in the image.
    objects, chosen = known[LISTED], list[tuple[str, int]]()
    for one in sorted(known[PORTRAITS], key=lambda one: (-one.objects, one.class_id)):
        found = (s.row for s in one.prototypes)
        if study.regions == "labelled":
            found = (row for row in found if objects.right[row] > 0)
        if (row := next(found, None)) is not None:
            chosen.append((objects.ids[row], one.class_id))
    return CHOSEN(tuple(chosen[:COMPARED]))
