"""The steps of an audit, in order."""

from conceptseg.engine.contract import Context, Step
from conceptseg.engine.known import Known
from conceptseg.errors import InputError
from conceptseg.study.audit.ablate import Ablate, weigh_mechanism
from conceptseg.study.audit.acting import load_acting, open_acting
from conceptseg.study.audit.assess import assess
from conceptseg.study.audit.config import Audit
from conceptseg.study.audit.contexts import context_types, list_contexts
from conceptseg.study.audit.extent import measure_doses, measure_recruits
from conceptseg.study.audit.found import load_found, open_found
from conceptseg.study.audit.learn import Learn, choose_ablations
from conceptseg.study.audit.look import Look, choose_looks
from conceptseg.study.audit.margins import fit_margins
from conceptseg.study.audit.match import Match, settle
from conceptseg.study.audit.offending import list_composites
from conceptseg.study.audit.pictures import PAIRS, Pictures, choose_pairs
from conceptseg.study.audit.reach import Reach
from conceptseg.study.audit.shift import Shift, choose_placed
from conceptseg.study.audit.survey import LEAST, Survey, choose
from conceptseg.study.audit.swap import Swap
from conceptseg.study.shared.compare import CHOSEN, Compare
from conceptseg.study.shared.studied import labelled
from conceptseg.study.shared.user_masks import open_masks, user_masks

COMPARED = 4


def steps(study: Audit) -> tuple[Step, ...]:
    """What images hold, how far pixels look, which families are tested; then both lines."""
    return (
        open_masks,
        open_found,
        open_acting,
        list_contexts,
        Survey(study),
        choose,
        choose_placed,
        Reach(study),
        fit_margins,
        Match(study),
        settle,
        Swap(study),
        Shift(study),
        choose_looks,
        Look(study),
        assess,
        measure_recruits,
        measure_doses,
        choose_ablations,
        Learn(study),
        Ablate(study),
        weigh_mechanism,
        list_composites,
        choose_pairs,
        Pictures(study),
        to_compare,
        Compare(study.compare, picture_px=study.picture_px),
    )


MANY = 400
"""Pairs of a class and a context from which on `check` says that they are many."""


def remarks(study: Audit, context: Context) -> list[tuple[str, str]]:
    """That each pair takes passes and a share of one correction, where there are many."""
    classes, contexts = len(study.class_ids(context)), len(context_types(study, context))
    if classes * contexts <= MANY:
        return []
    text = (
        f"{classes} classes by {contexts} contexts: each takes passes, and all are corrected "
        "together, so that little can be shown of any; name those that you ask about by "
        "data.classes and context_classes"
    )
    return [("pairs", text)]


def check(study: Audit, context: Context) -> None:
    """Refuse too few masks, contexts that there cannot be, and donors that cannot pass."""
    where, masks = context.manifest.where, len(labelled(context))
    user_masks(study.masks, context.manifest)
    if not context_types(study, context) and not study.place:
        raise InputError(
            f"context_classes, masks, columns: no context is named, and {where} knows none; name "
            "one, or run conceptseg ace and name its folder by found"
        )
    if (found := load_found(study, context)) is not None:
        rest = sum(one.id not in found.ids for one in labelled(context))
        if rest < masks and rest < study.min_images + study.donors:
            raise InputError(
                f"found: {masks - rest} of the {masks} images with masks chose these concepts, and "
                f"{rest} are left to test them on; run ace on others (another split)"
            )
    if (acting := load_acting(study, context)) is not None:
        rest = sum(one.id not in acting.ids for one in labelled(context))
        if rest < 2 * LEAST:
            raise InputError(
                f"channels: the lcrp run looked at {masks - rest} of the {masks} images with "
                f"masks, and {rest} are left to test its channels on; run lcrp on others (another "
                "split, or data.limit)"
            )
    least = study.min_images + study.donors
    if masks < least:
        raise InputError(
            f"{where}: {masks} of the {len(context.manifest.samples)} images have masks, and "
            f"min_images + donors are {least}; add masks, or lower one of the two"
        )
    if study.min_images > study.images:
        raise InputError(
            f"min_images: {study.min_images}, but images, which are swapped, is {study.images}; "
            "raise images or lower min_images"
        )


def to_compare(study: Audit, context: Context, known: Known) -> Known:
    """Images for the local saliency maps: those of the largest changes, each class once."""
    chosen: dict[int, str] = {}
    for pair in known[PAIRS]:
        chosen.setdefault(pair.class_id, pair.image)
    return CHOSEN(tuple((image, c) for c, image in chosen.items())[:COMPARED])
