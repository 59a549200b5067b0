"""All that is concluded of the measured images: predictions, intervals, gate, predictor."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from conceptseg.engine.contract import Context
from conceptseg.engine.fits import all_of
from conceptseg.engine.known import Key, Known
from conceptseg.errors import InputError
from conceptseg.stats.estimate import Sampling
from conceptseg.study.bottleneck.confidence import names
from conceptseg.study.bottleneck.config import Bottleneck
from conceptseg.study.bottleneck.conformal import Slicing, calibrated, enough, left_out_intervals
from conceptseg.study.bottleneck.evaluate import SETS
from conceptseg.study.bottleneck.gate import Gates
from conceptseg.study.bottleneck.maps import standardised
from conceptseg.study.bottleneck.measure import MEASURED, Measured
from conceptseg.study.bottleneck.predictor import Predictor
from conceptseg.study.bottleneck.presence import Presence, presence_of
from conceptseg.study.bottleneck.regress import (
    Features,
    Fitted,
    Fold,
    Search,
    check_folds,
    crossed,
    varying,
)
from conceptseg.study.shared.overlap import class_mean

DRAWS = 1000


@dataclass(frozen=True)
class Rated:
    """The images with a quality, in the order of their ids; `rows` are theirs among the measured.

    `quality` [n]; `classes` [n, c] the overlap of each studied class, nan where an image lacks it;
    `fold_groups` [n] numbers what folds must not cut, `sampling` says what intervals and tests
    count; `columns` are those of the pooled units that vary, the first of `features`.
    """

    measured: Measured
    rows: np.ndarray
    quality: np.ndarray
    classes: np.ndarray
    class_ids: tuple[int, ...]
    fold_groups: np.ndarray
    sampling: Sampling
    columns: np.ndarray
    features: Mapping[str, Features]

    @property
    def ids(self) -> list[str]:
        return [self.measured.ids[row] for row in self.rows]

    @property
    def size(self) -> np.ndarray:
        return self.measured.size[self.rows]

    @property
    def largest(self) -> np.ndarray:
        """The network's own confidence as it is [n]: the mean largest probability."""
        return self.measured.confidence[self.rows, 0].astype(np.float64)


@dataclass(frozen=True)
class Judged(Rated):
    """And what is concluded of them.

    `fitted` by feature set; `predictor` the one that is saved, calibrated in slices of all images;
    `low`, `high` [n] the intervals; `outside` [n] by a gate that knew nothing of the fold;
    `per_class` each class's own overlap by class and feature set.
    """

    fitted: Mapping[str, Fitted]
    predictor: Predictor
    low: np.ndarray
    high: np.ndarray
    outside: np.ndarray
    per_class: Mapping[int, Mapping[str, Fitted]]
    presence: Sequence[Presence]

    def predicted(self, name: str = "both") -> np.ndarray:
        """Mean over repeats of the out-of-fold quality [n]."""
        return np.asarray(self.fitted[name].predicted.mean(0))


JUDGED = Key("judged", Judged)


def judge(study: Bottleneck, context: Context, known: Known) -> Known:
    """Fits, cross-validates and calibrates on all images that have a quality.

    Raises InputError where there is too little to learn from.
    """
    from threadpoolctl import threadpool_limits

    rated, search = rate(study, context, known[MEASURED]), search_of(study)
    target, whole = rated.quality, rated.fold_groups
    with threadpool_limits(1):  # on so small tables threads wait for each other, and no more
        fitted = {
            name: crossed(search, rated.features[name], target, whole, study.folds, study.repeats)
            for name in SETS
        }
        folds, features = fitted[study.deploy].folds, rated.features[study.deploy]
        predictor = _deployable(study, context, rated, folds)
        slices, groups = predictor.calibration.slice, predictor.calibration.group
        low, high = left_out_intervals(
            search, folds, features, target, slices, groups, whole, alpha=1 - study.coverage
        )
        judged = Judged(
            **vars(rated),
            fitted=fitted,
            predictor=predictor,
            low=low,
            high=high,
            outside=_outside(study, rated, folds),
            per_class=_per_class(study, rated),
            presence=_presences(study, context, rated.measured),
        )
    return JUDGED(judged)


