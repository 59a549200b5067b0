"""What a bottleneck study computes without the network, for an estimate before it."""

from math import comb

import numpy as np

from conceptseg.engine.contract import Context, Work
from conceptseg.stats.estimate import Sampling
from conceptseg.study.bottleneck.confidence import names
from conceptseg.study.bottleneck.config import Bottleneck
from conceptseg.study.bottleneck.evaluate import SETS
from conceptseg.study.bottleneck.judge import DRAWS, search_of
from conceptseg.study.bottleneck.presence import presence
from conceptseg.study.bottleneck.regress import Features, Search, crossed, fold_of, log_odds, splits

ROWS = 400
"""Images that fits are timed on; of more, they are taken to cost in proportion."""
COMPONENTS = 20


def fits(study: Bottleneck, context: Context, units: int) -> list[Work]:
    """Fits of quality, of each class's own overlap, and of its presence, on random numbers.

    Every class is taken to be in half of the images with masks: which hold it is not known yet.
    """
    images = len(list(context.manifest.labelled_samples()))
    rows, classes = min(images, ROWS), len(study.class_ids(context))
    often, dice = max(images / max(rows, 1), 1.0), np.random.default_rng(study.seed)
    features = Features(dice.normal(size=(rows, units + len(names(study.flip)))), units)
    quality, groups = dice.uniform(size=rows), np.arange(rows)
    folds, half = min(study.folds, rows), max(rows // 2, min(rows, study.folds))
    ids = tuple(map(str, range(rows)))
    sampling = Sampling(ids, ids, "images", study.seed, DRAWS)
    layer, holds = dice.normal(size=(rows, min(COMPONENTS, units))), dice.permutation(rows) % 2

    def fold() -> object:
        fit, held = splits(groups, folds, study.seed)[0]
        return fold_of(features, log_odds(quality), groups, search_of(study), fit, held)

    def of_class() -> object:
        search = Search(("ridge",), study.inner, study.components, study.seed)
        own = features[np.arange(half)]
        return crossed(search, own, quality[:half], groups[:half], folds, 1)

    def present() -> object:
        keys = {"folds": folds, "least": study.min_images // 3, "seed": study.seed}
        return presence(0, holds, holds == 1, quality, layer, sampling, groups, **keys)

    times = len(SETS) * study.repeats * study.folds + comb(study.folds, 2)
    found = [Work("quality", often * times, fold)]
    if study.per_class:
        found.append(Work("quality of classes", often * 2 * classes, of_class))
    return [*found, Work("presence of classes", often * classes, present)]
