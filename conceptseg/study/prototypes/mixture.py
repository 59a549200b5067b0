"""A mixture of Gaussians of the regions of a class, and how many Gaussians it has."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from conceptseg.data.draw import sample_priority
from conceptseg.stats.intervals import Floats

FOLDS = 5
EXPLAINED = 0.95
"""Share of the variance that the principal components hold, where so many are allowed."""
PER_COMPONENT = 10
"""Rows of a Gaussian, and of a principal component, at least."""
FLOOR = 0.01
"""Added to variances, of points whose mean variance is 1: with less, a few rows left out, far from
all others, decide how many Gaussians there are."""
FEWEST = 5
"""Rows of a Gaussian: one of fewer is no way of deciding, and its rows are unlikely ones."""
STARTS = 3
UNEXPLAINED, WIDE = 0.05, 3.0
"""Share of rows left out that no Gaussian need explain, and how many times as wide as all rows are
spread what explains them instead: of 62 rows left out one had a log density of -371 by six
Gaussians, and it alone made one Gaussian as good as six."""


@dataclass(frozen=True)
class Mixture:
    """A density of rows [m, q]: a mixture of c Gaussians on d axes, one Gaussian on the others.

    Points are (row - `centre` [q]) `axes` [d, q]' / `scale`; `weights` [c], `means` [c, d] and
    `covariances` [c, d, d] are of points. What the axes leave, of `rest` further dimensions, has
    the variance `noise`, in units of the scale.
    """

    centre: Floats
    axes: Floats
    scale: float
    weights: Floats
    means: Floats
    covariances: Floats
    noise: float
    rest: int

    @property
    def count(self) -> int:
        return len(self.weights)

    def points(self, rows: Floats) -> Floats:
        """[m, d]."""
        return np.asarray((rows - self.centre) @ self.axes.T / self.scale)

    def far(self, rows: Floats) -> Floats:
        """Squared Mahalanobis distance of each row from each mean, [m, c]."""
        points = self.points(rows)
        found = []
        for mean, covariance in zip(self.means, self.covariances, strict=True):
            half = np.linalg.solve(np.linalg.cholesky(covariance), (points - mean).T)
            found.append((half**2).sum(0))
        return np.stack(found, 1)

    def joint(self, rows: Floats) -> Floats:
        """log(weight times density) of each row's point in each Gaussian, [m, c]."""
        d = self.axes.shape[0]
        logs = np.linalg.slogdet(self.covariances)[1]
        return np.asarray(
            np.log(self.weights) - (self.far(rows) + logs + d * np.log(2 * np.pi)) / 2
        )

    def log_density(self, rows: Floats) -> Floats:
        """Of each row, [m]: that of its point, and that of what the axes leave of it."""
        each = self.joint(rows)
        top = each.max(1)
        inside = top + np.log(np.exp(each - top[:, None]).sum(1))
        if not self.rest:
            return np.asarray(inside)
        shifted = (rows - self.centre) / self.scale
        left = np.maximum((shifted**2).sum(1) - (self.points(rows) ** 2).sum(1), 0.0)
        outside = -(left / self.noise + self.rest * np.log(2 * np.pi * self.noise)) / 2
        return np.asarray(inside + outside)

    def assigned(self, rows: Floats) -> np.ndarray:
        """The likeliest Gaussian of each row, [m]."""
        return np.asarray(self.joint(rows).argmax(1))


@dataclass(frozen=True)
class Tried:
    """A number of Gaussians: the mean log density of rows left out, `behind` the best's by so much,
    with the standard error of that, over groups."""

    count: int
    density: float
    behind: float
    error: float


