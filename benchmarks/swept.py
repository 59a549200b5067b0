"""A pass over every row whose state has one size, for `ten_million`: predicted pixels by class."""

import numpy as np

from conceptseg.data.batch import Batch
from conceptseg.engine.contract import Context, Pass
from conceptseg.engine.known import Key, Known
from conceptseg.stats.mergeable.moments import Moments

PIXELS = Key("pixels", Moments)


class Count(Pass):
    """One forward pass per image."""

    name = "count"

    def map(self, context: Context, batch: Batch, known: Known) -> Known:
        classes = context.model(batch.images).argmax(1).flatten(1)
        counts = [(classes == c).sum(1).numpy() for c in range(len(context.model.classes))]
        return PIXELS(Moments.of(np.stack(counts, 1).astype(float)))
