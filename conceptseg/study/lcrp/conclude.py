"""The result of an L-CRP study: findings in words, tables, arrays and pictures."""

import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image

from conceptseg.engine.contract import Context
from conceptseg.engine.known import Known
from conceptseg.report.thumbnails import encode
from conceptseg.result.finding import ranked
from conceptseg.result.saved import Result, safe_key
from conceptseg.stats.intervals import finite_mean
from conceptseg.study.lcrp import named_report
from conceptseg.study.lcrp.assess import SCORES, agreements
from conceptseg.study.lcrp.choose import CHANNELS, CHOSEN_PAIRS
from conceptseg.study.lcrp.classes import class_table
from conceptseg.study.lcrp.config import Lcrp
from conceptseg.study.lcrp.control import KEPT
from conceptseg.study.lcrp.findings import findings
from conceptseg.study.lcrp.flip import CURVES
from conceptseg.study.lcrp.maps import ACTIVE, MAPS
from conceptseg.study.lcrp.named import NAMED, SHARES
from conceptseg.study.lcrp.shuffles import SHUFFLES
from conceptseg.study.lcrp.suit import SUITED
from conceptseg.study.lcrp.tables import (
    agreement_table,
    flip_table,
    kept_table,
    pair_key,
    rules_table,
    score_table,
)
from conceptseg.study.shared import local_maps, studied
from conceptseg.study.shared.compare import COMPARISON

GRID_PX = 128
NOTED = {"composite", "zero_bias", "exemplars", "instance_pixels", "flip_mode"}
"""Keys of the study that its report speaks of."""


def conclude(study: Lcrp, context: Context, known: Known) -> Result:
    chosen, scores, comparison = known[CHOSEN_PAIRS], known[SCORES], known[COMPARISON]
    classes, channels, suited = context.model.classes, known[CHANNELS], known[SUITED]
    return Result(
        study="lcrp",
        findings=ranked(
            [
                *findings(scores, classes, channels),
                *named_report.named_findings(known[SHARES], classes),
            ]
        ),
        tables={
            "scores": score_table(scores, classes, channels),
            "classes": class_table(study, context, known),
            "agreement": agreement_table(agreements(scores, context.seed)),
            "flipping": flip_table(chosen, known[CURVES], context.seed),
            "retained": kept_table(known[KEPT]),
            "masks": named_report.share_table(known[SHARES], classes),
            "named": named_report.named_table(known[NAMED], classes),
            "rules": rules_table(suited.fits, suited.refused, suited.recommended),
            "saliency": local_maps.table(comparison, classes),
        },
        arrays=_arrays(known) | local_maps.arrays(comparison),
        images=_images(study, known, classes) | local_maps.pictures(comparison),
        skipped=[
            {
                "kind": "class",
                "class": classes[c],
                "reason": f"predicted in {count} images, fewer than {study.min_images}",
            }
            for c, count in sorted(chosen.skipped.items())
        ],
        notes=_notes(study, context, known),
    )


def _arrays(known: Known) -> dict[str, np.ndarray]:
    """Mean and deviation of relevance [classes, u], and mean curves [orders + 1, points]."""
    chosen, curves = known[CHOSEN_PAIRS], known[CURVES]
    arrays = {
        "class": np.array(chosen.classes, np.int32),
        "relevance_mean": np.stack([chosen.mean[c] for c in chosen.classes]).astype(np.float32),
        "relevance_spread": np.stack([chosen.spread[c] for c in chosen.classes]).astype(np.float32),
        "flip_share": curves.share.astype(np.float32),
    }
    if len(curves.samples):
        mean = finite_mean(curves.change, 0).astype(np.float32)
        methods = len(curves.names)
        arrays |= {"flip_mean": mean[:methods], "flip_random": mean[methods:]}
    return arrays


def _images(study: Lcrp, known: Known, classes: Sequence[str]) -> dict[str, bytes]:
    """Each channel's pictures under `key-0`, `key-1`, ..., and all of them in one under `key`."""
    chosen, maps = known[CHOSEN_PAIRS], known[MAPS]
    shown = {
        **{pair_key("relevant", classes[c], k): (c, k, b) for (c, k), b in chosen.relevant.items()},
        **{safe_key(f"active-{k}"): (ACTIVE, k, best) for k, best in chosen.active.items()},
    }
    images: dict[str, bytes] = {}
    for key, (c, k, best) in shown.items():
        parts = [maps.pictures.get((s, c, k)) for s, _ in best[: study.exemplars]]
        held = [data for data in parts if data]
        images |= {key: montage(held), **{f"{key}-{n}": data for n, data in enumerate(held)}}
    return images


def montage(parts: Sequence[bytes], side: int = GRID_PX, columns: int = 2) -> bytes:
    """Pictures in rows of two, as one WebP, each no longer than `side`; grey without any."""
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


def _notes(study: Lcrp, context: Context, known: Known) -> dict[str, Any]:
    chosen, kept, curves = known[CHOSEN_PAIRS], known[KEPT], known[CURVES]
    comparison, sampling = known[COMPARISON], chosen.sampling
    return studied.notes(
        context,
        sampling.ids,
        sampling.groups,
        sampling.of.removesuffix("s"),
        comparison,
        layer=context.layer,
        classes=list(context.model.classes),
        reference=study.reference if study.composite == "rescale" else None,
        units=chosen.units,
        masks=list(study.masks),
        **study.model_dump(include=NOTED),
        flip_curves=len(curves.samples),
        flip_methods=list(curves.names),
        limits=dict(comparison.limits),
        tests_by=next((s.test.by for s in known[SCORES] if s.test is not None), None),
        shuffled_largest=known[SHUFFLES].largest.tolist(),
        rules_images=known[SUITED].images,
        recommended=known[SUITED].recommended,
        kept={name: value for name, value in vars(kept).items() if name != "rows"},
    )
