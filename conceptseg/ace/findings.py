"""The result of an ACE study: findings in words, tables, arrays and pictures."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np

from conceptseg.ace.assess import ALPHA, Pair, describe, enrichment
from conceptseg.ace.discover import Discovery
from conceptseg.ace.erase import Erasures
from conceptseg.ace.pictures import Shown, exemplars, shown_rows
from conceptseg.ace.tcav import TAGS
from conceptseg.compare import Comparison
from conceptseg.contracts import Carry, Context
from conceptseg.result import Finding, Result, Table, plain, ranked, safe_key
from conceptseg.significance import bootstrap_interval

if TYPE_CHECKING:
    from collections.abc import Sequence

    from conceptseg.study.ace import Ace

COMPARED_CLASSES = 4


def to_compare(context: Context, carry: Carry) -> list[tuple[str, int]]:
    """Images for the local saliency maps: of the classes with the strongest findings, one each.

    The image is the one among the concept's exemplars in which the class covers most; classes
    without a finding follow, each with the image in which it covers most.
    """
    found: Discovery = carry["discovery"]
    pairs: Sequence[Pair] = carry["pairs"]
    chosen: dict[int, str] = {}
    for pair in sorted((p for p in pairs if p.used), key=lambda p: (p.loss, p.class_id)):
        core = found.concepts[pair.concept].core
        candidates = np.intersect1d(found.image[core], found.class_images[pair.class_id])
        if pair.class_id not in chosen and len(candidates):
            chosen[pair.class_id] = _fullest(found, pair.class_id, candidates)
    for class_id in sorted(found.class_images, key=lambda c: -len(found.class_images[c])):
        if class_id not in chosen and len(found.class_images[class_id]):
            chosen[class_id] = _fullest(found, class_id, found.class_images[class_id])
    return [(sample_id, class_id) for class_id, sample_id in chosen.items()][:COMPARED_CLASSES]


def _fullest(found: Discovery, class_id: int, images: np.ndarray) -> str:
    """Of the images, the id of the one in which the class covers the largest area."""
    covered = found.share[:, class_id] * found.area * (found.level == 0)
    area = np.bincount(found.image, weights=covered, minlength=len(found.ids))
    return found.ids[int(images[np.argmax(area[images])])]


def conclude(study: Ace, context: Context, carry: Carry) -> Result:
    found: Discovery = carry["discovery"]
    pairs: Sequence[Pair] = carry["pairs"]
    erasures: Erasures = carry["erasures"]
    shown: Shown = carry["pictures"]
    comparison: Comparison = carry["comparison"]
    classes = context.model.classes
    names = [describe(found, concept, classes) for concept in found.concepts]
    metadata = _metadata(context, found)
    rows = shown_rows(study, found)
    tables = {
        "pairs": _pair_table(pairs, classes),
        "concepts": _concept_table(study, found, names, shown),
        "exemplars": _exemplar_table(study, found, shown),
        "classes": _class_table(study, found, erasures, pairs, classes),
        "calibration": _calibration_table(study, found, classes),
        "choices": Table([dict(choice) for choice in found.choices]),
        "enrichment": Table(
            enrichment(found, metadata), caption="Metadata values frequent among a concept's images"
        ),
        "segments": _map_table(found, rows, shown),
        "saliency": _saliency_table(comparison, classes),
    }
    # The report is made of the same plain values (null for nan) before and after saving.
    tables = {
        name: Table(plain(list(table.rows)), table.columns, table.labels, table.caption)
        for name, table in tables.items()
    }
    return Result(
        study="ace",
        findings=ranked(_findings(study, found, pairs, classes, names)),
        tables=tables,
        arrays=_arrays(found, rows, comparison, study.seed),
        images=_images(shown, comparison),
        skipped=_skipped(study, context, found, classes),
        notes={
            "control": carry["control"],
            "layer": context.layer,
            "classes": list(classes),
            "images": len(found.ids),
            "unit": carry["unit"],
            "groups": carry["groups"],
            "origin": context.model.origin,
            "images_given": len(context.manifest.samples),
            "segments": len(found.image),
            "grid_units": int(found.embedding.shape[1]),
            "labelled_images": int(erasures.labelled.sum()),
            "erased_images": len(erasures.ids),
            "smallest_effect": study.smallest_effect,
            "methods": list(comparison.methods),
            "limits": {method: comparison.limits[method] for method in comparison.methods},
            "model": study.model.name,
            "manifest": context.manifest.name,
        },
    )


def _findings(
    study: Ace,
    found: Discovery,
    pairs: Sequence[Pair],
    classes: Sequence[str],
    names: Sequence[str],
) -> list[Finding]:
    result = []
    for pair in pairs:
        if not pair.used:
            continue
        concept = found.concepts[pair.concept]
        what = (
            f"Class {classes[pair.class_id]!r} uses {concept.name}, seen on {names[pair.concept]}"
        )
        place = max(TAGS, key=lambda tag: getattr(pair, tag))
        where = {
            "inside": "mostly inside the class's own region",
            "ring": "mostly right around the class's own region",
            "elsewhere": "mostly away from the class's own region",
        }[place]
        claim = (
            f"{what}, {where} ({getattr(pair, place):.0%}): erasing it changes the class's IoU by "
            f"{pair.loss:+.2f}, erasing a random direction by {pair.null_loss:+.2f}"
        )
        if pair.from_context:
            claim += (
                f". It acts from context: erased outside the class's region alone, it changes the "
                f"IoU by {pair.outside_loss:+.2f}"
            )
        result.append(
            Finding(
                claim=claim + ".",
                class_=classes[pair.class_id],
                effect=pair.loss,
                ci=pair.loss_ci,
                p=pair.p,
                p_adjusted=pair.p_holm,
                n=pair.erased_images,
                evidence=concept.id,
                details={
                    "effect_name": "change of IoU when the concept is erased",
                    "concept": concept.number,
                    "from_context": pair.from_context,
                    "outside_loss": pair.outside_loss,
                    "tcav": pair.tcav,
                    "score_change": pair.moves,
                },
            )
        )
    return result


def _pair_table(pairs: Sequence[Pair], classes: Sequence[str]) -> Table:
    rows = []
    for pair in pairs:
        row = asdict(pair)
        row["class"] = classes[row.pop("class_id")]
        row["concept"] = pair.concept + 1
        for name in ("moves_ci", "loss_ci", "outside_ci"):
            row[f"{name[:-3]}_low"], row[f"{name[:-3]}_high"] = row.pop(name)
        rows.append(row)
    order = ["class", "concept", "used", "from_context", "loss", "loss_low", "loss_high"]
    rest = [name for name in (rows[0] if rows else ()) if name not in order]
    return Table(rows, (*order, *rest), LABELS, "Every class and concept that was tested")


LABELS = {
    "moves": "score change",
    "moves_low": "score change, low",
    "moves_high": "score change, high",
    "p_moves": "p (score change)",
    "tcav": "TCAV",
    "tcav_outside": "TCAV outside",
    "smooth_tcav": "smooth TCAV",
    "p_tcav": "p (TCAV)",
    "p_published": "p (published test, not calibrated)",
    "outside_share": "share of gradient from outside",
    "loss": "IoU change",
    "loss_low": "IoU change, low",
    "loss_high": "IoU change, high",
    "null_loss": "IoU change, random direction",
    "p_loss": "p (IoU change)",
    "outside_loss": "IoU change, erased outside only",
    "outside_low": "outside only, low",
    "outside_high": "outside only, high",
    "detectable": "smallest detectable IoU change",
    "erased_images": "images erased",
    "p": "p (both)",
    "p_holm": "p Holm",
    "p_bh": "p Benjamini-Hochberg",
    "p_moves_holm": "p Holm (score change)",
    "p_moves_bh": "p Benjamini-Hochberg (score change)",
    "from_context": "acts from context",
}


def _concept_table(study: Ace, found: Discovery, names: Sequence[str], shown: Shown) -> Table:
    rows = []
    for concept, name in zip(found.concepts, names, strict=True):
        seen = [shown.isolation[row] for row in exemplars(study, found, concept).tolist()]
        rows.append(
            {
                "concept": concept.number,
                "seen_on": name,
                "segments": len(concept.members),
                "images": concept.images,
                "area": float(found.area[concept.core].mean()),
                "auc": concept.auc,
                "stability": concept.stability,
                "agreement": concept.agreement,
                "isolation": float(np.mean(seen)),
            }
        )
    labels = {
        "seen_on": "seen on",
        "area": "mean area (share of image)",
        "auc": "CAV's held-out AUC",
        "stability": "stability over seeds (Jaccard)",
        "agreement": "cosine of pattern and ridge CAV",
        "isolation": "cosine with its crop alone",
    }
    return Table(rows, labels=labels, caption="The concepts")


def _exemplar_table(study: Ace, found: Discovery, shown: Shown) -> Table:
    rows = []
    for concept in found.concepts:
        for row in exemplars(study, found, concept).tolist():
            rows.append({"concept": concept.number, **_segment(found, row, shown)})
    return Table(rows, caption="Segments that stand for each concept")


def _segment(found: Discovery, row: int, shown: Shown) -> dict[str, Any]:
    top, left, bottom, right = (int(edge) for edge in found.box[row])
    return {
        "sample": found.ids[found.image[row]],
        "picture": picture_key(found.ids[found.image[row]]),
        "level": int(found.level[row]),
        "segment": int(found.number[row]),
        "top": top,
        "left": left,
        "bottom": bottom,
        "right": right,
        "outline": shown.outlines.get(row, ""),
    }


def _map_table(found: Discovery, rows: np.ndarray, shown: Shown) -> Table:
    concept_of = np.zeros(len(found.image), dtype=np.int64)
    for concept in found.concepts:
        concept_of[concept.members] = concept.number
    listed = [
        {"concept": int(concept_of[row]), **_segment(found, row, shown)} for row in rows.tolist()
    ]
    return Table(listed, caption="Segments on the map; concept 0 is none")


def _class_table(
    study: Ace,
    found: Discovery,
    erasures: Erasures,
    pairs: Sequence[Pair],
    classes: Sequence[str],
) -> Table:
    rows = []
    for class_id, images in sorted(found.class_images.items()):
        clean = erasures.clean[:, class_id]
        good = np.flatnonzero(np.isfinite(clean))
        groups = [erasures.groups[i] for i in good]
        lost = erasures.layer_loss(class_id)[good].astype(np.float64)
        low, high = bootstrap_interval(lost, groups, seed=study.seed) if len(good) else (None, None)
        mine = [pair for pair in pairs if pair.class_id == class_id]
        detectable = [pair.detectable for pair in mine if np.isfinite(pair.detectable)]
        rows.append(
            {
                "class": classes[class_id],
                "images": len(images),
                "iou": float(clean[good].mean()) if len(good) else None,
                "layer_loss": float(lost.mean()) if len(good) else None,
                "layer_low": low,
                "layer_high": high,
                "concepts_tested": len(mine),
                "concepts_used": sum(pair.used for pair in mine),
                "from_context": sum(pair.from_context for pair in mine),
                "detectable": float(np.median(detectable)) if detectable else None,
            }
        )
    labels = {
        "iou": "IoU",
        "layer_loss": "IoU change, layer set to its mean",
        "layer_low": "low",
        "layer_high": "high",
        "concepts_tested": "concepts tested",
        "concepts_used": "concepts used",
        "from_context": "of these from context",
        "detectable": "median smallest detectable IoU change",
    }
    return Table(rows, labels=labels, caption="The classes")


def _calibration_table(study: Ace, found: Discovery, classes: Sequence[str]) -> Table:
    rows = []
    for class_id, p in sorted(found.null_p.items()):
        if len(p):
            rate = float((p <= ALPHA).mean())
            error = 1.96 * np.sqrt(rate * (1 - rate) / len(p))
            rows.append(
                {
                    "class": classes[class_id],
                    "random_concepts": len(p),
                    "false_positive_rate": rate,
                    "low": max(0.0, float(rate - error)),
                    "high": min(1.0, float(rate + error)),
                }
            )
    labels = {"random_concepts": "random concepts", "false_positive_rate": "share with p <= 0.05"}
    return Table(rows, labels=labels, caption="The test, tried on random concepts")


def _saliency_table(comparison: Comparison, classes: Sequence[str]) -> Table:
    rows = [
        {
            "sample": sample_id,
            "class": classes[class_id],
            "picture": safe_key(f"compare-{n}"),
            **{method: safe_key(f"compare-{n}-{method}") for method in comparison.methods},
        }
        for n, (sample_id, class_id) in enumerate(comparison.chosen)
    ]
    return Table(rows, caption="Local saliency maps shown for comparison")


def picture_key(sample_id: str) -> str:
    """The key of a sample's photo among the result's images."""
    return safe_key(f"photo-{sample_id}")


def _images(shown: Shown, comparison: Comparison) -> dict[str, bytes]:
    images = {picture_key(sample_id): data for sample_id, data in shown.photos.items()}
    for n in range(len(comparison.chosen)):
        images[safe_key(f"compare-{n}")] = comparison.plain[n]
        for method in comparison.methods:
            images[safe_key(f"compare-{n}-{method}")] = comparison.pictures[method][n]
    return images


def _arrays(
    found: Discovery, rows: np.ndarray, comparison: Comparison, seed: int
) -> dict[str, np.ndarray]:
    """Directions, nulls and the map of segments; `null_*` by class, concept and draw."""
    classes = sorted({class_id for class_id, _ in found.influence})
    q = len(found.concepts)
    units = found.embedding.shape[1]
    arrays = {
        "cav": np.array([c.direction for c in found.concepts], np.float32).reshape(q, units),
        "layer_mean": np.asarray(found.mean, dtype=np.float32),
        "map": embed(found.embedding[rows], seed),
        "null_class": np.array(classes, dtype=np.int32),
    }
    if found.influence:
        arrays["null_moves"] = np.array(
            [[found.influence[c, k].null_effect for k in range(q)] for c in classes], np.float32
        )
    for n in range(len(comparison.chosen)):
        for method in comparison.methods:
            arrays[safe_key(f"saliency-{n}-{method}")] = comparison.maps[method][n]
    return arrays


def embed(rows: np.ndarray, seed: int) -> np.ndarray:
    """UMAP of embeddings [m, u] -> [m, 2]; the first two principal components of very few.

    Cosine distance, 15 neighbours, min_dist 0.1, fixed seed. For the eye alone: no number of a
    study depends on it, and distances between its islands mean nothing.

    Source: McInnes, Healy & Melville 2018, arXiv 1802.03426.
    """
    import warnings

    from conceptseg.concepts.kmeans import project

    points = project(rows, 1.0, 50)
    if len(points) < 32:
        return np.pad(points[:, :2], ((0, 0), (0, max(0, 2 - points.shape[1])))).astype(np.float32)
    with warnings.catch_warnings():
        # With a fixed seed UMAP uses one thread, and warns that it does.
        warnings.simplefilter("ignore")
        from umap import UMAP

        return UMAP(random_state=seed, n_jobs=1).fit_transform(points).astype(np.float32)


def _metadata(context: Context, found: Discovery) -> dict[str, list[str]]:
    by_id = {sample.id: sample for sample in context.manifest.samples}
    columns = sorted({name for i in found.ids for name in by_id[i].metadata})
    return {name: [str(by_id[i].metadata.get(name, "")) for i in found.ids] for name in columns}


def _skipped(
    study: Ace, context: Context, found: Discovery, classes: Sequence[str]
) -> list[dict[str, Any]]:
    result = [{"kind": "cluster", **dropped} for dropped in found.dropped]
    for class_id, images in sorted(found.class_images.items()):
        if len(images) < study.min_images:
            reason = f"predicted in {len(images)} images, fewer than {study.min_images}"
            result.append({"kind": "class", "class": classes[class_id], "reason": reason})
    kept = set(found.ids)
    for sample in context.manifest.samples:
        if sample.id not in kept:
            reason = "no class to explain, or not drawn (images_per_class)"
            result.append({"kind": "sample", "sample": sample.id, "reason": reason})
    return result
