"""What landmarks show: of each class, of each kind of landmark, and with thickness."""

from dataclasses import dataclass

import numpy as np

from conceptseg.engine.contract import Context
from conceptseg.engine.known import Key, Known
from conceptseg.errors import InputError
from conceptseg.stats.estimate import Estimate, Sampling
from conceptseg.stats.family import Question, Test, judge
from conceptseg.stats.ranks import spearman
from conceptseg.study.landmarks.config import KINDS, Landmarks
from conceptseg.study.landmarks.look import MARKS, SHOWN

EVERY = "all landmarks"


@dataclass(frozen=True)
class Listed:
    """All landmarks, [m]: columns as in `MARKS`, with their images and what these count as."""

    ids: tuple[str, ...]
    row: np.ndarray
    class_id: np.ndarray
    kind: np.ndarray
    place: np.ndarray
    thickness: np.ndarray
    anisotropy: np.ndarray
    share: np.ndarray
    reaches: np.ndarray
    sampling: Sampling


@dataclass(frozen=True)
class Followed:
    """A class and a kind (None: all): mean anisotropy, its test, and the mean reaches [r]."""

    class_id: int
    kind: int | None
    landmarks: int
    along: Estimate
    test: Test
    reaches: tuple[Estimate, ...]
    thickness: float


@dataclass(frozen=True)
class Tied:
    """Of a class, rank correlations with thickness: of anisotropy, of the share that stays near."""

    class_id: int
    anisotropy: Estimate
    near: Estimate


LISTED = Key("landmarks listed", Listed)
FOLLOWED: Key[tuple[Followed, ...]] = Key("followed", tuple)
TIED: Key[tuple[Tied, ...]] = Key("tied", tuple)


def list_marks(study: Landmarks, context: Context, known: Known) -> Known:
    """All landmarks. Raises InputError where no class has enough of them."""
    table, wanted = known[MARKS], study.class_ids(context)
    column = table.column("class") if table.ids else np.empty(0, np.int64)
    counts = {c: int((column == c).sum()) for c in wanted}
    kept = np.isin(column, [c for c in wanted if counts[c] >= study.min_landmarks])
    if not kept.any():
        most = max(wanted, key=lambda c: counts[c])
        raise InputError(
            f"{context.manifest.where}: no class has {study.min_landmarks} landmarks "
            f"({context.model.classes[most]!r} has the most, {counts[most]}): none is thin, or "
            "images are few; raise thickest, lower slender or min_landmarks, or give more images"
        )
    owner = table.owner("class")
    row = np.concatenate([np.arange((owner == i).sum()) for i in range(len(table.ids))])
    ids = [table.ids[i] for i in owner[kept].tolist()]
    groups = [context.manifest.sample(name).group for name in ids]
    return LISTED(
        Listed(
            tuple(ids),
            row[kept],
            column[kept],
            table.column("kind")[kept],
            table.column("place")[kept],
            table.column("thickness")[kept],
            table.column("anisotropy")[kept],
            table.column("share")[kept],
            table.column("reaches")[kept],
            Sampling.counting(ids, groups, study.unit, (context.seed, 53), draws=1000),
        )
    )


def assess(study: Landmarks, context: Context, known: Known) -> Known:
    """Every class, and every kind of its landmarks of which there are enough, tested together."""
    marks = known[LISTED]
    cases = list[tuple[int, int | None, np.ndarray]]()
    for c in np.unique(marks.class_id).tolist():
        for kind in (None, *range(len(KINDS))):
            rows = (marks.class_id == c) & (True if kind is None else marks.kind == kind)
            rows &= np.isfinite(marks.anisotropy)
            if rows.sum() >= study.min_landmarks:
                cases.append((c, kind, np.flatnonzero(rows)))
    asked = [Question(marks.anisotropy[rows], marks.sampling.at(rows)) for *_, rows in cases]
    tests = judge(asked, side="two", seed=context.seed)
    followed = []
    for (c, kind, rows), test in zip(cases, tests, strict=True):
        own = marks.sampling.at(rows)
        reaches = tuple(own.mean(column) for column in marks.reaches[rows].T)
        along, thick = own.mean(marks.anisotropy[rows]), float(np.median(marks.thickness[rows]))
        followed.append(Followed(c, kind, len(rows), along, test, reaches, thick))
    tied = [
        Tied(c, _tied(marks, rows, marks.anisotropy), _tied(marks, rows, marks.reaches[:, 1]))
        for c, kind, rows in cases
        if kind is None
    ]
    return FOLLOWED(tuple(followed)) | TIED(tuple(tied))


def _tied(marks: Listed, rows: np.ndarray, values: np.ndarray) -> Estimate:
    """Rank correlation with thickness, groups drawn anew."""
    thick, values = marks.thickness[rows], values[rows]
    return marks.sampling.at(rows).statistic(lambda drawn: spearman(thick[drawn], values[drawn]))


def choose_shown(study: Landmarks, context: Context, known: Known) -> Known:
    """Of each class and kind, the landmarks whose anisotropy is nearest to the kind's median."""
    marks, shown = known[LISTED], list[tuple[str, int]]()
    for c in np.unique(marks.class_id).tolist():
        for kind in range(len(KINDS)):
            places = np.flatnonzero((marks.class_id == c) & (marks.kind == kind))
            along = marks.anisotropy[places]
            told = along[np.isfinite(along)]
            away = np.abs(along - (np.median(told) if len(told) else 0.0))  # nan comes last
            for place in places[np.argsort(away, kind="stable")][: study.gallery].tolist():
                shown.append((marks.ids[place], int(marks.row[place])))
    return SHOWN(tuple(sorted(shown)))
