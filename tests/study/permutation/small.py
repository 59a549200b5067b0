"""What exchanges changed, made by hand, and what is concluded of it."""

from types import SimpleNamespace

import numpy as np

from conceptseg.data.manifest import Sample
from conceptseg.engine.known import Known
from conceptseg.study.permutation import assess
from conceptseg.study.permutation.deltas import DELTAS, Deltas
from conceptseg.study.permutation.features import Feature
from conceptseg.study.permutation.survey import Variant


def deltas(overlap, clean):
    """`overlap` [n, v, k], made once."""
    n, v, k = overlap.shape
    parts = tuple(Variant(Feature(f"p{i}", "channels", (i,)), "swap") for i in range(v))
    ids = tuple(f"s{i:02}" for i in range(n))
    nothing = np.zeros((n, v, 2, k))
    return Deltas(ids, parts, clean, overlap[:, :, None], nothing[:, 0], nothing)


def assessed(given: Deltas, group_of, unit="group", smallest=0.005):
    """By number of the part and name of the class; groups by number of the image."""
    samples = {name: Sample(id=name, group=group_of(i)) for i, name in enumerate(given.ids)}
    classes = range(given.clean.shape[1])
    context = SimpleNamespace(
        manifest=SimpleNamespace(sample=samples.get),
        model=SimpleNamespace(classes=[f"c{number}" for number in classes]),
        seed=0,
    )
    study = SimpleNamespace(
        unit=unit,
        smallest_effect=smallest,
        min_images=2,
        class_ids=lambda context: tuple(classes),
    )
    known = assess.assess(study, context, Known() | DELTAS(given))[assess.IMPORTANCES]
    return {(given.variants.index(one.variant), one.class_name): one for one in known}