def rate(study: Bottleneck, context: Context, measured: Measured) -> Rated:
    """The images with a quality. Raises InputError where they are too few or too alike."""
    ids = study.class_ids(context)
    classes, quality = qualities(study, measured, ids)
    rows = np.flatnonzero(np.isfinite(quality))
    _refuse(study, context, measured, quality[rows])
    fold_groups, sampling = grouped(study, context, [measured.ids[row] for row in rows])
    check_folds(fold_groups, study.folds)  # before hours of fitting
    columns = np.flatnonzero(varying(measured.pooled[rows]))
    layer = measured.pooled[np.ix_(rows, columns)].astype(np.float64)
    confidence = measured.confidence[rows].astype(np.float64)
    features = {
        "layer": Features(layer, layer.shape[1]),
        "confidence": Features(confidence, 0),
        "both": Features(np.concatenate([layer, confidence], 1), layer.shape[1]),
    }
    return Rated(
        measured, rows, quality[rows], classes[rows], ids, fold_groups, sampling, columns, features
    )


def search_of(study: Bottleneck) -> Search:
    """How each fold's regressor is chosen."""
    return Search(study.regressors, study.inner, study.components, study.seed)


def qualities(
    study: Bottleneck, measured: Measured, ids: Sequence[int]
) -> tuple[np.ndarray, np.ndarray]:
    """Overlap of each studied class [m, c], nan where absent or tiny, and its mean [m]."""
    held = measured.labelled[:, list(ids)]
    total = measured.labelled.sum(1, keepdims=True)
    counted = held > study.min_share * np.maximum(total, 1)
    value = study.overlap(measured.shared[:, list(ids)], measured.predicted[:, list(ids)], held)
    classes = np.where(counted, value, np.nan)
    return classes, class_mean(classes)


def grouped(study: Bottleneck, context: Context, ids: Sequence[str]) -> tuple[np.ndarray, Sampling]:
    """What folds must not cut [n], and what intervals and tests count.

    Folds cut no group of the manifest, whatever is counted: models that saw its neighbours would
    flatter an image's prediction. Only where images are to be counted and groups are too few for
    the folds are they images.
    """
    names = [context.manifest.sample(sample_id).group for sample_id in ids]
    sampling = Sampling.counting(ids, names, study.unit, (study.seed, 11), DRAWS)
    few = study.unit == "image" and len(set(names)) < study.folds
    return np.unique(np.array(ids if few else names), return_inverse=True)[1], sampling


def check_count(study: Bottleneck, context: Context, many: str, count: int, labelled: int) -> None:
    least = max(2 * study.folds, 10)
    if count < least:
        raise InputError(
            f"{context.manifest.where}: {many} images hold a studied class in their masks "
            f"({labelled} of {len(context.manifest.samples)} have masks); folds: {study.folds} "
            f"needs at least {least}: add images or masks, or widen data.classes"
        )


def _refuse(study: Bottleneck, context: Context, measured: Measured, quality: np.ndarray) -> None:
    where, labelled = context.manifest.where, int((measured.labelled.sum(1) > 0).sum())
    check_count(study, context, str(len(quality)), len(quality), labelled)
    if float(quality.max() - quality.min()) < 1e-6:
        raise InputError(
            f"{where}: the {study.quality} of all {len(quality)} images is {quality[0]:.3f}, so "
            "there is nothing to predict; check model.preprocessing, or take harder images"
        )
    if not varying(measured.pooled).any():
        raise InputError(
            f"layer {context.layer!r} is the same for all images; choose another layer"
        )


