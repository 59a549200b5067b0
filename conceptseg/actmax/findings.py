"""The result of an actmax study: findings in words, tables, arrays and pictures."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from conceptseg import local_maps
from conceptseg.actmax.exemplars import Real
from conceptseg.actmax.judge import Likeness, able, alike, likeness, percentile, verdict
from conceptseg.actmax.survey import Survey
from conceptseg.compare import Comparison
from conceptseg.contracts import Carry, Context
from conceptseg.result import Finding, Result, Table, ranked, safe_key
from conceptseg.significance import bootstrap_interval, sign_flip_p
from conceptseg.spectrum import Template

if TYPE_CHECKING:
    from conceptseg.study.actmax import Actmax

COMPARED = 4
STALLED = 1.001
"""An ascent whose objective did not grow by this factor, nor the noise's own, did not start."""


@dataclass(frozen=True)
class Judged:
    """All numbers of f features; `spaces` maps a space's name to its likeness."""

    before: np.ndarray
    after: np.ndarray
    largest: np.ndarray
    percentile: np.ndarray
    started: np.ndarray
    spaces: Mapping[str, Likeness]
    verdict: tuple[str, ...]


def judged(found: Survey, made: Mapping[str, np.ndarray], real: Real) -> Judged:
    f = len(found.objective.ids)
    feature = made["feature"]

    def mean(name: str) -> np.ndarray:
        return np.array([made[name][feature == g].mean() for g in range(f)])

    before, after = mean("before"), mean("after")
    started = after > before + (STALLED - 1) * np.maximum(np.abs(before), 1e-9)
    pool = range(len(found.pool.ids))
    same = alike([[sample for sample, _ in found.exemplars(g)] for g in pool])[:f]
    spaces = {
        name: likeness(made[name], feature, rows, real.feature, same)
        for name, rows in real.embeddings.items()
    }
    main = spaces.get("earlier", spaces["forgot"])
    words = tuple(
        verdict(bool(s), float(a), float(top), float(p), bool(could))
        for s, a, top, p, could in zip(
            started, after, found.largest, main.p_bh, able(main), strict=True
        )
    )
    share = percentile(found.values, after)
    return Judged(before, after, found.largest, share, started, spaces, words)


def to_compare(context: Context, carry: Carry) -> list[tuple[str, int]]:
    """Images for the local saliency maps: the strongest of the first features, one each, with the
    class that covers most of it (the background only where nothing else is predicted).
    """
    found: Survey = carry["survey"]
    real: Real = carry["real"]
    names = context.model.classes
    chosen: dict[str, int] = {}
    for feature in range(len(found.objective.ids)):
        for sample_id, _ in found.exemplars(feature)[:1]:
            cover = real.cover[sample_id].copy()
            if context.manifest.background in names:
                cover[names.index(context.manifest.background)] *= 1e-6
            chosen.setdefault(sample_id, int(cover.argmax()))
    return list(chosen.items())[:COMPARED]


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
    images |= {_photo_key(sample_id): data for sample_id, data in real.photos.items()}
    images |= local_maps.pictures(comparison)
    tables = {
        "units": _units(found, numbers, labels),
        "pictures": Table(rows, caption="The pictures, one per unit and seed"),
        "exemplars": _exemplars(found, real),
        "saliency": local_maps.table(comparison, context.model.classes),
    }
    return Result(
        study="actmax",
        findings=ranked(_findings(study, found, numbers, labels, context.seed)),
        tables=tables,
        arrays=_arrays(found, made, carry["template"], numbers),
        images=images,
        skipped=[
            {"kind": "unit", "unit": i, "reason": "no image excites it (dead)"} for i in found.dead
        ],
        notes=_notes(study, context, found, numbers, comparison, bool(found_labels)),
    )


