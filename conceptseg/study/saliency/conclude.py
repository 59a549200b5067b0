"""The result of a saliency study: tables, findings in words, arrays and pictures."""

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

from conceptseg import catalogue
from conceptseg.engine.contract import Context
from conceptseg.engine.known import Known
from conceptseg.result.finding import ranked
from conceptseg.result.saved import Result, safe_key
from conceptseg.result.table import Table
from conceptseg.study.saliency import attacked, brush, tables
from conceptseg.study.saliency.attack import ATTACKED
from conceptseg.study.saliency.config import Saliency
from conceptseg.study.saliency.findings import findings
from conceptseg.study.saliency.judge import JUDGED, Judged
from conceptseg.study.saliency.standing import STANDING
from conceptseg.study.shared import local_maps, studied
from conceptseg.study.shared.compare import Comparison

MEANS = "Mean of each metric for each method, with 95 % intervals"
AGAINST = "Each method against trivial maps, paired by case"


def conclude(study: Saliency, context: Context, known: Known) -> Result:
    judged, standing = known[JUDGED], known[STANDING]
    classes, kinds = context.model.classes, tables.entries("explainers", judged.methods)
    # A map of zeros ranks pixels by lot: whatever its numbers are, the method has said nothing.
    empty = {method: bool(judged.blank[:, m].all()) for m, method in enumerate(judged.methods)}
    telling = {method: kind for method, kind in kinds.items() if not empty[method]}
    images = list(dict.fromkeys(sample_id for sample_id, _ in judged.cases))
    seconds = _median(judged.seconds).tolist()
    pictures, gallery = _gallery(study, judged, classes)
    more: dict[str, Table] = {}
    attack: dict[str, str] = {}
    brushes = known.get(brush.BRUSHES, None)
    if (bent := known.get(ATTACKED, None)) is not None:
        more = {"attack": attacked.table(bent)}
        said = f"{study.attack_steps} steps, {study.attack_epsilon:.3g} of the images' range"
        attack = {"attack": said}
        pictures |= attacked.pictures(bent, judged, study.picture_px)
    return Result(
        study="saliency",
        findings=ranked(findings(standing, study.primary_label, study.insensitive, telling)),
        tables={
            "methods": tables.method_table(judged, standing, kinds),
            "means": Table.of(standing.means, tables.MEANS, MEANS),
            "against": Table.of(standing.against, tables.AGAINST, AGAINST),
            "remarks": tables.remark_table(judged),
            "cases": tables.case_table(judged, classes),
            "values": tables.value_table(judged, classes),
            "metrics": tables.metric_table(judged),
            "gallery": gallery,
            **more,
        },
        arrays=_arrays(judged) | ({} if brushes is None else brush.arrays(brushes)),
        images=pictures,
        timings={"seconds_per_map": dict(zip(judged.methods, seconds, strict=True))},
        skipped=studied.left_out(context, images, "not drawn, or holds no class to explain"),
        notes=studied.notes(
            context,
            images,
            standing.sampling.groups,
            standing.sampling.of.removesuffix("s"),
            judged,
            metrics=list(judged.metrics),
            primary=study.primary_label,
            classes=sorted({classes[c] for _, c in judged.cases}),
            cases=len(judged.cases),
            layer=context.layer,
            region=study.target.region,
            score=study.target.score,
            sanity=min(study.sanity_images, len(judged.cases)),
            insensitive=study.insensitive,
            **attack,
            brush=catalogue.choice_labels((study.brush_method,))[0] if study.brushed else None,
            chance=standing.sampling.mean(judged.chance).value,
            at={name: at.tolist() for name, at in judged.at.items() if len(at)},
        ),
    )


def _median(values: np.ndarray) -> np.ndarray:
    """Medians [m] of columns, nan in them left out; nan where there is nothing else."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        return np.asarray(np.nanmedian(values, axis=0))


def _gallery(
    study: Saliency, judged: Judged, classes: Sequence[str]
) -> tuple[dict[str, bytes], Table]:
    """Pictures of the first cases, each map relative to its own method's largest values."""
    pictures: dict[str, bytes] = {}
    rows: list[dict[str, Any]] = []
    cases = judged.cases[: len(judged.maps)]
    maps = {name: [one[m] for one in judged.maps] for m, name in enumerate(judged.methods)}
    shown = Comparison.of(cases, maps, judged.images, judged.regions, study.picture_px)
    for n, (sample_id, class_id) in enumerate(cases):
        drawn = {f"map-{n}-{m}": data[n] for m, data in enumerate(shown.pictures.values())}
        plain = f"case-{n}"
        pictures |= {**drawn, plain: shown.plain[n]}
        head = {"sample": sample_id, "class": classes[class_id], "picture": plain}
        empty = [name for name, own in shown.blank.items() if own[n]]
        rows.append({**head, "maps": list(drawn), local_maps.BLANK: empty})
    return pictures, Table(rows, caption="Maps that are shown")


def _arrays(judged: Judged) -> dict[str, np.ndarray]:
    """`values` as in the tables, `passes` of each kind, curves, and the maps that are shown."""
    named = {"values": judged.values}
    named |= {safe_key(f"curve-{name}"): curve for name, curve in judged.curves.items()}
    named |= {safe_key(f"maps-{n}"): maps for n, maps in enumerate(judged.maps)}
    single = {key: array.astype(np.float32) for key, array in named.items()}
    return single | {"passes": judged.passes, "blank": judged.blank}
