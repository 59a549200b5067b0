"""The tables of an ACE result."""

from collections.abc import Callable, Sequence
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
from conceptseg.study.ace.discover import CALIBRATION_DRAWS
from conceptseg.study.ace.discovery import DISCOVERY, Discovery
from conceptseg.study.ace.erase import ERASURES
from conceptseg.study.ace.pictures import SHOWN, Shown, exemplars
from conceptseg.study.ace.pool import TAGS

LOSS = Column("loss", "IoU change", interval=True)
MOVES = Column("moves", "score change", interval=True)
OUTSIDE = Column(
    "outside_loss", "IoU change, erased outside only", True, "outside only",
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
    Column("from_context", "acts from context"),
    LOSS,
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
    OUTSIDE,
    Column("detectable", "smallest detectable IoU change", of=get("test.detectable")),
    *map(_lies, TAGS),
    P,
    P_HOLM,
    LEAST,
    Column("correction", of=get("test.by")),
    P_BH,
    Column("p_moves_holm", "p Holm (score change)"),
    Column("p_moves_bh", "p Benjamini-Hochberg (score change)"),
    Column("p_moves_max", "p max-statistic (score change)", of=get("moved.adjusted")),
)
LAYER = ("layer_low", "layer_high")
LAYER_LOSS = Column("layer_loss", "IoU change, layer set to its mean", True, "", LAYER)
RATE = Column("false_positive_rate", f"share with p <= {ALPHA}", True, "", ("low", "high"))


def pair_table(pairs: Sequence[Pair], classes: Sequence[str]) -> Table:
    columns = (Column("class", of=lambda pair: classes[pair.class_id]), *PAIR)
    return Table.of(pairs, columns, "Every class and concept that was tested")


def concept_table(study: Ace, known: Known, names: Sequence[str]) -> Table:
    discovery, shown = known[DISCOVERY], known[SHOWN]
    rows = []
    for concept, name in zip(discovery.concepts, names, strict=True):
        alone = [shown.isolation[row] for row in exemplars(study, discovery, concept).tolist()]
        rows.append(
            {
                "concept": concept.number,
                "seen_on": name,
                "segments": len(concept.members),
                "images": concept.images,
                "area": float(discovery.area[concept.core].mean()),
                "auc": concept.auc,
                "stability": concept.stability,
                "agreement": concept.agreement,
                "isolation": float(np.mean(alone)),
            }
        )
    labels = {
        "seen_on": "seen on",
        "area": "mean area (share of image)",
        "auc": "AUC on images the CAV did not see",
        "stability": "stability over seeds (Jaccard)",
        "agreement": "cosine of pattern and ridge CAV",
        "isolation": "cosine of the segment alone with itself in place",
    }
    return Table(rows, labels=labels, caption="The concepts")


def exemplar_table(study: Ace, discovery: Discovery, shown: Shown) -> Table:
    rows = [
        {"concept": concept.number, **_segment(discovery, row, shown)}
        for concept in discovery.concepts
        for row in exemplars(study, discovery, concept).tolist()
    ]
    return Table(rows, caption="Segments that stand for each concept")


def map_table(discovery: Discovery, rows: np.ndarray, shown: Shown) -> Table:
    concept_of = np.zeros(len(discovery.image), dtype=np.int64)
    for concept in discovery.concepts:
        concept_of[concept.members] = concept.number
    listed = [
        {"concept": int(concept_of[row]), **_segment(discovery, row, shown)}
        for row in rows.tolist()
    ]
    return Table(listed, caption="Segments on the map; concept 0 is none")


def _segment(discovery: Discovery, row: int, shown: Shown) -> dict[str, Any]:
    sample = discovery.ids[discovery.image[row]]
    edges = zip(("top", "left", "bottom", "right"), discovery.box[row].tolist(), strict=True)
    return {
        "sample": sample,
        "picture": picture_key(sample),
        "level": int(discovery.level[row]),
        "segment": int(discovery.number[row]),
        **dict(edges),
        "outline": shown.outlines.get(row, ""),
    }


def class_table(known: Known, classes: Sequence[str]) -> Table:
    discovery, erasures = known[DISCOVERY], known[ERASURES]
    sampling = discovery.sampling.named(erasures.ids)
    rows = []
    for class_id, images in sorted(discovery.class_images.items()):
        clean = erasures.clean[:, class_id]
        pairs = [pair for pair in known[PAIRS] if pair.class_id == class_id]
        tests = [pair.test for pair in pairs]
        rows.append(
            {
                "class": classes[class_id],
                "images": len(images),
                "iou": _known(np.mean, clean),
                **LAYER_LOSS.cells(sampling.mean(erasures.change("layer", class_id)[:, 0])),
                "concepts_tested": len(pairs),
                "concepts_used": sum(pair.used for pair in pairs),
                "from_context": sum(pair.from_context for pair in pairs),
                "detectable": _known(np.median, [test.detectable for test in tests]),
                "least": _known(np.median, [test.least for test in tests]),
            }
        )
    labels = {
        "iou": "IoU",
        **LAYER_LOSS.labels,
        "concepts_tested": "concepts tested",
        "concepts_used": "concepts used",
        "from_context": "of these from context",
        "detectable": "median smallest detectable IoU change",
        "least": "median smallest corrected p possible",
    }
    return Table(rows, labels=labels, caption="The classes")


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
            # All random concepts of a make-up are compared with the same draws.
            ends = wilson_interval(rate, 1 / (1 / len(p) + 1 / CALIBRATION_DRAWS))
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