def _units(found: Survey, numbers: Judged, labels: Sequence[str]) -> Table:
    quantiles = np.quantile(found.values, [0.5, 0.95], axis=0)
    rows = []
    for g, (unit, name) in enumerate(zip(found.objective.ids, found.names, strict=True)):
        row: dict[str, Any] = {
            "unit": unit,
            "name": name,
            "label": labels[g],
            "verdict": numbers.verdict[g],
            "real_median": quantiles[0, g],
            "real_q95": quantiles[1, g],
            "real_max": numbers.largest[g],
            "noise": numbers.before[g],
            "reached": numbers.after[g],
            "percentile": numbers.percentile[g],
            "of_real_max": _ratio(numbers.after[g], numbers.largest[g]),
        }
        for space, one in numbers.spaces.items():
            row |= {
                f"alike_{space}": one.own[g],
                f"above_{space}": one.above[g],
                f"p_{space}": one.p[g],
                f"p_bh_{space}": one.p_bh[g],
                f"seeds_agree_{space}": one.agree[g],
            }
        rows.append(row)
    labels_of = {
        "label": "detects (dissect)",
        "real_median": "real images, median",
        "real_q95": "real images, 95 %",
        "real_max": "real images, largest",
        "noise": "noise it began with",
        "reached": "picture",
        "percentile": "share of real images below",
        "of_real_max": "picture / largest real",
        "alike_earlier": "likeness, earlier layer",
        "above_earlier": "other units less alike",
        "p_bh_earlier": "p BH, earlier layer",
        "seeds_agree_earlier": "seeds agree (cosine)",
        "alike_forgot": "likeness, shuffled network",
        "above_forgot": "other units less alike, shuffled",
        "p_bh_forgot": "p BH, shuffled network",
    }
    return Table(rows, labels=labels_of, caption="What each picture reaches and resembles")


def _pictures(
    study: Actmax, found: Survey, made: Mapping[str, np.ndarray]
) -> tuple[dict[str, bytes], list[dict[str, Any]]]:
    """Each picture whole, and with what was hardly moved faded out to grey."""
    from conceptseg.thumbnails import photo

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


def _exemplars(found: Survey, real: Real) -> Table:
    rows = [
        {
            "feature": g,
            "unit": unit,
            "sample": sample_id,
            "value": value,
            "picture": _photo_key(sample_id),
            "outline": real.outlines[g, sample_id],
        }
        for g, unit in enumerate(found.objective.ids)
        for sample_id, value in found.exemplars(g)
    ]
    return Table(rows, caption="The real images that excite each unit most")


def _findings(
    study: Actmax, found: Survey, numbers: Judged, labels: Sequence[str], seed: int
) -> list[Finding]:
    main = numbers.spaces.get("earlier", numbers.spaces["forgot"])
    result = []
    usable = np.flatnonzero(numbers.started & np.isfinite(main.above))
    if len(usable) >= 2:
        excess = main.above[usable] - 0.5
        members = [str(i) for i in usable]
        low, high = bootstrap_interval(excess, members, seed=seed)
        p = sign_flip_p(excess, members, seed=seed)
        passed = sum(word == "representative" for word in numbers.verdict)
        testable = passed + sum(
            word in ("beyond the data", "not representative") for word in numbers.verdict
        )
        singly = (
            f"{passed} of the {testable} pictures that can be judged one by one pass that test"
            if testable
            else "too few units are compared to judge any picture by itself"
        )
        result.append(
            Finding(
                claim=f"A unit's picture is more like its own real images than like those of "
                f"{excess.mean() + 0.5:.0%} of the other units, on average (50 % by chance); "
                f"{singly}.",
                effect=float(excess.mean()),
                ci=(low, high),
                p=p,
                p_adjusted=p,
                n=len(usable),
                evidence="likeness",
                details={"effect_name": "share of other units less alike, above one half"},
            )
        )
    for g, name in enumerate(found.names):
        if numbers.verdict[g] not in ("representative", "beyond the data"):
            continue
        label = f" (detects {labels[g]})" if labels[g] else ""
        ratio = _ratio(numbers.after[g], numbers.largest[g])
        reach = f"to {ratio:.0%} of what the strongest real image does"
        if numbers.verdict[g] == "representative":
            claim = (
                f"The picture of {name}{label} is more like the real images that excite it than "
                f"like those of {main.above[g]:.0%} of the other units: it may be read as "
                f"something the unit responds to. It excites it {reach}."
            )
        else:
            claim = (
                f"The picture of {name}{label} excites it {reach}, yet was tested and not shown "
                "to resemble the images that do: it is no evidence of what the unit detects in "
                "the data."
            )
        result.append(
            Finding(
                claim=claim,
                class_=name if study.objective == "class" else None,
                effect=float(main.above[g] - 0.5),
                p=float(main.p[g]),
                p_adjusted=float(main.p_bh[g]),
                n=int(main.compared[g].sum()) + 1,
                evidence=f"unit-{found.objective.ids[g]}",
                details={
                    "effect_name": "share of other units less alike, above one half",
                    "unit": found.objective.ids[g],
                },
            )
        )
    return result


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


def _ratio(reached: float, largest: float) -> float:
    """What was reached over the largest real value; nan where that is not positive."""
    return float(reached / largest) if largest > 0 else float("nan")


def _photo_key(sample_id: str) -> str:
    return safe_key(f"photo-{sample_id}")
