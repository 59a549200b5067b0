"""From features to quality: scikit-learn pipelines, chosen and judged on groups they never saw.

Quality q in [0, 1] is clipped to [0.01, 0.99] and fitted as its log odds, so that a prediction is
always a quality. Each choice (which regressor, how strong) is made inside the training part of each
fold, and groups are never cut.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from conceptseg.engine.fits import all_of
from conceptseg.errors import InputError
from conceptseg.study.bottleneck.part import Part, part_of

CLIP = 0.01
Split = tuple[np.ndarray, np.ndarray]
"""Rows to fit on and rows to predict."""


@dataclass(frozen=True)
class Candidate:
    """One regressor with its strengths fixed; `settings` are scikit-learn's names."""

    name: str
    settings: tuple[tuple[str, float], ...] = ()

    def __str__(self) -> str:
        settings = ", ".join(f"{key} {value:g}" for key, value in self.settings)
        return f"{self.name} ({settings})" if settings else self.name


CANDIDATES: dict[str, tuple[Candidate, ...]] = {
    "mean": (Candidate("mean"),),
    "ridge": tuple(Candidate("ridge", (("alpha", a),)) for a in (1.0, 10.0, 100.0)),
    "neighbours": tuple(Candidate("neighbours", (("n_neighbors", k),)) for k in (5, 15)),
    "forest": (Candidate("forest", (("min_samples_leaf", 3),)),),
    "boosting": (Candidate("boosting", (("max_iter", 50), ("max_leaf_nodes", 8))),),
}


@dataclass(frozen=True)
class Features:
    """What quality is predicted from: rows [n, d] whose first `units` columns are the layer's."""

    rows: np.ndarray
    units: int

    def __getitem__(self, rows: np.ndarray) -> Features:
        return Features(self.rows[rows], self.units)

    def __len__(self) -> int:
        return len(self.rows)


def log_odds(quality: np.ndarray) -> np.ndarray:
    """log(q / (1 - q)) of q clipped to [0.01, 0.99]."""
    clipped = np.clip(np.asarray(quality, np.float64), CLIP, 1 - CLIP)
    return np.asarray(np.log(clipped / (1 - clipped)))


def from_log_odds(values: np.ndarray) -> np.ndarray:
    """The quality of log odds: 1 / (1 + exp(-v))."""
    with np.errstate(over="ignore"):  # of far below 0: 1 / inf is 0
        return np.asarray(1 / (1 + np.exp(-np.asarray(values, np.float64))))


def components_of(kept: int, rows: int, units: int) -> Any:
    """A PCA; of few components among many by random projections, whose seed never changes.

    Source: Halko, Martinsson & Tropp 2011, with seven power iterations.
    """
    from sklearn.decomposition import PCA

    if 4 * kept < min(rows, units):
        return PCA(kept, svd_solver="randomized", iterated_power=7, random_state=0)
    return PCA(kept, svd_solver="full")


def reducer(features: Features, components: int) -> Any:
    """Scaling, then the layer's columns alone through a PCA; a scikit-learn transformer."""
    from sklearn.compose import ColumnTransformer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    parts, units, (rows, width) = [], features.units, features.rows.shape
    if units:
        steps = [StandardScaler()]
        if rows > 1:  # one row has no components: scaled, it is zeros
            kept = min(components, units, rows - 1)
            steps.append(components_of(kept, rows, units))
        parts.append(("layer", make_pipeline(*steps), slice(0, units)))
    if width > units:
        parts.append(("confidence", StandardScaler(), slice(units, width)))
    return ColumnTransformer(parts)


def regressor(candidate: Candidate, seed: int, rows: int) -> Any:
    """The scikit-learn regressor of a candidate, for so many rows to fit on."""
    settings: dict[str, Any] = dict(candidate.settings)
    if candidate.name == "mean":
        from sklearn.dummy import DummyRegressor

        return DummyRegressor()
    if candidate.name == "ridge":
        from sklearn.linear_model import Ridge

        return Ridge(**settings)
    if candidate.name == "neighbours":
        from sklearn.neighbors import KNeighborsRegressor

        return KNeighborsRegressor(min(int(settings["n_neighbors"]), rows))
    if candidate.name == "forest":
        from sklearn.ensemble import RandomForestRegressor

        return RandomForestRegressor(50, max_features=0.5, random_state=seed, n_jobs=1, **settings)
    from sklearn.ensemble import HistGradientBoostingRegressor

    return HistGradientBoostingRegressor(
        random_state=seed, early_stopping=False, min_samples_leaf=10, **settings
    )


def pipeline(candidate: Candidate, features: Features, components: int, seed: int) -> Any:
    """The whole of it, not fitted: scaling, PCA, regressor, in one scikit-learn pipeline."""
    from sklearn.pipeline import Pipeline

    last = regressor(candidate, seed, len(features))
    return Pipeline([("reduce", reducer(features, components)), ("regress", last)])


