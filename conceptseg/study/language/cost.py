"""What a language study computes without the network, for an estimate before it."""

from collections.abc import Sequence

import numpy as np
import torch

from conceptseg.engine.contract import Context, Work
from conceptseg.study.language.assess import learnt
from conceptseg.study.language.config import Language
from conceptseg.study.language.learn import STARTS, grown, heard
from conceptseg.study.language.objects import COMPONENTS, HELD_OUT

ROWS = 2000
"""Objects that learning is timed on; of more, it is taken to cost in proportion."""
STEPS = 5
"""Steps of learning that are timed together."""
CLASSES = 2
"""Classes of an image that are taken to have as many objects as are kept."""


def computed(study: Language, context: Context, shape: Sequence[int]) -> list[Work]:
    """The steps of languages and of receivers of other codes; and once for each seed those codes,
    and what every word would change.

    On random numbers. How many objects there are is not known yet.
    """
    dice, k = np.random.default_rng(study.seed), len(study.class_ids(context))
    images = min(len(context.manifest.samples), study.images * k)
    objects = max(images * study.per_image * min(CLASSES, k), study.min_objects)
    rows = min(objects, ROWS)
    often = study.seeds * objects / rows
    features = dice.normal(size=(rows, min(COMPONENTS, shape[0])))
    masks, classes = dice.random((rows, study.grid**2)), dice.integers(0, k, rows)
    learning = np.arange(rows) >= HELD_OUT * rows
    many = min(study.vocabulary**study.words, rows)
    codes = [
        (dice.integers(0, values, (rows, words)), values)
        for words, values in ((1, study.vocabulary), (1, many), (study.words, study.vocabulary))
    ]
    own = (masks, classes, learning)

    def options(steps: int) -> tuple[int, int, int, float]:
        return study.words, study.vocabulary, steps, study.rate

    def steps() -> object:
        given = torch.from_numpy(features.astype(np.float32))
        pairs = [grown(given, *own, options(STEPS), start) for start in range(STARTS)]
        return pairs, [heard(code, n, *own, STEPS, study.rate, 0) for code, n in codes]

    def rest() -> object:
        return learnt(features, *own, options(1), 0)

    return [
        Work("learning of languages", often * study.steps / STEPS, steps),
        Work("codes beside languages", often, rest),
    ]
