"""The tables of an ACE result."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from operator import attrgetter as get
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from conceptseg.engine.known import Known
from conceptseg.result.columns import Column
from conceptseg.result.saved import safe_key
from conceptseg.result.table import Table
from conceptseg.stats.estimate import Estimate
from conceptseg.stats.intervals import ALPHA, wilson_interval
from conceptseg.study.ace.assess import PAIRS, Pair
from conceptseg.study.ace.config import Ace
from conceptseg.study.ace.discovery import DISCOVERY, Concept, Discovery
from conceptseg.study.ace.erase import ERASURES
from conceptseg.study.ace.pictures import SHOWN, Shown, exemplars
from conceptseg.study.ace.pool import TAGS
from conceptseg.study.shared.edits import lost
from conceptseg.study.shared.verdicts import Verdict

LOSS = Column("loss", "IoU change", interval=True)
MOVES = Column("moves", "score change", interval=True)
OUTSIDE = Column(
    "outside_loss", "IoU change, erased away from the class only", True, "away only",
    ("outside_low", "outside_high"), "outside",
)  # fmt: skip
NULL_LOSS = Column("null_loss", "IoU change, random direction")
P = Column("p", "p (both)", of=get("test.p"))
P_HOLM = Column("p_holm", "p (both), corrected", of=get("test.adjusted"))
P_BH = Column("p_bh", "p Benjamini-Hochberg")
P_MOVES = Column("p_moves", "p (score change)", of=get("influence.p_effect"))
LEAST = Column("least", "smallest corrected p possible", of=get("test.least"))
TCAV = Column("tcav", "TCAV", of=get("local.tcav"))
TCAV_OUTSIDE = Column("tcav_outside", "TCAV outside", of=get("local.tcav_outside"))
P_TCAV = Column("p_tcav", "p (TCAV)", of=get("local.p_tcav"))
P_PUBLISHED = Column("p_published", "p (published test, not calibrated)")
SHARE = Column("outside_share", "share of gradient from outside", of=get("influence.outside_share"))
ERASED = Column("erased_images", "images erased")


def _lies(tag: str) -> Column:
    return Column(tag, of=lambda pair: pair.where[tag])


PAIR: tuple[Column | str, ...] = (
    Column("concept", of=lambda pair: pair.concept + 1),
    "used",
    "verdict",
    Column("from_context", "acts from context"),
    Column("reached", "share of the class that what lies away from it acts on"),
    LOSS,
    Column("missed", "of that, its own pixels missed", of=get("how.missed.value")),
    Column("false", "other places called it", of=get("how.false.value")),
    Column("how", "found by it, or kept off other places", of=get("how.how")),
    "images",
    MOVES,
    P_MOVES,
    Column("p_alignment", "p (score change per unit of length)", of=get("influence.p_alignment")),
    TCAV,
    TCAV_OUTSIDE,
    Column("smooth_tcav", "smooth TCAV", of=get("local.smooth_tcav")),
    P_TCAV,
    P_PUBLISHED,
    SHARE,
    ERASED,
    Column("counted", "images or groups counted", of=get("test.n")),
    NULL_LOSS,
    Column("p_loss", "p (IoU change)"),
    Column("p_random", "p (one more random direction)"),
    Column("hidden", "smallest loss that random directions do not hide"),
    Column("p_apart", "p (what one more random direction has beside the concept)"),
    Column("apart_loss", "IoU change when what random directions have beside it is erased"),
    OUTSIDE,
    Column("to_lose", "IoU before"),
    Column("detectable", "smallest detectable loss of IoU", of=get("test.detectable")),
    *map(_lies, TAGS),
    P,
    P_HOLM,
    LEAST,
    Column("needs", "would be testable with", of=lambda pair: pair.test.needs or None),
    Column("correction", of=get("test.by")),
    P_BH,
    Column("p_moves_holm", "p Holm (score change)", of=get("moved.adjusted")),
    Column("p_moves_bh", "p Benjamini-Hochberg (score change)"),
)
RATE = Column("false_positive_rate", f"share with p <= {ALPHA}", True, "", ("low", "high"))


def pair_table(pairs: Sequence[Pair], classes: Sequence[str]) -> Table:
    columns = (Column("class", of=lambda pair: classes[pair.class_id]), *PAIR)
    return Table.of(pairs, columns, "Every class and concept that was tested")


def concept_table(
    study: Ace, known: Known, names: Sequence[str], words: Mapping[int, str]
) -> Table:
    """A row for each concept: what it lies on (`names`) and what it is called (`words`)."""
    discovery, shown = known[DISCOVERY], known[SHOWN]

    def alone(concept: Concept) -> float:
        rows = exemplars(study, discovery, concept).tolist()
        return float(np.mean([shown.isolation[row] for row in rows]))

    columns = (
        Column("concept", of="number"),
        Column("given", "the user's name", of="label"),
        Column("word", "called", of=lambda concept: words.get(concept.number, "")),
        Column("seen_on", "seen on", of=lambda concept: names[concept.number - 1]),
        Column("segments", of=lambda concept: len(concept.members)),
        "images",
        Column(
            "area",
            "mean area (share of image)",
            of=lambda concept: float(discovery.area[concept.core].mean()),
        ),
        Column("auc", "AUC on images the CAV did not see"),
        Column("stability", "stability over seeds (Jaccard)"),
        Column("agreement", "cosine of pattern and ridge CAV"),
        Column("isolation", "cosine of the segment alone with itself in place", of=alone),
    )
    return Table.of(discovery.concepts, columns, "The concepts")


def exemplar_table(study: Ace, discovery: Discovery, shown: Shown) -> Table:
    own = [
        (concept.number, row)
        for concept in discovery.concepts
        for row in exemplars(study, discovery, concept).tolist()
    ]
    return _segments(own, discovery, shown, "Segments that stand for each concept")


def map_table(discovery: Discovery, rows: np.ndarray, shown: Shown) -> Table:
    concept_of = np.zeros(len(discovery.image), dtype=np.int64)
    for concept in discovery.concepts:
        concept_of[concept.members] = concept.number
    own = zip(concept_of[rows].tolist(), rows.tolist(), strict=True)
    return _segments(own, discovery, shown, "Segments on the map; concept 0 is none")


def _segments(
    rows: Iterable[tuple[int, int]], discovery: Discovery, shown: Shown, caption: str
) -> Table:
    """Segments by the numbers of their concept and of their row of the pool."""
    edges = ("top", "left", "bottom", "right")
    listed = [
        {
            "concept": concept,
            "sample": discovery.ids[discovery.image[row]],
            "picture": picture_key(discovery.ids[discovery.image[row]]),
            "level": int(discovery.level[row]),
            "segment": int(discovery.number[row]),
            **dict(zip(edges, discovery.box[row].tolist(), strict=True)),
            "outline": shown.outlines.get(row, ""),
        }
        for concept, row in rows
    ]
    return Table(listed, caption=caption)


def class_table(known: Known, classes: Sequence[str]) -> Table:
    discovery, erasures, pairs = known[DISCOVERY], known[ERASURES], known[PAIRS]
    sampling = discovery.sampling.named(erasures.ids)
    of_class = {c: [pair for pair in pairs if pair.class_id == c] for c in discovery.class_images}

    def counted(verdict: Verdict) -> Callable[[int], int]:
        return lambda c: sum(pair.verdict == verdict for pair in of_class[c])

    def detectable(c: int) -> float | None:
        open_ones = [p.test.detectable for p in of_class[c] if p.verdict == "inconclusive"]
        return _known(np.max, open_ones)

    def layer_loss(c: int) -> Estimate:
        return lost(sampling, erasures.change("layer", c)[:, 0], erasures.clean[:, c])

    columns = (
        Column("class", of=lambda c: classes[c]),
        Column("images", of=lambda c: len(discovery.class_images[c])),
        Column("iou", "IoU", of=lambda c: _known(np.mean, erasures.clean[:, c])),
        Column(
            "layer_loss",
            "IoU change, layer set to its mean",
            interval=True,
            brief="",
            ends=("layer_low", "layer_high"),
            of=layer_loss,
        ),
        Column("concepts_tested", "concepts tested", of=lambda c: len(of_class[c])),
        Column("concepts_used", "concepts used", of=lambda c: sum(p.used for p in of_class[c])),
        Column(
            "from_context",
            "of these from context",
            of=lambda c: sum(bool(pair.from_context) for pair in of_class[c]),
        ),
        Column("inconclusive", of=counted("inconclusive")),
        Column("detectable", "loss of IoU that any of these would have shown", of=detectable),
        Column("underpowered", of=counted("underpowered")),
        Column("not_testable", "not testable", of=counted("not testable")),
    )
    return Table.of(sorted(of_class), columns, "The classes")


def _known(function: Callable[[np.ndarray], Any], values: ArrayLike) -> float | None:
    """A function of the finite values; None of none."""
    values = np.asarray(values)
    finite = values[np.isfinite(values)]
    return float(function(finite)) if len(finite) else None


def calibration_table(discovery: Discovery, classes: Sequence[str]) -> Table:
    rows = []
    for class_id, p in sorted(discovery.null_p.items()):
        if len(p):
            rate = float((p <= ALPHA).mean())
            ends = wilson_interval(rate, len(p))
            cells = RATE.cells(Estimate(rate, *ends, len(p), "random concepts"))
            rows.append({"class": classes[class_id], "random_concepts": len(p), **cells})
    labels = {"random_concepts": "random concepts", **RATE.labels}
    return Table(rows, labels=labels, caption="The test, tried on random concepts")


FREQUENT = (
    Column("concept", of=lambda row: int(row.set_name)),
    "column",
    "value",
    Column("share_in_concept", of="share_inside"),
    Column("share_in_all", of="share"),
    "p",
    "p_adjusted",
)


def picture_key(sample_id: str) -> str:
    """The key of a sample's photo among the result's images."""
    return safe_key(f"photo-{sample_id}")
