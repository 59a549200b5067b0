"""The result of an L-CRP study: findings in words, tables, arrays and pictures."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from conceptseg.engine.contract import MOST, Context
from conceptseg.engine.known import Known
from conceptseg.result.columns import Column
from conceptseg.result.finding import ranked
from conceptseg.result.saved import Result, safe_key
from conceptseg.result.table import Table
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
from conceptseg.study.lcrp.suit import SUITED, in_use
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

NOTED = {"composite", "zero_bias", "exemplars", "instance_pixels", "flip_mode"}
"""Keys of the study that its report speaks of."""


def conclude(study: Lcrp, context: Context, known: Known) -> Result:
    chosen, scores, comparison = known[CHOSEN_PAIRS], known[SCORES], known[COMPARISON]
    classes, channels, suited = context.model.classes, known[CHANNELS], known[SUITED]
    shown = _shown(study, known, classes)
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
            "shown": Table.of(
                shown, [Column("picture", of=lambda one: one.key), "of", "sample", "outline"]
            ),
            "retained": kept_table(known[KEPT]),
            "masks": named_report.share_table(known[SHARES], classes),
            "named": named_report.named_table(known[NAMED], classes),
            "rules": rules_table(suited.fits, suited.refused, suited.recommended),
            "saliency": local_maps.table(comparison, classes),
            "images": _looked_at(context),
        },
        arrays=_arrays(known) | local_maps.arrays(comparison),
        images={one.key: one.data for one in shown} | local_maps.pictures(comparison),
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


def _looked_at(context: Context) -> Table:
    """All images, for whoever tests on others what was found in them; of too many none."""
    ids = context.manifest.ids
    rows = ids if len(ids) <= MOST else ()
    return Table.of_columns({"sample": list(rows)}, "Images that were looked at")


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


@dataclass(frozen=True)
class Shown:
    """A picture of a channel: its key, and that of the channel's pictures; what it shows."""

    key: str
    of: str
    sample: str
    outline: str
    data: bytes


def _shown(study: Lcrp, known: Known, classes: Sequence[str]) -> list[Shown]:
    """The pictures of all channels, each channel's under `key-0`, `key-1`, ..."""
    chosen, maps = known[CHOSEN_PAIRS], known[MAPS]
    channels = {
        **{pair_key("relevant", classes[c], k): (c, k, b) for (c, k), b in chosen.relevant.items()},
        **{safe_key(f"active-{k}"): (ACTIVE, k, best) for k, best in chosen.active.items()},
    }
    shown = []
    for key, (c, k, best) in channels.items():
        held = [s for s, _ in best[: study.exemplars] if (s, c, k) in maps.pictures]
        for n, s in enumerate(held):
            outline = maps.outlines.get((s, c), "")
            shown.append(Shown(f"{key}-{n}", key, s, outline, maps.pictures[s, c, k]))
    return shown


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
        rules_in_use=in_use(study),
        kept={name: value for name, value in vars(kept).items() if name != "rows"}
        | {"unplaced": list(kept.unplaced)},
    )
