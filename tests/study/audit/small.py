"""Holdings and swaps made by hand, and what is concluded of them."""

from types import SimpleNamespace

import numpy as np

from conceptseg.data.manifest import Sample
from conceptseg.engine.known import Known
from conceptseg.stats.mergeable.sample_table import SampleTable
from conceptseg.study.audit import assess
from conceptseg.study.audit.case import CASES
from conceptseg.study.audit.config import Audit
from conceptseg.study.audit.contexts import CONTEXTS, ContextType
from conceptseg.study.audit.look import LOOKED
from conceptseg.study.audit.margins import MARGINS
from conceptseg.study.audit.match import MATCHED
from conceptseg.study.audit.shift import PLACED
from conceptseg.study.audit.survey import GRID, HOLDINGS, PLAN, Holdings, Plan
from conceptseg.study.audit.swap import SWAPPED


def audit(**keys):
    """A study with defaults, but for `keys`."""
    data = {"data": {"manifest": "m"}, "model": {"source": "planted", "name": "clean"}}
    return Audit(**{**data, **keys})


def holdings(share, groups=None, classes=2):
    """Images that hold contexts by `share` [n, q], everywhere alike."""
    n, q = share.shape
    ids = tuple(f"s{i:03}" for i in range(n))
    return Holdings(
        ids,
        tuple(groups or ids),
        pixels=np.full((n, classes), 100),
        size=np.full(n, 1000),
        share=share,
        cells=np.zeros((n, q, GRID**2 // 8), np.uint8),
        ground=np.zeros((n, GRID, GRID), np.int32),
        tone=np.zeros((n, 2)),
    )


def assessed(
    values, arms, donors, looked=None, before=None, hidden=None, filled=0.0, holds=(), **keys
):
    """The cases of class 1, of IoUs `values` [n, m] of images with donors, of which `arms` [m, q]
    says for each context 1, -1 or 0; `donors` [m] are numbers of images.

    The images themselves have IoUs `before` [n], 0.9 if not given, and with hidden surroundings
    `hidden` [n], the same if not given; those whose numbers are in
    `holds` hold all contexts, which fill that part of their margin.
    """
    n, q = len(values), arms.shape[1]
    ids = tuple(f"s{i:03}" for i in range(n))
    share = np.zeros((max(n, max(donors) + 1), q))
    share[list(holds)] = 1.0
    held, tables, matched = holdings(share), {}, {}
    for i, name in enumerate(ids):
        matched[name] = {"of": np.array([1]), "filled": np.full((1, q), filled)}
        iou = np.concatenate([[0.9 if before is None else before[i]], values[i]])
        rest = np.zeros_like(iou)
        scores = np.stack([iou, iou, 1 - iou, rest], 1)
        tables[name] = {
            "class": np.ones(len(iou), int),
            "margin": np.full(len(iou), 8.0),
            "donor": np.array(["", *(held.ids[d] for d in donors)]),
            "arm": np.concatenate([np.zeros((1, q), int), arms]),
            "scores": scores,
            "hidden": np.array([iou[0] if hidden is None else hidden[i], *(np.nan * values[i])]),
        }
    samples = {name: Sample(id=name) for name in held.ids}
    context = SimpleNamespace(
        manifest=SimpleNamespace(sample=samples.get, where="m"),
        model=SimpleNamespace(classes=["background", "digit"]),
        seed=0,
    )
    known = (
        Known()
        | HOLDINGS(held)
        | CONTEXTS(tuple(ContextType(f"t{k}", "mask") for k in range(q)))
        | PLAN(Plan({1: ids}, {1: tuple(range(q))}))
        | MARGINS({(1, k): 8.0 for k in range(q)})
        | PLACED({})
        | SWAPPED(SampleTable.each(tables))
        | MATCHED(SampleTable.each(matched))
        | LOOKED(looked or SampleTable.empty())
    )
    study = audit(**{"donors": 5, "min_images": 5, **keys})
    return assess.assess(study, context, known)[CASES]


def looked(ids, alone, on=np.nan, contexts=1):
    """What the supporting lines say of class 1 in images, the same of each."""
    one = {
        "class": np.array([1]),
        "alone": np.array([alone]),
        "radius": np.array([0.0]),
        "on": np.full((1, contexts), on),
        "failed": np.array([["", "", ""]]),
    }
    return SampleTable.each(dict.fromkeys(ids, one))