def _deployable(
    study: Bottleneck, context: Context, rated: Rated, folds: Sequence[Fold]
) -> Predictor:
    """The predictor that is saved: the first repeat's folds, calibrated on each other.

    Calibration counts groups, or images where groups are too few for an end.
    """
    features, sampling = rated.features[study.deploy], rated.sampling
    slicing = Slicing.of(rated.size, "predicted area")
    few = not enough(sampling.n * (study.folds - 1) // study.folds, 1 - study.coverage)
    counted = np.arange(len(sampling.ids)) if few else sampling.place
    layer, confidence = (rated.features[name].rows for name in ("layer", "confidence"))
    facts = {
        "features": study.deploy,
        "alpha": 1 - study.coverage,
        "quality": study.quality,
        "flip": study.flip,
        "classes": [context.model.classes[c] for c in rated.class_ids],
        "layer": context.layer,
        "weights": context.model.fingerprint(),
        "confidence": names(study.flip),
    }
    return Predictor(
        tuple(fold.fitted for fold in folds),
        calibrated(folds, features, rated.quality, slicing(rated.size), counted),
        slicing,
        Gates.of(layer, confidence, rated.fold_groups, study.gate),
        rated.columns,
        facts,
    )


def _outside(study: Bottleneck, rated: Rated, folds: Sequence[Fold]) -> np.ndarray:
    """Which images [n] a gate around the other folds rejects."""
    layer, confidence = (rated.features[name].rows for name in ("layer", "confidence"))
    outside, groups = np.zeros(len(rated.rows), bool), rated.fold_groups
    for fit, held in ((fold.fit, fold.held) for fold in folds):
        gates = Gates.of(layer[fit], confidence[fit], groups[fit], study.gate)
        outside[held] = gates.distance(layer[held], confidence[held]) > 1
    return outside


def _per_class(study: Bottleneck, rated: Rated) -> dict[int, dict[str, Fitted]]:
    """Each class's own overlap, predicted by ridge regression on the images that hold it."""
    search = Search(("ridge",), study.inner, study.components, study.seed)
    items, named = [], []
    for place, class_id in enumerate(rated.class_ids if study.per_class else ()):
        held = np.flatnonzero(np.isfinite(rated.classes[:, place]))
        own, groups = rated.classes[held, place], rated.fold_groups[held]
        few = len(held) < study.min_images or len(np.unique(groups)) < study.folds
        if few or float(np.ptp(own)) < 1e-6:
            continue
        for name in ("layer", "confidence"):
            items.append((name, held, own, groups))
            named.append(class_id)
    # One fit for a class and a set, not one for each of its folds: of many classes all cores work.
    made = all_of(_crossed_once, items, rated.features, search, study.folds)
    fitted: dict[int, dict[str, Fitted]] = {}
    for class_id, (name, *_), one in zip(named, items, made, strict=True):
        fitted.setdefault(class_id, {})[name] = one
    return fitted


def _crossed_once(
    features: Mapping[str, Features],
    search: Search,
    folds: int,
    name: str,
    held: np.ndarray,
    own: np.ndarray,
    groups: np.ndarray,
) -> Fitted:
    """A class's overlap [m] in the rows that hold it, by one feature set."""
    return crossed(search, features[name][held], own, groups, folds, 1)


def _presences(study: Bottleneck, context: Context, measured: Measured) -> list[Presence]:
    """Of each class, images with and without it, among all that have labels."""
    known = np.flatnonzero(measured.labelled.sum(1) > 0)
    fold_groups, sampling = grouped(study, context, [measured.ids[row] for row in known])
    labelled, shared, predicted = (
        counts[known] / measured.labelled[known].sum(1, keepdims=True)
        for counts in (measured.labelled, measured.shared, measured.predicted)
    )
    layer = measured.pooled[known].astype(np.float64)
    layer = standardised(layer[:, varying(layer)], 20)
    layer /= np.maximum(layer.std(0), 1e-12)
    items = [
        (
            c,
            np.select([labelled[:, c] > study.min_share, labelled[:, c] == 0], [1, 0], -1),
            np.where(labelled[:, c] > 0, shared[:, c] == 0, predicted[:, c] > study.min_share),
            measured.peak[known, c],
        )
        for c in study.class_ids(context)
    ]
    settings = {"folds": study.folds, "least": study.min_images // 3, "seed": study.seed}
    return all_of(presence_of, items, layer, sampling, fold_groups, settings)
