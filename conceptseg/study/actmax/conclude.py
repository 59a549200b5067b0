"""The result of an actmax study: findings in words, tables, arrays and pictures."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from conceptseg.engine.contract import Context
from conceptseg.engine.known import Known
from conceptseg.report.thumbnails import photo
from conceptseg.result.finding import ranked
from conceptseg.result.saved import Result, safe_key
from conceptseg.result.table import Table
from conceptseg.study.actmax.config import Actmax
from conceptseg.study.actmax.exemplars import REAL
from conceptseg.study.actmax.findings import findings
from conceptseg.study.actmax.judge import JUDGED, Judged
from conceptseg.study.actmax.methods import method_of
from conceptseg.study.actmax.optimise import MADE
from conceptseg.study.actmax.survey import LABELS, SURVEY, Survey
from conceptseg.study.actmax.tables import exemplar_table, photo_key, unit_table
from conceptseg.study.actmax.template import TEMPLATE
from conceptseg.study.shared import local_maps, studied
from conceptseg.study.shared.compare import COMPARISON
from conceptseg.study.shared.spectrum import Template


def conclude(study: Actmax, context: Context, known: Known) -> Result:
    survey, made, real = known[SURVEY], known[MADE], known[REAL]
    judged, comparison, detected = known[JUDGED], known[COMPARISON], known[LABELS]
    method = method_of(study)
    of_units = study.objective in ("channel", "position")
    labels = [detected.get(i, "") if of_units else "" for i in survey.objective.ids]
    images, rows = _pictures(study, survey, made)
    images |= {photo_key(sample_id): data for sample_id, data in real.photos.items()}
    images |= local_maps.pictures(comparison)
    tables = {
        "units": unit_table(survey, judged, labels),
        "pictures": Table(rows, caption="The pictures, one per unit and seed"),
        "exemplars": exemplar_table(survey, real),
        "saliency": local_maps.table(comparison, context.model.classes),
    }
    return Result(
        study="actmax",
        findings=ranked(findings(study, survey, judged, labels, context.seed)),
        tables=tables,
        arrays=_arrays(survey, made, known[TEMPLATE], judged),
        images=images,
        skipped=[
            {"kind": "unit", "unit": i, "reason": "no image excites it (dead)"} for i in survey.dead
        ],
        notes=studied.notes(
            context,
            context.manifest.ids,
            [str(g) for g in judged.usable],
            "unit",
            comparison,
            layer=context.layer,
            objective=study.objective,
            method=study.method,
            settings=dataclasses.asdict(method),
            steps=method.steps,
            seeds=study.seeds,
            side=survey.side,
            values_of=len(survey.ids),
            features=len(survey.objective.ids),
            left_out=survey.left_out,
            dead=len(survey.dead),
            compared=len(survey.pool.ids),
            spaces=list(judged.spaces),
            labelled=bool(detected),
        ),
    )


def _pictures(
    study: Actmax, survey: Survey, made: Mapping[str, np.ndarray]
) -> tuple[dict[str, bytes], list[dict[str, Any]]]:
    """Each picture whole, and with what was hardly moved faded out to grey."""
    images: dict[str, bytes] = {}
    rows = []
    for r, (g, draw) in enumerate(zip(made["feature"], made["draw"], strict=True)):
        pixels, weight = made["pixels"][r].astype(np.float64), made["weight"][r]
        # Half the pixels that were moved most are shown in full.
        alpha = np.clip(weight / max(float(np.quantile(weight, 0.5)), 1e-12), 0, 1)
        key = safe_key(f"unit-{survey.objective.ids[g]}-{draw}")
        images[key] = photo(pixels, study.picture_px)
        images[f"{key}-faded"] = photo(alpha * pixels + (1 - alpha) * 0.5, study.picture_px)
        rows.append(
            {
                "feature": int(g),
                "unit": survey.objective.ids[g],
                "seed": int(draw),
                "noise": made["before"][r],
                "reached": made["after"][r],
                "picture": key,
                "faded": f"{key}-faded",
            }
        )
    return images, rows


def _arrays(
    survey: Survey, made: Mapping[str, np.ndarray], template: Template, judged: Judged
) -> dict[str, np.ndarray]:
    arrays: dict[str, np.ndarray] = {
        "pictures": made["pixels"].astype(np.float16),
        "curve": made["curve"].astype(np.float32),
        "real_values": survey.values.astype(np.float32),
        "amplitude": template.amplitude.astype(np.float32),
        "colours": template.colours,
        "mean_colour": template.mean,
    }
    for space, one in judged.spaces.items():
        arrays[f"likeness_{space}"] = one.matrix.astype(np.float32)
        arrays[f"compared_{space}"] = one.compared
    return arrays
