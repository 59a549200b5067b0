"""Judgements made of numbers, and what their cases count as, without a network."""

from types import SimpleNamespace

import numpy as np

from conceptseg.stats.estimate import Sampling
from conceptseg.study.saliency.findings import findings
from conceptseg.study.saliency.judge import Judged, parse_metrics
from conceptseg.study.saliency.standing import Standing, differences, means

KINDS = {
    name: SimpleNamespace(family="baseline" if name in ("prediction_mask", "noise") else "CAM")
    for name in ("seer", "tracer", "noise", "prediction_mask", *(f"m{i}" for i in range(40)))
}


def judged(values, metrics, methods, chance=None):
    """`values` [cases, methods, metrics], or [cases, methods] of one metric."""
    values = np.asarray(values, dtype=float)
    values = values.reshape(*values.shape[:2], -1)
    n, m, _ = values.shape
    return Judged(
        cases=tuple((f"s{i}", 0) for i in range(n)),
        methods=tuple(methods),
        metrics=parse_metrics(metrics),
        values=values,
        seconds=np.zeros((n, m)),
        passes=np.zeros((n, m, 4)),
        blank=np.zeros((n, m), dtype=bool),
        curves={},
        at={},
        chance=np.full(n, np.nan) if chance is None else np.asarray(chance),
        maps=[],
        images=[],
        regions=[],
        remarks=[[{}] * m] * n,
    )


def sampling(groups):
    """One case for each name of a group."""
    return Sampling(tuple(f"s{i}" for i in range(len(groups))), tuple(groups), "groups", 0)


def claims(one, counted, reference="prediction_mask", insensitive=0.5):
    """The findings of one metric, compared with one reference."""
    (metric,) = one.metrics
    tested = differences(one, metric, reference, counted, 0)
    standing = Standing(counted, np.zeros(0), means(one, counted), tuple(tested))
    return findings(standing, metric, insensitive, {m: KINDS[m] for m in one.methods})
