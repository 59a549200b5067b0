"""The pass over images, and what follows from it."""

import numpy as np

from conceptseg.data.batch import Batch
from conceptseg.engine.contract import Context, Pass
from conceptseg.engine.known import Key, Known
from conceptseg.stats.estimate import Estimate, Sampling
from conceptseg.stats.family import Question, Test, judge
from conceptseg.stats.mergeable.sample_table import SampleTable
from tests.study.brightness.config import Brightness

MEASURED = Key("measured", SampleTable)
SAMPLING = Key("sampling", Sampling)
GAPS: Key[dict[int, tuple[Estimate, Test]]] = Key("gaps", dict)


class Measure(Pass):
    """One forward pass per image; the gap of brightness for each class that is there."""

    name = "measure"

    def map(self, context: Context, batch: Batch, known: Known) -> Known:
        table = SampleTable.empty()
        for i, predicted in enumerate(context.model(batch.images).argmax(1)):
            grey = batch.images[i].mean(0)
            there = [c for c in predicted.unique().tolist() if (predicted != c).any()]
            gaps = [grey[predicted == c].mean() - grey[predicted != c].mean() for c in there]
            row = {"class": np.array(there, int), "gap": np.array(gaps, float)}
            table = table.merge(SampleTable.of(batch.ids[i], row))
        return MEASURED(table)

    def finish(self, context: Context, state: Known, known: Known) -> Known:
        return state


def assess(study: Brightness, context: Context, known: Known) -> Known:
    """Classes that are in enough images, all tested together."""
    tables = known[MEASURED].tables
    ids = sorted(tables)
    groups = [context.manifest.sample(name).group for name in ids]
    sampling = Sampling.counting(ids, groups, study.unit, context.seed)
    values = np.full((len(context.model.classes), len(ids)), np.nan)
    for i, name in enumerate(ids):
        values[tables[name]["class"], i] = tables[name]["gap"]
    kept = np.flatnonzero(np.isfinite(values).sum(1) >= study.min_images).tolist()
    tests = judge([Question(values[c], sampling) for c in kept], side="two", seed=context.seed)
    gaps = {c: (sampling.mean(values[c]), test) for c, test in zip(kept, tests, strict=True)}
    return SAMPLING(sampling) | GAPS(gaps)
