"""What a dissection computes without the network, for an estimate before it."""

from collections.abc import Sequence

import numpy as np

from conceptseg.engine.contract import Context, Work
from conceptseg.stats.estimate import Sampling
from conceptseg.study.dissect.chosen_sources import UNLEARNT, sources
from conceptseg.study.dissect.config import Dissect
from conceptseg.study.dissect.formulas import explain
from conceptseg.study.dissect.kept import Masks
from conceptseg.study.shared.edits import Change, beyond_random
from conceptseg.study.shared.mistaken import MOST_IMAGES
from conceptseg.study.shared.mistakes import KINDS

FINER = 4
"""Of the grid of counting, at most, against the layer's."""


def computed(study: Dissect, context: Context, shape: Sequence[int]) -> list[Work]:
    """Formulas of units, losses of classes, and pairs of a class and a concept of mistakes.

    On random numbers, of as many images as there can be.
    """
    dice, classes = np.random.default_rng(study.seed), len(study.class_ids(context))
    asked = sources(study, context, UNLEARNT)
    learnt = study.textures if "textures" in study.concepts else 0
    concepts = sum(len(one.category.concepts) for one in asked) + learnt
    seen = sum(len(one.category.concepts) for one in asked if one.seen_alone) + learnt
    cells = int(np.prod([min(FINER * side, study.label_px) for side in shape[1:]]))
    images = len(context.manifest.samples)
    words = max(1, min(study.kept_images, images) // 2 * cells // 64)

    def masks() -> Masks:
        unit, shown = (dice.integers(0, 2**63, (r, words), np.uint64) for r in (1, concepts))
        return Masks(unit, shown, np.zeros((0, 4, 1), np.int64), _sampling(0))

    halves, allowed = (masks(), masks()), np.arange(concepts)
    ablated = min(images, study.ablate_images)
    losses = dice.normal(size=(ablated, study.random_sets + 1))
    change = Change(losses[:, 0], losses[:, 1:], np.ones(ablated), _sampling(ablated))
    drawn = min(images, MOST_IMAGES)
    rates, sampling = dice.uniform(size=drawn), _sampling(drawn)

    def formula() -> object:
        length, beam, penalty = study.formula_length, study.beam, study.length_penalty
        return explain(*halves, 0, allowed, length=length, beam=beam, penalty=penalty)

    def loss() -> object:
        return change.estimate, beyond_random([change], seed=study.seed)

    def pair() -> object:
        return sampling.mean(rates), sampling.mean(rates, rates)

    edits = study.cards + min(study.cards, concepts)
    found = [
        Work("formulas of units", shape[0], formula),
        Work("losses of classes", classes * edits, loss, fits=False),
    ]
    if context.manifest.any_labelled:
        found.append(Work("mistakes", len(KINDS) * classes * seen, pair, fits=False))
    return found


def _sampling(images: int) -> Sampling:
    ids = tuple(map(str, range(images)))
    return Sampling(ids, ids, "images", 0)
