"""The tables of the result."""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from conceptseg import catalogue
from conceptseg.explain.lrp.doubts import CURE
from conceptseg.result.columns import Column, labels_of
from conceptseg.result.table import Table
from conceptseg.stats.intervals import finite_mean
from conceptseg.study.saliency.judge import Judged
from conceptseg.study.saliency.standing import Standing

RANK = Column("rank", "mean rank", interval=True, brief="rank")
PASSES = tuple(
    Column(key, f"{key.removesuffix('s').replace('_', ' ')} passes")
    for key in ("forwards", "backwards", "tails", "tail_backwards")
)
BLANK = Column("blank", "maps that are zero everywhere")
REMARKS = Column("remarks", "remarks (maps)")
MEAN = Column("mean", interval=True, ends=("low", "high"), of="estimate")
DIFFERENCE = Column(
    "difference", "better by", interval=True, brief="", ends=("low", "high"), of="estimate"
)
P_ADJUSTED = Column("p_holm", "p, corrected", of=lambda one: one.test.adjusted)
DETECTABLE = Column(
    "detectable", "smallest detectable difference", of=lambda one: one.test.detectable
)
MEANS = ("method", "metric", MEAN, "cases")
AGAINST = (
    "method",
    "metric",
    "reference",
    DIFFERENCE,
    Column("p", of=lambda one: one.test.p),
    P_ADJUSTED,
    Column("p_least", "smallest corrected p that could be", of=lambda one: one.test.least),
    DETECTABLE,
    "cases",
    Column("correction", of=lambda one: one.test.by),
)


def method_table(judged: Judged, standing: Standing, kinds: Mapping[str, catalogue.Entry]) -> Table:
    """One row per method, best overall rank first: what it is, what it costs, how it ranks."""
    counted = [column.key for column in PASSES]
    rows = [
        {
            "method": method,
            "family": kinds[method].family,
            **RANK.cells(standing.sampling.mean(standing.ranks[:, m])),
            BLANK.key: int(judged.blank[:, m].sum()),
            REMARKS.key: ", ".join(
                f"{kind} ({len(texts)})" for kind, texts in remarked(judged, m).items()
            ),
            **dict(zip(counted, finite_mean(judged.passes[:, m], 0).tolist(), strict=True)),
            "source": kinds[method].source,
        }
        for m, method in enumerate(judged.methods)
    ]
    order = np.argsort(np.nan_to_num(standing.ranks, nan=np.inf).mean(0), kind="stable")
    labels = labels_of((RANK, BLANK, REMARKS, *PASSES))
    caption = "The methods, best mean rank first"
    return Table([rows[m] for m in order], labels=labels, caption=caption)


def remarked(judged: Judged, m: int) -> dict[str, list[str]]:
    """What is remarked of a method's maps, a text for each map by kind; most maps first."""
    found: dict[str, list[str]] = {}
    for own in judged.remarks:
        for kind, text in own[m].items():
            if kind != CURE:
                found.setdefault(kind, []).append(text)
    return dict(sorted(found.items(), key=lambda item: -len(item[1])))


def remark_table(judged: Judged) -> Table:
    """One row per method and kind of remark: of how many maps it is, and the first one's words."""
    rows = [
        {
            "method": method,
            "remark": kind,
            "maps": len(texts),
            "of": int(np.isfinite(judged.passes[:, m]).any(1).sum()),
            "in the first of them": texts[0],
        }
        for m, method in enumerate(judged.methods)
        for kind, texts in remarked(judged, m).items()
    ]
    return Table(rows, caption="What must be known of the maps")


def case_table(judged: Judged, classes: Sequence[str]) -> Table:
    rows = [
        {"case": number, "sample": sample_id, "class": classes[class_id]}
        for number, (sample_id, class_id) in enumerate(judged.cases, start=1)
    ]
    return Table(rows, caption="Images and classes that were explained")


def value_table(judged: Judged, classes: Sequence[str]) -> Table:
    rows = [
        {
            "sample": sample_id,
            "class": classes[class_id],
            "method": method,
            BLANK.key: bool(judged.blank[n, m]),
            REMARKS.key: [kind for kind in judged.remarks[n][m] if kind != CURE],
            **dict(zip(judged.metrics, judged.values[n, m].tolist(), strict=True)),
        }
        for n, (sample_id, class_id) in enumerate(judged.cases)
        for m, method in enumerate(judged.methods)
    ]
    return Table(rows, caption="Every metric of every method in every case")


def metric_table(judged: Judged) -> Table:
    rows = [
        {
            "metric": label,
            "what": entry.summary,
            "better": judged.metrics[label].better,
            "parameters": ", ".join(
                f"{k} {v}" for k, v in judged.metrics[label].model_dump().items()
            ),
            "source": entry.source,
        }
        for label, entry in entries("metrics", judged.metrics).items()
    ]
    return Table(rows, caption="The metrics")


def entries(kind: str, labels: Iterable[str]) -> dict[str, catalogue.Entry]:
    """Each technique's row of the catalogue, by what the study calls it."""
    return {label: catalogue.entry(kind, label.partition(" (")[0]) for label in labels}
