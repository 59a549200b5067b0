"""The tables of the result."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from conceptseg import catalogue
from conceptseg.catalogue import Choice
from conceptseg.result.table import Table
from conceptseg.study.saliency.judge import PASSES, Judged
from conceptseg.study.saliency.standing import Difference, mean, overall

PASS_COLUMNS = tuple(f"{kind.replace(' ', '_')}s" for kind in PASSES)


def method_table(
    judged: Judged, kinds: dict[str, catalogue.Entry], groups: Sequence[str], seed: int
) -> Table:
    """One row per method, best overall rank first: what it is, what it costs, how it ranks."""
    rank = overall(judged)
    rows = []
    for m, method in enumerate(judged.methods):
        place = mean(rank[:, m], groups, seed)
        passes = judged.passes[:, m].mean(0)
        rows.append(
            {
                "method": method,
                "family": kinds[method].family,
                "rank": place.value,
                "rank_low": place.low,
                "rank_high": place.high,
                **dict(zip(PASS_COLUMNS, passes.tolist(), strict=True)),
                "source": kinds[method].source,
            }
        )
    order = np.argsort(np.nan_to_num(rank, nan=np.inf).mean(0), kind="stable")
    rows = [rows[m] for m in order]
    names = {
        "rank": "mean rank",
        "rank_low": "rank, low",
        "rank_high": "rank, high",
        "forwards": "forward passes",
        "backwards": "backward passes",
        "tails": "tail passes",
        "tail_backwards": "tail backward passes",
    }
    return Table(rows, labels=names, caption="The methods, best mean rank first")


def mean_table(judged: Judged, groups: Sequence[str], seed: int) -> Table:
    rows = []
    for metric in judged.metrics:
        values = judged.of(metric)
        for m, method in enumerate(judged.methods):
            found = mean(values[:, m], groups, seed)
            rows.append(
                {
                    "method": method,
                    "metric": metric,
                    "mean": found.value,
                    "low": found.low,
                    "high": found.high,
                    "cases": found.n,
                }
            )
    return Table(rows, caption="Mean of each metric for each method, with 95 % intervals")


def against_table(found: dict[tuple[str, str], list[Difference]]) -> Table:
    rows = [
        {
            "method": one.method,
            "metric": metric,
            "reference": reference,
            "difference": one.value,
            "low": one.low,
            "high": one.high,
            "p": one.p,
            "p_holm": one.p_holm,
            "p_least": one.p_least,
            "detectable": one.detectable,
            "cases": one.n,
        }
        for (metric, reference), each in found.items()
        for one in each
    ]
    names = {
        "difference": "better by",
        "p_holm": "p Holm",
        "p_least": "smallest it could be",
        "detectable": "smallest detectable difference",
    }
    return Table(rows, labels=names, caption="Each method against trivial maps, paired by case")


def case_table(judged: Judged, classes: Sequence[str]) -> Table:
    rows = [
        {"case": n + 1, "sample": sample_id, "class": classes[class_id]}
        for n, (sample_id, class_id) in enumerate(judged.cases)
    ]
    return Table(rows, caption="Images and classes that were explained")


def value_table(judged: Judged, classes: Sequence[str]) -> Table:
    rows = []
    for n, (sample_id, class_id) in enumerate(judged.cases):
        for m, method in enumerate(judged.methods):
            told = dict(zip(judged.metrics, judged.values[n, m].tolist(), strict=True))
            head = {"sample": sample_id, "class": classes[class_id], "method": method}
            rows.append({**head, **told})
    return Table(rows, caption="Every metric of every method in every case")


def metric_table(judged: Judged, entries: Sequence[Choice]) -> Table:
    rows = []
    for (label, metric), entry in zip(judged.metrics.items(), entries, strict=True):
        kind = entry if isinstance(entry, str) else str(entry["kind"])
        row = catalogue.entry("metrics", kind)
        rows.append(
            {
                "metric": label,
                "what": row.summary,
                "better": metric.better,
                "parameters": ", ".join(f"{k} {v}" for k, v in metric.model_dump().items()),
                "source": row.source,
            }
        )
    return Table(rows, caption="The metrics")
