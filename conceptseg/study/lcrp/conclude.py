"""The result of an L-CRP study: findings in words, tables, arrays and pictures."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from conceptseg.result.finding import ranked
from conceptseg.result.saved import Result, safe_key
from conceptseg.study.lcrp.assess import agreements, assess
from conceptseg.study.lcrp.choose import Chosen, known_channels
from conceptseg.study.lcrp.classes import class_table
from conceptseg.study.lcrp.control import Kept
from conceptseg.study.lcrp.findings import findings
from conceptseg.study.lcrp.flip import Curves
from conceptseg.study.lcrp.maps import Found
from conceptseg.study.lcrp.tables import (
    agreement_table,
    flip_table,
    grid_key,
    kept_table,
    score_table,
)
from conceptseg.study.shared import local_maps

if TYPE_CHECKING:
    from conceptseg.engine.contract import Carry, Context
    from conceptseg.study.lcrp.config import Lcrp
    from conceptseg.study.shared.compare import Comparison

GRID_PX = 128


def conclude(study: Lcrp, context: Context, carry: Carry) -> Result:
    chosen: Chosen = carry["chosen"]
    maps: Found = carry["maps"]
    curves: Curves = carry["flip"]
    kept: Kept = carry["kept"]
    comparison: Comparison = carry["comparison"]
    classes = context.model.classes
    known = known_channels(study, context)
    scores = assess(study, chosen, maps, carry["control"], carry["sensitivity"])
    tables = {
        "scores": score_table(scores, classes, known),
        "classes": class_table(
            study, chosen, maps, scores, carry["control"], carry["sensitivity"], classes
        ),
        "agreement": agreement_table(agreements(scores, study.seed)),
        "flipping": flip_table(chosen, curves, study.seed),
        "retained": kept_table(kept),
        "saliency": local_maps.table(comparison, classes),
    }
    return Result(
        study="lcrp",
        findings=ranked(findings(scores, classes, known)),
        tables=tables,
        arrays=_arrays(chosen, curves, comparison),
        images=_images(study, chosen, maps, comparison, classes),
        skipped=_skipped(study, context, chosen),
        notes=_notes(study, context, chosen, kept, curves, comparison)
        | {"shuffled_largest": carry["control"].largest.tolist()},
    )


def _arrays(chosen: Chosen, curves: Curves, comparison: Comparison) -> dict[str, np.ndarray]:
    """Mean and deviation of relevance [classes, u], and mean curves [orders + 1, points]."""
    names = len(curves.names)
    mean = [curves.of(n).mean(0) for n in range(names)] if len(curves.samples) else []
    arrays = {
        "class": np.array(chosen.classes, np.int32),
        "relevance_mean": np.stack([chosen.mean[c] for c in chosen.classes]).astype(np.float32),
        "relevance_spread": np.stack([chosen.spread[c] for c in chosen.classes]).astype(np.float32),
        "flip_share": curves.share.astype(np.float32),
    }
    if mean:
        random = curves.change[:, names:].mean(0)
        arrays["flip_mean"] = np.stack(mean).astype(np.float32)
        arrays["flip_random"] = random.astype(np.float32)
    return arrays | local_maps.arrays(comparison)


def _images(
    study: Lcrp, chosen: Chosen, maps: Found, comparison: Comparison, classes: Sequence[str]
) -> dict[str, bytes]:
    images: dict[str, bytes] = {}
    for (c, k), best in chosen.relevant.items():
        parts = [maps.pictures.get((s, c, k), b"") for s, _ in best[: study.exemplars]]
        images |= _shown(grid_key("relevant", classes[c], k), parts)
    for k, best in chosen.active.items():
        parts = [maps.active.get((s, k), b"") for s, _ in best[: study.exemplars]]
        images |= _shown(safe_key(f"active-{k}"), parts)
    return images | local_maps.pictures(comparison)


def _shown(key: str, parts: Sequence[bytes]) -> dict[str, bytes]:
    """Pictures under `key-0`, `key-1`, ..., and all of them in one under `key`."""
    held = [data for data in parts if data]
    return {key: montage(held), **{f"{key}-{n}": data for n, data in enumerate(held)}}


def montage(parts: Sequence[bytes], side: int = GRID_PX, columns: int = 2) -> bytes:
    """Pictures in rows of two, as one WebP, each no longer than `side`; grey without any."""
    from PIL import Image

    from conceptseg.report.thumbnails import encode

    opened = [Image.open(io.BytesIO(data)).convert("RGB") for data in parts]
    if not opened:
        return encode(Image.new("RGB", (side, side), "#c8c8c8"))
    for picture in opened:
        picture.thumbnail((side, side))
    gap, width, height = 4, opened[0].width, max(picture.height for picture in opened)
    rows = -(-len(opened) // columns)
    across = min(columns, len(opened))
    size = (across * (width + gap) - gap, rows * (height + gap) - gap)
    whole = Image.new("RGB", size, "#ffffff")
    for n, picture in enumerate(opened):
        whole.paste(picture, (n % columns * (width + gap), n // columns * (height + gap)))
    return encode(whole)


def _skipped(study: Lcrp, context: Context, chosen: Chosen) -> list[dict[str, Any]]:
    return [
        {
            "kind": "class",
            "class": context.model.classes[c],
            "reason": f"predicted in {count} images, fewer than {study.min_images}",
        }
        for c, count in sorted(chosen.skipped.items())
    ]


def _notes(
    study: Lcrp,
    context: Context,
    chosen: Chosen,
    kept: Kept,
    curves: Curves,
    comparison: Comparison,
) -> dict[str, Any]:
    return {
        "layer": context.layer,
        "model": study.model.name,
        "manifest": context.manifest.name,
        "origin": context.model.origin,
        "classes": list(context.model.classes),
        "composite": study.composite,
        "reference": study.reference if study.composite == "rescale" else None,
        "zero_bias": study.zero_bias,
        "images": len(context.manifest.samples),
        "units": chosen.units,
        "unit": chosen.unit,
        "manifest_groups": len({sample.group for sample in context.manifest.samples}),
        "exemplars": study.exemplars,
        "instance_pixels": study.instance_pixels,
        "flip_mode": study.flip_mode,
        "flip_curves": len(curves.samples),
        "methods": list(comparison.methods),
        "flip_methods": list(curves.names),
        "limits": {method: comparison.limits[method] for method in comparison.methods},
        "kept": {
            "given": kept.given,
            "reached": kept.reached,
            "at_layer": kept.at_layer,
            "norms": kept.norms,
            "folded": kept.folded,
            "images": kept.images,
        },
    }