def fit(
    rows: Floats,
    groups: Sequence[str],
    counts: Sequence[int],
    dimensions: int,
    seed: int,
) -> tuple[Mixture, tuple[Tried, ...]]:
    """The mixture of rows [m, q] with the fewest Gaussians that rows of other groups do not speak
    against, and all numbers that were tried. Gaussians of fewer than five rows are left out of it.

    Whole groups are left out in turn, in five parts. The mean log density of rows left out is the
    criterion, with one wide Gaussian beside for rows that are like no others; of all numbers whose
    lack of it lies within its standard error, the least is taken.
    """
    axes = _axes(rows, dimensions)
    points = (rows - rows.mean(0)) @ axes.T
    scale = float(np.sqrt(points.var(0).mean())) or 1.0
    points = points / scale
    most = min(len(rows) // PER_COMPONENT, len(np.unique(points.round(9), axis=0)))
    able = [k for k in sorted(set(counts)) if k <= max(most, 1)] or [1]
    tried = _tried(points, groups, able, seed) if len(able) > 1 else ()
    taken = chosen(tried) or able[0]
    model = _gaussians(points, taken, seed)
    alive = int((rows.std(0) > 0).sum())
    rest = max(0, min(alive, rows.shape[1]) - len(axes))
    shifted = (rows - rows.mean(0)) / scale
    left = float((shifted**2).sum() - (points**2).sum()) / max(1, len(rows) * max(1, rest))
    held = np.bincount(model.predict(points), minlength=taken)
    order = np.argsort(-model.weights_, kind="stable")
    order = order[held[order] >= min(FEWEST, held.max())]
    return Mixture(
        rows.mean(0),
        axes,
        scale,
        model.weights_[order] / model.weights_[order].sum(),
        model.means_[order],
        model.covariances_[order],
        max(left, FLOOR / max(1, rest)),
        # A concept that no row has is left to the rest, where it is seen.
        max(rest, 1) if rows.shape[1] > len(axes) else 0,
    ), tried


def chosen(tried: Sequence[Tried]) -> int:
    """The least number that is behind the best by no more than the error of that; 0 of none."""
    return next((one.count for one in tried if one.behind <= one.error), 0)


def _axes(rows: Floats, most: int) -> Floats:
    """Leading principal axes [d, q], the largest entry of each positive."""
    _, sizes, axes = np.linalg.svd(rows - rows.mean(0), full_matrices=False)
    share = np.cumsum(sizes**2) / max(float((sizes**2).sum()), 1e-300)
    wanted = int(np.searchsorted(share, EXPLAINED)) + 1
    kept = max(1, min(wanted, most, len(rows) // PER_COMPONENT, int((sizes > 1e-9).sum())))
    axes = axes[:kept]
    signs = np.sign(axes[np.arange(kept), np.abs(axes).argmax(1)])
    return np.asarray(axes * np.where(signs == 0, 1.0, signs)[:, None])


def _gaussians(points: Floats, count: int, seed: int):  # type: ignore[no-untyped-def]
    import warnings

    from sklearn.exceptions import ConvergenceWarning
    from sklearn.mixture import GaussianMixture
    from threadpoolctl import threadpool_limits

    state = int(np.random.SeedSequence([seed, count]).generate_state(1)[0])
    with threadpool_limits(1), warnings.catch_warnings():
        # Rows left out say whether what was found is of use, whether or not it moved at the end.
        warnings.simplefilter("ignore", ConvergenceWarning)
        model = GaussianMixture(
            count, reg_covar=FLOOR, n_init=STARTS, max_iter=200, random_state=state
        )
        return model.fit(points)


def _wide(points: Floats, rows: Floats) -> Floats:
    """Log density of rows [m, d] in the Gaussian of points [n, d], several times as wide, [m]."""
    from scipy.stats import multivariate_normal

    spread = WIDE**2 * np.atleast_2d(np.cov(points.T)) + FLOOR * np.eye(points.shape[1])
    return np.asarray(multivariate_normal(points.mean(0), spread).logpdf(rows)).reshape(len(rows))


def _tried(
    points: Floats, groups: Sequence[str], counts: Sequence[int], seed: int
) -> tuple[Tried, ...]:
    names = sorted(set(groups), key=lambda one: (sample_priority(seed, f"fold {one}"), one))
    place = {name: k % FOLDS for k, name in enumerate(names)}
    fold = np.array([place[name] for name in groups])
    density = np.full((len(counts), len(points)), np.nan)
    for k in np.unique(fold).tolist():
        own, others = fold == k, fold != k
        for row, count in enumerate(counts):
            if others.sum() >= max(2, count):
                model = _gaussians(points[others], count, seed)
                density[row, own] = np.logaddexp(
                    np.log(1 - UNEXPLAINED) + model.score_samples(points[own]),
                    np.log(UNEXPLAINED) + _wide(points[others], points[own]),
                )
    known = np.isfinite(density).all(0)
    if not known.any():
        return ()
    density, held = density[:, known], np.array(groups)[known]
    behind = density[int(np.argmax(density.mean(1)))] - density
    total = np.stack([behind[:, held == name].sum(1) for name in np.unique(held)], 1)
    spread = total.std(1) * np.sqrt(total.shape[1]) / density.shape[1]
    rows = zip(counts, density.mean(1), behind.mean(1), spread, strict=True)
    return tuple(Tried(k, float(a), float(b), float(c)) for k, a, b, c in rows)
