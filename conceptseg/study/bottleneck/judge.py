"""All that is concluded from the sweep: predictions, flags, intervals, gate, slices, predictor."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from conceptseg.engine.contract import Context
from conceptseg.errors import InputError
from conceptseg.stats.intervals import units
from conceptseg.study.bottleneck.confidence import NAMES
from conceptseg.study.bottleneck.conformal import enough
from conceptseg.study.bottleneck.cover import Slicing, calibrated, tried
from conceptseg.study.bottleneck.evaluate import SETS, Fitted, crossed
from conceptseg.study.bottleneck.gate import Gates
from conceptseg.study.bottleneck.maps import standardised
from conceptseg.study.bottleneck.measure import Measured
from conceptseg.study.bottleneck.predictor import Predictor, part_of
from conceptseg.study.bottleneck.presence import Presence, told_apart
from conceptseg.study.bottleneck.regress import Features, splits, varying

if TYPE_CHECKING:
    from conceptseg.study.bottleneck.config import Bottleneck


@dataclass(frozen=True)
class Judged:
    """Rows are the images with a quality, in the order of their ids.

    `rows` places them among the measured images; `quality` [n]; `classes` [n, c] the overlap of
    each studied class, nan where an image lacks it; `fold_groups` and `groups` [n] numbers: what
    folds must not cut, and what intervals and tests count, called `unit`; `fitted` by feature set;
    `slices` [n] those that intervals are calibrated in, `by_group` whether groups were counted in
    that; `low`, `high` [n] the intervals; `outside` [n] by a gate that knew nothing of the fold.
    """

    measured: Measured
    rows: np.ndarray
    quality: np.ndarray
    classes: np.ndarray
    class_ids: tuple[int, ...]
    fold_groups: np.ndarray
    groups: np.ndarray
    unit: str
    fitted: Mapping[str, Fitted]
    features: Mapping[str, Features]
    predictor: Predictor
    slices: np.ndarray
    slicing: Slicing
    by_group: bool
    low: np.ndarray
    high: np.ndarray
    outside: np.ndarray
    per_class: Mapping[int, Mapping[str, Fitted]]
    presence: Sequence[Presence]

    @property
    def ids(self) -> list[str]:
        return [self.measured.ids[row] for row in self.rows]

    def predicted(self, name: str = "both") -> np.ndarray:
        """Mean over repeats of the out-of-fold quality [n]."""
        found: np.ndarray = self.fitted[name].predicted.mean(0)
        return found


def judge(study: Bottleneck, context: Context, measured: Measured) -> Judged:
    """Fit, cross-validate and calibrate on all images that have a quality.

    Raises InputError where there is too little to learn from.
    """
    ids = study.class_ids(context)
    classes, quality = qualities(study, measured, ids)
    rows = np.flatnonzero(np.isfinite(quality))
    _check(study, context, measured, quality[rows])
    fold_groups, groups, unit = grouped(study, context, [measured.ids[row] for row in rows])
    features = feature_sets(measured, rows)
    splits(fold_groups, study.folds, study.seed)  # too few groups are told before hours of fitting
    options: dict[str, Any] = {
        "folds": study.folds,
        "inner": study.inner,
        "components": study.components,
        "seed": study.seed,
    }
    target = quality[rows]
    fitted = {
        name: crossed(
            study.regressors, features[name], target, fold_groups, repeats=study.repeats, **options
        )
        for name in SETS
    }
    size = measured.size[rows]
    slicing = Slicing.of(size, "predicted area")
    deployed, own = fitted[study.deploy], features[study.deploy]
    slices = slicing(size)
    counted = np.unique(groups, return_inverse=True)[1]
    calibrating = _calibrating(study, counted)
    low, high = tried(
        study.regressors,
        deployed.folds,
        own,
        target,
        slices,
        calibrating,
        fold_groups,
        alpha=1 - study.coverage,
        inner=study.inner,
        components=study.components,
        seed=study.seed,
    )
    return Judged(
        measured,
        rows,
        target,
        classes[rows],
        ids,
        fold_groups,
        counted,
        unit,
        fitted,
        features,
        deployable(
            study, context, measured, rows, target, deployed, own, slicing, calibrating, fold_groups
        ),
        slices,
        slicing,
        len(np.unique(calibrating)) < len(rows) or len(np.unique(counted)) == len(rows),
        low,
        high,
        _outside(study, measured, rows, deployed, fold_groups),
        _per_class(study, features, classes[rows], ids, fold_groups, options),
        _presence(study, context, measured, ids),
    )


def _calibrating(study: Bottleneck, counted: np.ndarray) -> np.ndarray:
    """What calibration counts [n]: the groups, or images where groups are too few for an end."""
    groups = len(np.unique(counted)) * (study.folds - 1) // study.folds
    return counted if enough(groups, 1 - study.coverage) else np.arange(len(counted))


def qualities(
    study: Bottleneck, measured: Measured, ids: Sequence[int]
) -> tuple[np.ndarray, np.ndarray]:
    """Overlap of each studied class [m, c], nan where absent or tiny, and its mean [m]."""
    held = measured.labelled[:, list(ids)]
    total = measured.labelled.sum(1, keepdims=True)
    counted = held > study.min_share * np.maximum(total, 1)
    value = study.overlap(measured.shared[:, list(ids)], measured.predicted[:, list(ids)], held)
    classes = np.where(counted, value, np.nan)
    number = counted.sum(1)
    mean = np.where(number > 0, np.nansum(classes, 1) / np.maximum(number, 1), np.nan)
    return classes, mean


def grouped(
    study: Bottleneck, context: Context, ids: Sequence[str]
) -> tuple[np.ndarray, np.ndarray, str]:
    """What folds must not cut [n], what intervals and tests count [n], and the latter's name.

    Folds cut no group of the manifest, whatever is counted: models that saw its neighbours would
    flatter an image's prediction. Only where images are to be counted and groups are too few for
    the folds are they images.
    """
    names = [context.manifest.sample(sample_id).group for sample_id in ids]
    counted, unit = units(ids, names, study.unit)
    few = study.unit == "image" and len(set(names)) < study.folds
    whole = ids if few else names
    return np.unique(np.array(whole), return_inverse=True)[1], np.array(counted), unit


def feature_sets(measured: Measured, rows: np.ndarray) -> dict[str, Features]:
    columns = varying(measured.pooled[rows])
    layer = measured.pooled[np.ix_(rows, columns)].astype(np.float64)
    confidence = measured.confidence[rows].astype(np.float64)
    return {
        "layer": Features(layer, layer.shape[1]),
        "confidence": Features(confidence, 0),
        "both": Features(np.concatenate([layer, confidence], 1), layer.shape[1]),
    }


def _check(study: Bottleneck, context: Context, measured: Measured, quality: np.ndarray) -> None:
    where = context.manifest.where
    labelled = int((measured.labelled.sum(1) > 0).sum())
    if not labelled:
        raise InputError(
            f"{where}: none of the {len(measured.ids)} images has a mask, and quality is learnt "
            "from images with masks; add masks (new images are scored by predict-quality)"
        )
    if len(quality) < max(2 * study.folds, 10):
        raise InputError(
            f"{where}: {len(quality)} images hold a studied class in their masks ({labelled} of "
            f"{len(measured.ids)} have masks); folds: {study.folds} needs at least "
            f"{max(2 * study.folds, 10)}: add images or masks, or widen data.classes"
        )
    if float(quality.max() - quality.min()) < 1e-6:
        raise InputError(
            f"{where}: the {study.quality} of all {len(quality)} images is {quality[0]:.3f}, so "
            "there is nothing to predict; check model.preprocessing, or take harder images"
        )
    if not varying(measured.pooled).any():
        raise InputError(
            f"layer {context.layer!r} is the same for all images; choose another layer"
        )


def deployable(
    study: Bottleneck,
    context: Context,
    measured: Measured,
    rows: np.ndarray,
    quality: np.ndarray,
    deployed: Fitted,
    features: Features,
    slicing: Slicing,
    groups: np.ndarray,
    fold_groups: np.ndarray,
) -> Predictor:
    """The predictor that is saved: the first repeat's folds, calibrated on each other."""
    slices = slicing(measured.size[rows])
    columns, pooled, sure = _watched(measured, rows)
    width = features.rows.shape[1]
    facts = {
        "features": study.deploy,
        "alpha": 1 - study.coverage,
        "quality": study.quality,
        "flip": study.flip,
        "classes": [context.model.classes[c] for c in study.class_ids(context)],
        "layer": context.layer,
        "weights": context.model.fingerprint(),
        "confidence": list(NAMES),
    }
    return Predictor(
        tuple(part_of(fold.fitted, width) for fold in deployed.folds),
        calibrated(deployed.folds, features, quality, slices, groups),
        slicing,
        Gates.of(pooled, sure, fold_groups, study.gate),
        columns,
        facts,
    )


