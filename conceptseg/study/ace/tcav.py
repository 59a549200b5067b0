"""Does a concept move a class's score, and could any other set of segments do as much?

Notation: e_s [u] embedding of segment s; g_i [u] gradient of image i's target with respect to the
layer's activation, summed over positions; t(s) the segment's tag with respect to the class
(inside its region, in the ring around it, elsewhere).

The contrast of a concept depends on where its segments lie. Segments outside the class's region
are compared with segments at the same kind of place (ring, elsewhere), so that "lies outside the
object" alone is no concept; segments inside have all segments' mean for a contrast, because to be
what the object is made of is just what makes a concept the class's own, and where a concept lies
inside in more images than by chance, its random concepts are drawn from anywhere too. With the
residual
r_s = e_s - mean embedding of the segments that s is compared with, the pattern CAV of a concept Q
is v = mean over Q of r_s. As both are linear, the derivative of the target along v is the mean
over Q of r_s . g_i, which needs one product for all concepts and all nulls.

Source: Kim et al. 2018 (TCAV), arXiv 1711.11279, eqs. 1 and 2. The published significance test
compares scores that share one set of positives, and rejects far too often; the test here compares
the concept with random concepts of the same make-up, which are exchangeable with it under the
hypothesis that the concept is a random set of segments.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from conceptseg.concepts.cavs.pattern import Pattern
from conceptseg.concepts.contract import CavLearner
from conceptseg.stats.p_values import exchangeable_p, tail_p
from conceptseg.study.ace.pool import Pool, random_concepts, random_sets

TINY = 1e-300
SIGNS = 999
"""Random concepts whose TCAV and length are looked at, of more that their effects are."""


@dataclass(frozen=True)
class Influence:
    """How a concept's direction v moves the target of one class over n images.

    `derivatives` [n] of the target along v, and their parts from positions inside and outside the
    class's region; `tcav` the share that is positive (Kim et al. 2018, eq. 2), `tcav_outside` the
    same for the outside part; `effect` their mean, in units of the target: the first-order change
    when a segment's mean embedding goes from its contrast's to the concept's at every position.

    Three tests, each against the same random concepts: `p_effect` of the effect, whose values for
    random concepts are `null_effect` [r], means over many segments (:func:`tail_p`); `p_alignment`
    of the effect per unit of v's length; `p_tcav` of the share, with `null_tcav` of `SIGNS` of the
    random concepts, as that of lengths. They ask different things. Any group of like segments has
    a longer v than a random one, so `p_effect` is small for most groups whose direction the class
    cares for at all, however little: it needs a causal test beside it. `p_alignment` takes the
    length out, and with it most of its power for a concept that is common in the data, since random
    directions then contain it. `p_tcav` has no power where all gradients agree: random concepts
    then score 0 or 1 too.
    """

    derivatives: np.ndarray
    inside: np.ndarray
    outside: np.ndarray
    p_effect: float
    p_tcav: float
    null_effect: np.ndarray
    null_tcav: np.ndarray
    p_alignment: float = 1.0

    @property
    def effect(self) -> float:
        return float(self.derivatives.mean())

    @property
    def tcav(self) -> float:
        return float((self.derivatives > 0).mean())

    @property
    def tcav_outside(self) -> float:
        return float((self.outside > 0).mean())

    @property
    def smooth_tcav(self) -> float:
        """Mean sigmoid of the derivatives in units of their spread: no jump at zero."""
        spread = np.sqrt((self.derivatives**2).mean())
        if spread == 0:
            return 0.5
        return float((1 / (1 + np.exp(-self.derivatives / spread))).mean())

    @property
    def outside_share(self) -> float:
        """Share of the derivative, in absolute terms, that comes from outside the region."""
        inside, outside = np.abs(self.inside).sum(), np.abs(self.outside).sum()
        return float(outside / (inside + outside)) if inside + outside > 0 else 0.0


class Tester:
    """Tests concepts against one class: keeps the products that all its concepts share."""

    def __init__(
        self,
        pool: Pool,
        inside: np.ndarray,
        outside: np.ndarray,
        learner: CavLearner | None = None,
        seed: int = 0,
    ) -> None:
        """Gradients [n, u] of n images' targets, summed inside and outside the class's region.

        With no `learner`, or the pattern, directions are means of residuals, in closed form;
        any other learner is fitted to each concept and to each of its nulls.
        """
        self.pool = pool
        self.inside = inside.astype(np.float64)
        self.outside = outside.astype(np.float64)
        self.learner = None if learner is None or isinstance(learner, Pattern) else learner
        self.seed = seed
        self._gradients = self.inside + self.outside
        self._moves = pool.moves(self._gradients)

    def test(self, members: np.ndarray, draws: int, rng: np.random.Generator) -> Influence:
        """The influence of the concept made of segments `members`, against `draws` random ones."""
        null = random_concepts(self.pool, members, draws, rng)
        return self.against(self.pool.rows(members), null)

    def against(self, rows: np.ndarray, null: np.ndarray) -> Influence:
        """The same for rows of the pool [m], against given random concepts [r, m]."""
        contrast = np.unique(null[:5])
        direction = self._direction(rows, contrast)
        inside, outside = self.inside @ direction, self.outside @ direction
        derivatives = inside + outside
        null_moves, null_lengths = self._null_moves(null[:SIGNS], contrast)
        effect, null_effect = float(derivatives.mean()), null_moves.mean(1)
        if len(null) > SIGNS:
            more = self._null_effects(null[SIGNS:], contrast)
            null_effect = np.concatenate([null_effect, more])
        null_tcav = (null_moves > 0).mean(1)
        tcav = (derivatives > 0).mean()
        return Influence(
            derivatives,
            inside,
            outside,
            p_effect=tail_p(abs(effect), np.abs(null_effect)),
            p_tcav=exchangeable_p(abs(tcav - 0.5), np.abs(null_tcav - 0.5)),
            null_effect=null_effect,
            null_tcav=null_tcav,
            p_alignment=exchangeable_p(
                abs(effect) / _length(direction), np.abs(null_effect[:SIGNS]) / null_lengths
            ),
        )

    def null_p(
        self, members: np.ndarray, draws: int, repeats: int, rng: np.random.Generator
    ) -> np.ndarray:
        """P-values of `repeats` sets of random segments, as large as `members`, [repeats].

        They lie anywhere, and each is tested as a concept is, against `draws` random concepts of
        its own: the share below 0.05 is the test's false-positive rate on these data.
        """
        sets = random_sets(self.pool, members, repeats, rng) if repeats else np.zeros((0, 1), int)
        p = np.zeros(len(sets))
        for i, segments in enumerate(sets):
            null = random_concepts(self.pool, segments, draws, rng)
            every = np.vstack([self.pool.rows(segments), null])
            effects = np.abs(self._null_effects(every, np.unique(every[:5])))
            p[i] = exchangeable_p(float(effects[0]), effects[1:])
        return p

    def _direction(self, rows: np.ndarray, contrast: np.ndarray) -> np.ndarray:
        """The step from the contrast to the concept, along the direction that was learnt, [u]."""
        if self.learner is None:
            return self.pool.residuals(rows).mean(0)
        contrast = np.setdiff1d(contrast, rows)
        return concept_step(
            self.learner, self.pool.residuals(rows), self.pool.residuals(contrast), self.seed
        )

    def _null_effects(self, null: np.ndarray, contrast: np.ndarray) -> np.ndarray:
        """The mean derivative along each null's direction, [r]."""
        if self.learner is not None:
            return self._null_moves(null, contrast)[0].mean(1)
        # Means over images and over segments are taken in either order.
        return self._mean_moves[null].mean(1)

    @cached_property
    def _mean_moves(self) -> np.ndarray:
        """The mean derivative along each row's residual, [2 s]."""
        return self._moves.mean(1, dtype=np.float64)

    def _null_moves(self, null: np.ndarray, contrast: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Derivative of each target along each null's direction [r, n], and its length [r]."""
        if self.learner is not None:
            steps = np.stack([self._direction(rows, contrast) for rows in null])
            return steps @ self._gradients.T, np.maximum(np.linalg.norm(steps, axis=1), TINY)
        from scipy.sparse import csr_array

        r, m = null.shape
        ones = np.full(r * m, 1.0 / m, dtype=np.float32)
        pick = csr_array(
            (ones, null.ravel(), np.arange(0, r * m + 1, m)), shape=(r, len(self._moves))
        )
        moves = np.asarray(pick @ self._moves, dtype=np.float64)
        # The directions are the same sums of residuals: of embeddings, less the means' shares.
        segments = csr_array(
            (ones, (null % len(self.pool)).ravel(), pick.indptr), shape=(r, len(self.pool))
        )
        compared = self.pool.compared(null)
        shares = np.stack([(compared == c).mean(1) for c in range(len(self.pool.means))], axis=1)
        directions = segments @ self.pool.embeddings - shares @ self.pool.means
        return moves, np.maximum(np.linalg.norm(directions, axis=1), TINY)


def _length(direction: np.ndarray) -> float:
    return max(float(np.linalg.norm(direction)), TINY)


def concept_step(
    learner: CavLearner, concept: np.ndarray, contrast: np.ndarray, seed: int
) -> np.ndarray:
    """From the contrast's mean towards the concept's, along the learner's direction, float64 [u].

    v * (v . (mean of concept - mean of contrast)) for the unit CAV v, so that directions of all
    learners are in units of activation; for the pattern CAV it is the difference of the means.
    """
    rows = np.concatenate([concept, contrast])
    is_concept = np.arange(len(rows)) < len(concept)
    v = learner.fit(rows, is_concept, seed)
    v = v / _length(v)
    return v * float(v @ (concept.mean(0, dtype=np.float64) - contrast.mean(0, dtype=np.float64)))


def published_p(concept: np.ndarray, random: np.ndarray) -> float:
    """P-value of the published test, for parity only: it is not calibrated.

    Two-sided (Welch's) t-test of the TCAV scores of one concept against several random sets [r]
    with those of random sets against each other [r]. The scores of a concept share their positives
    and are not independent, so the test rejects most random concepts.

    Where no score varies it is 1 if they are equal, else 0.

    Source: Kim et al. 2018, section 3.4, as in the published code.
    """
    from scipy.stats import ttest_ind_from_stats

    # Scores are shares of images: where (almost) all are equal there is no spread to test with.
    if max(np.ptp(concept), np.ptp(random)) < 1e-9:
        return 1.0 if abs(concept[0] - random[0]) < 1e-9 else 0.0
    # From the moments, for scipy warns of samples that are all equal, as scores of 1 often are.
    moments = [part for x in (concept, random) for part in (x.mean(), x.std(ddof=1), len(x))]
    return float(ttest_ind_from_stats(*moments, equal_var=False).pvalue)