def check_folds(groups: np.ndarray, folds: int) -> None:
    """Refuse fewer groups than folds."""
    count = len(np.unique(groups))
    if count < folds:
        raise InputError(
            f"folds: {folds}, but the images are of only {count} "
            f"{'groups' if count < len(groups) else 'different groups, one each'}, and a group "
            f"must not be cut: set folds: {max(2, count)} or fewer, give finer groups in the "
            "manifest, or more labelled images"
        )


def splits(groups: np.ndarray, folds: int, seed: int) -> list[Split]:
    """Folds that cut no group: each group is held out once; groups are dealt at random.

    Raises InputError for fewer groups than folds.
    """
    from sklearn.model_selection import GroupKFold

    check_folds(groups, folds)
    cut = GroupKFold(folds, shuffle=True, random_state=seed)
    return [(fit, held) for fit, held in cut.split(np.zeros(len(groups)), groups=groups)]


@dataclass(frozen=True)
class Search:
    """How a pipeline is chosen: among which regressors, by how many inner folds."""

    regressors: tuple[str, ...]
    inner: int
    components: int
    seed: int

    @property
    def candidates(self) -> list[Candidate]:
        return [candidate for name in self.regressors for candidate in CANDIDATES[name]]


def choose(search: Search, features: Features, target: np.ndarray, groups: np.ndarray) -> Candidate:
    """The candidate of smallest mean squared error over inner folds; the first of equal ones.

    The mean over folds of each fold's error, as in scikit-learn's `GridSearchCV`. Scaling and PCA
    are fitted once a fold for all candidates.
    """
    candidates, folds = search.candidates, min(search.inner, len(np.unique(groups)))
    if len(candidates) == 1 or folds < 2:
        return candidates[0]
    cuts = splits(groups, folds, search.seed)
    if min(len(fit) for fit, _ in cuts) < 2:  # nothing can be fitted on one image
        return candidates[0]
    errors = np.zeros(len(candidates))
    for fit, held in cuts:
        steps = reducer(features[fit], search.components)
        known, new = steps.fit_transform(features.rows[fit]), steps.transform(features.rows[held])
        for place, candidate in enumerate(candidates):
            fitted = regressor(candidate, search.seed, len(fit)).fit(known, target[fit])
            errors[place] += float(((fitted.predict(new) - target[held]) ** 2).mean()) / folds
    return candidates[int(np.argmin(errors))]


@dataclass(frozen=True)
class Fold:
    """One fold of the outer loop: rows, what was chosen, and the pipeline fitted on `fit`."""

    fit: np.ndarray
    held: np.ndarray
    chosen: Candidate
    fitted: Part


def nested(
    search: Sequence[Search],
    features: Features,
    target: np.ndarray,
    groups: np.ndarray,
    outer: Sequence[Split],
) -> list[Fold]:
    """Each outer fold with a pipeline that was chosen, as its search says, and fitted without its
    held-out rows."""
    items = [(own, fit, held) for own, (fit, held) in zip(search, outer, strict=True)]
    return all_of(fold_of, items, features, target, groups)


def fold_of(
    features: Features,
    target: np.ndarray,
    groups: np.ndarray,
    search: Search,
    fit: np.ndarray,
    held: np.ndarray,
) -> Fold:
    """One of them."""
    known = features[fit]
    chosen = choose(search, known, target[fit], groups[fit])
    steps = pipeline(chosen, known, search.components, search.seed).fit(known.rows, target[fit])
    return Fold(fit, held, chosen, part_of(steps, known.rows.shape[1]))


def out_of_fold(folds: Sequence[Fold], features: Features) -> np.ndarray:
    """Predicted log odds [n] of each row by the one pipeline that did not see its group."""
    predicted = np.full(len(features), np.nan)
    for fold in folds:
        predicted[fold.held] = fold.fitted.predict(features.rows[fold.held])
    return predicted


@dataclass(frozen=True)
class Fitted:
    """Out-of-fold qualities [repeats, n] of one feature set, and the folds of the first repeat."""

    predicted: np.ndarray
    folds: tuple[Fold, ...]
    chosen: tuple[str, ...]


def crossed(
    search: Search,
    features: Features,
    quality: np.ndarray,
    groups: np.ndarray,
    folds: int,
    repeats: int,
) -> Fitted:
    """Nested cross-validation, repeated with other folds each time."""
    searches = [replace(search, seed=search.seed + repeat) for repeat in range(repeats)]
    outer = [split for own in searches for split in splits(groups, folds, own.seed)]
    each = [own for own in searches for _ in range(folds)]
    done = nested(each, features, log_odds(quality), groups, outer)
    every = [tuple(done[start : start + folds]) for start in range(0, len(done), folds)]
    predicted = np.stack([from_log_odds(out_of_fold(one, features)) for one in every])
    return Fitted(predicted, every[0], tuple(str(fold.chosen) for fold in done))


def varying(rows: np.ndarray) -> np.ndarray:
    """Columns [d] whose spread is more than rounding; a dead unit predicts nothing.

    Their standard deviation exceeds 1e-4 of their own mean size and of the median spread.
    """
    rows = np.asarray(rows, np.float64)
    spread = rows.std(0)
    floor = 1e-4 * np.maximum(np.abs(rows).mean(0), np.median(spread))
    return np.asarray((spread > floor) & (spread > 0))
