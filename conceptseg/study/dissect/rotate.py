"""What units detect when their basis is rotated: is there anything in single units?"""

import numpy as np

from conceptseg.study.dissect.kept import Kept
from conceptseg.study.dissect.measures import Overlaps
from conceptseg.study.dissect.permute import PUBLISHED_IOU, PUBLISHED_QUANTILE, SIDE, Seen

MOST_IMAGES = 32
ANGLES = (0.25, 0.5, 0.75, 1.0)


def rotated(
    kept: Kept,
    allowed: np.ndarray,
    quantiles: tuple[float, ...],
    draws: int,
    *,
    min_overlap: float,
    seed: int,
) -> tuple[dict[str, float], ...]:
    """Detectors when the basis of units is turned towards random ones.

    Q^a A with Q drawn from the Haar measure on rotations and a in (0, 1]: if single units mean
    something, there are more detectors at a = 0 than at a = 1. High values count alone, as
    published. Each row has `angle` a, `draw`, `detectors` and `unique`, the different concepts
    among them (by overlap above chance, chosen on one half and scored on the other), and the same
    by the published rule.

    Source: Bau et al. 2017 (arXiv 1704.05796), section 3.2.
    """
    images = [
        i for half in (0, 1) for i in np.flatnonzero(kept.half == half)[: MOST_IMAGES // 2].tolist()
    ]
    fields = np.stack([kept.fields(i, (SIDE, SIDE)) for i in images], axis=1)
    seen = Seen.of(kept, images)
    half = kept.half[images]
    turns: list[tuple[float, int, np.ndarray | None]] = [(0.0, 0, None)]
    for draw in range(draws):
        basis = haar(len(fields), np.random.default_rng([seed, 12, draw]))
        turns += [(angle, draw, power(basis, angle)) for angle in ANGLES]
    rows = []
    for angle, draw, turn in turns:
        flat = fields.reshape(len(fields), -1)
        maps = flat if turn is None else turn.astype(np.float32) @ flat
        ours, labels, theirs, published_labels = _detectors(
            seen, maps.reshape(fields.shape), half, allowed, quantiles
        )
        row = {"angle": angle, "draw": float(draw)}
        for rule, on, own in (
            ("", ours >= min_overlap, labels),
            ("published_", theirs > PUBLISHED_IOU, published_labels),
        ):
            row[f"{rule}detectors"] = float(on.sum())
            row[f"{rule}unique"] = float(len(np.unique(own[on])))
        rows.append(row)
    return tuple(rows)


def _detectors(
    seen: Seen,
    fields: np.ndarray,
    half: np.ndarray,
    allowed: np.ndarray,
    quantiles: tuple[float, ...],
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Each unit's held-out overlap and concept, and its best IoU and concept as published."""
    category = seen.category[allowed]
    levels = (*quantiles, PUBLISHED_QUANTILE)
    cut = np.quantile(fields.reshape(len(fields), -1), 1 - np.array(levels), axis=1).T
    parts = []
    for side in (0, 1):
        held, known = (
            shown[half == side].swapaxes(0, 1).reshape(shown.shape[1], -1)
            for shown in (seen.held[:, allowed], seen.known)
        )
        right = np.concatenate([held, known]).astype(np.float32).T
        flat = fields[:, half == side].reshape(len(fields), -1)
        both = np.stack([(flat > cut[:, q, None]) @ right for q in range(len(levels))], axis=1)
        annotated = known.sum(1)[category]
        shared, on = both[..., : len(allowed)], both[..., len(allowed) :][..., category]
        parts.append(Overlaps(shared, on, held.sum(1), annotated))
    choose, score = (part.above_chance[:, :-1].reshape(len(fields), -1) for part in parts)
    best = choose.argmax(1)
    ours = score[np.arange(len(fields)), best]
    whole = (parts[0] + parts[1]).iou[:, -1]
    return ours, best % len(allowed), whole.max(1), whole.argmax(1)


def haar(size: int, rng: np.random.Generator) -> np.ndarray:
    """A rotation [size, size] drawn from the Haar measure: QR of normals, signs made unique.

    Source: Mezzadri 2007, "How to generate random matrices from the classical compact groups".
    """
    q, r = np.linalg.qr(rng.standard_normal((size, size)))
    q *= np.sign(np.diag(r))
    if np.linalg.det(q) < 0:
        q[:, 0] *= -1
    return np.asarray(q)


def power(rotation: np.ndarray, exponent: float) -> np.ndarray:
    """A rotation to a power between 0 and 1: the same turn, but not all the way."""
    values, vectors = np.linalg.eig(rotation)
    # A rotation is normal, so its eigenvectors are orthonormal up to rounding.
    angles = np.angle(values) * exponent
    return np.asarray((vectors * np.exp(1j * angles)) @ np.linalg.inv(vectors)).real
