"""The result of an actmax study: findings in words, tables, arrays and pictures."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from conceptseg.engine.contract import Carry, Context
from conceptseg.result.finding import ranked
from conceptseg.result.saved import Result, safe_key
from conceptseg.result.table import Table
from conceptseg.study.actmax.exemplars import Real
from conceptseg.study.actmax.findings import findings
from conceptseg.study.actmax.judge import (
    Judged,
    judged,
)
from conceptseg.study.actmax.survey import Survey
from conceptseg.study.actmax.tables import exemplar_table, photo_key, unit_table
from conceptseg.study.shared import local_maps
from conceptseg.study.shared.compare import Comparison
from conceptseg.study.shared.spectrum import Template

if TYPE_CHECKING:
    from conceptseg.study.actmax.config import Actmax


def conclude(study: Actmax, context: Context, carry: Carry) -> Result:
    found: Survey = carry["survey"]
    made: Mapping[str, np.ndarray] = carry["made"]
    real: Real = carry["real"]
    comparison: Comparison = carry["comparison"]
    found_labels: Mapping[int, str] = carry["labels"]
    labels = [
        found_labels.get(i, "") if study.objective in ("channel", "position") else ""
        for i in found.objective.ids
    ]
    numbers = judged(found, made, real)
    images, rows = _pictures(study, found, made)
    images |= {photo_key(sample_id): data for sample_id, data in real.photos.items()}
    images |= local_maps.pictures(comparison)
    tables = {
        "units": unit_table(found, numbers, labels),
        "pictures": Table(rows, caption="The pictures, one per unit and seed"),
        "exemplars": exemplar_table(found, real),
        "saliency": local_maps.table(comparison, context.model.classes),
    }
    return Result(
        study="actmax",
        findings=ranked(findings(study, found, numbers, labels, context.seed)),
        tables=tables,
        arrays=_arrays(found, made, carry["template"], numbers),
        images=images,
        skipped=[
            {"kind": "unit", "unit": i, "reason": "no image excites it (dead)"} for i in found.dead
        ],
        notes=_notes(study, context, found, numbers, comparison, bool(found_labels)),
    )


def _pictures(
    study: Actmax, found: Survey, made: Mapping[str, np.ndarray]
) -> tuple[dict[str, bytes], list[dict[str, Any]]]:
    """Each picture whole, and with what was hardly moved faded out to grey."""
    from conceptseg.report.thumbnails import photo

    images: dict[str, bytes] = {}
    rows = []
    for r, (g, draw) in enumerate(zip(made["feature"], made["draw"], strict=True)):
        pixels, weight = made["pixels"][r].astype(np.float64), made["weight"][r]
        # Half the pixels that were moved most are shown in full.
        alpha = np.clip(weight / max(float(np.quantile(weight, 0.5)), 1e-12), 0, 1)
        key = safe_key(f"unit-{found.objective.ids[g]}-{draw}")
        images[key] = photo(pixels, study.picture_px)
        images[f"{key}-faded"] = photo(alpha * pixels + (1 - alpha) * 0.5, study.picture_px)
        rows.append(
            {
                "feature": int(g),
                "unit": found.objective.ids[g],
                "seed": int(draw),
                "noise": made["before"][r],
                "reached": made["after"][r],
                "picture": key,
                "faded": f"{key}-faded",
            }
        )
    return images, rows


def _arrays(
    found: Survey, made: Mapping[str, np.ndarray], template: Template, numbers: Judged
) -> dict[str, np.ndarray]:
    arrays: dict[str, np.ndarray] = {
        "pictures": made["pixels"].astype(np.float16),
        "curve": made["curve"].astype(np.float32),
        "real_values": found.values.astype(np.float32),
        "amplitude": template.amplitude.astype(np.float32),
        "colours": template.colours,
        "mean_colour": template.mean,
    }
    for space, one in numbers.spaces.items():
        arrays[f"likeness_{space}"] = one.matrix.astype(np.float32)
        arrays[f"compared_{space}"] = one.compared
    return arrays


def _notes(
    study: Actmax,
    context: Context,
    found: Survey,
    numbers: Judged,
    comparison: Comparison,
    labelled: bool,
) -> dict[str, Any]:
    return {
        "model": context.model.name,
        "origin": context.model.origin,
        "manifest": context.manifest.name,
        "layer": context.layer,
        "objective": study.objective,
        "method": study.method,
        "settings": dataclasses.asdict(study.chosen_method()),
        "steps": study.chosen_method().steps,
        "seeds": study.seeds,
        "side": found.side,
        "images": len(context.manifest.samples),
        "values_of": len(found.ids),
        "features": len(found.objective.ids),
        "left_out": found.left_out,
        "dead": len(found.dead),
        "compared": len(found.pool.ids),
        "spaces": list(numbers.spaces),
        "labelled": labelled,
        "methods": list(comparison.methods),
    }
