"""The steps of a permutation study, in order."""

import numpy as np

from conceptseg.engine.contract import Context, Step
from conceptseg.engine.known import Known
from conceptseg.engine.reading import first_images
from conceptseg.errors import InputError
from conceptseg.study.permutation.assess import assess, choose_pairs, find_undecided
from conceptseg.study.permutation.config import Permutation
from conceptseg.study.permutation.deltas import DELTAS
from conceptseg.study.permutation.donors import draw_samples
from conceptseg.study.permutation.features import Feature
from conceptseg.study.permutation.permute import Pairs, Permute, Race, join
from conceptseg.study.permutation.pictures import Pictures
from conceptseg.study.permutation.survey import Survey, input_features, list_variants, variants
from conceptseg.study.shared.compare import CHOSEN, Compare
from conceptseg.study.shared.studied import labelled


def steps(study: Permutation) -> tuple[Step, ...]:
    """Parts are exchanged, those that are undecided more often, and the strongest in pairs."""
    return (
        Survey(study),
        list_variants,
        Permute(study),
        find_undecided,
        Race(study),
        join,
        choose_pairs,
        Pairs(study),
        assess,
        Pictures(study),
        to_compare,
        Compare(study.compare, picture_px=study.picture_px),
    )


def check(study: Permutation, context: Context) -> None:
    """Refuse too few masks, and parts that the images cannot have."""
    where, masks = context.manifest.where, len(labelled(context))
    if masks < 2:
        raise InputError(
            f"{where}: {masks} of the {len(context.manifest.samples)} images have masks, and at "
            "least two are needed to exchange parts and judge what is lost; add masks"
        )
    drawn = len(draw_samples(study, context))
    if drawn < study.min_images:
        raise InputError(
            f"{where}: min_images: {study.min_images}, but only {drawn} images are permuted; raise "
            "images, give more masks, or lower min_images"
        )
    channels = first_images(context.manifest, context.run).shape[1]
    features = input_features(study, channels)
    if "units" in study.features:
        features.append(Feature("units", "units"))
    if not variants(study, features, channels):
        raise InputError(
            f"features, schemes: no part of images with {channels} channels can be exchanged so; "
            "add further features or schemes"
        )


COMPARED = 4


def to_compare(study: Permutation, context: Context, known: Known) -> Known:
    """Images for the local saliency maps: of each class, that which exchanges change most."""
    deltas = known[DELTAS]
    change = np.nan_to_num(np.abs(deltas.overlap)).mean((1, 2))
    chosen = []
    for class_id, name in enumerate(context.model.classes):
        # Saliency is taken of the predicted region, so the class has to be predicted at all.
        held = np.nan_to_num(deltas.clean[:, class_id], nan=1.0) < 0.9
        if name != context.manifest.background and held.any():
            row = int(np.argmax(np.where(held, change[:, class_id], -1.0)))
            chosen.append((-float(change[row, class_id]), deltas.ids[row], class_id))
    return CHOSEN(tuple((sample, class_id) for _, sample, class_id in sorted(chosen))[:COMPARED])