def _watched(measured: Measured, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What gates look at: which columns of the layer, the layer [n, c] there, and confidence."""
    columns = np.flatnonzero(varying(measured.pooled[rows]))
    pooled = measured.pooled[np.ix_(rows, columns)].astype(np.float64)
    return columns, pooled, measured.confidence[rows].astype(np.float64)


def _outside(
    study: Bottleneck,
    measured: Measured,
    rows: np.ndarray,
    fitted: Fitted,
    groups: np.ndarray,
) -> np.ndarray:
    """Which images [n] a gate around the other folds turns away."""
    _, pooled, sure = _watched(measured, rows)
    found = np.zeros(len(rows), bool)
    for fold in fitted.folds:
        gates = Gates.of(pooled[fold.fit], sure[fold.fit], groups[fold.fit], study.gate)
        found[fold.held] = gates.distance(pooled[fold.held], sure[fold.held]) > 1
    return found


def _per_class(
    study: Bottleneck,
    features: Mapping[str, Features],
    classes: np.ndarray,
    ids: Sequence[int],
    groups: np.ndarray,
    options: Mapping[str, Any],
) -> dict[int, dict[str, Fitted]]:
    """Each class's own overlap, predicted by ridge regression on the images that hold it."""
    found: dict[int, dict[str, Fitted]] = {}
    for place, class_id in enumerate(ids if study.per_class else ()):
        held = np.flatnonzero(np.isfinite(classes[:, place]))
        own = classes[held, place]
        few = len(held) < study.min_images or len(np.unique(groups[held])) < study.folds
        if few or float(np.ptp(own)) < 1e-6:
            continue
        found[class_id] = {
            name: crossed(("ridge",), features[name][held], own, groups[held], repeats=1, **options)
            for name in ("layer", "confidence")
        }
    return found


def _presence(
    study: Bottleneck, context: Context, measured: Measured, ids: Sequence[int]
) -> list[Presence]:
    """Of each class, images with and without it, among all that have labels."""
    known = np.flatnonzero(measured.labelled.sum(1) > 0)
    fold_groups, groups, _ = grouped(study, context, [measured.ids[row] for row in known])
    numbers = np.unique(groups, return_inverse=True)[1]
    total = measured.labelled[known].sum(1)
    layer = measured.pooled[known].astype(np.float64)
    layer = standardised(layer[:, varying(layer)], 20)
    layer /= np.maximum(layer.std(0), 1e-12)
    found = []
    for class_id in ids:
        share = measured.labelled[known, class_id] / total
        found.append(
            told_apart(
                class_id,
                share > study.min_share,
                share == 0,
                measured.shared[known, class_id] / total,
                measured.predicted[known, class_id] / total,
                measured.peak[known, class_id],
                layer,
                numbers,
                fold_groups,
                folds=study.folds,
                least=study.min_images // 3,
                least_pixels=study.min_share,
                seed=study.seed,
            )
        )
    return found
