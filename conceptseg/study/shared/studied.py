"""What was studied: the notes that every report's cover rests on, and what was left out."""

from collections import Counter
from collections.abc import Sequence
from typing import Any, Literal, Protocol

import numpy as np

from conceptseg.data.listed import first_of
from conceptseg.data.manifest import Sample
from conceptseg.engine.contract import Context
from conceptseg.stats.estimate import Sampling
from conceptseg.stats.intervals import units

Row = dict[str, Any]
NAMED = 1000
"""Images that were left out and are named one by one."""


class Compared(Protocol):
    """Whatever knows the local methods whose maps a report shows."""

    @property
    def methods(self) -> Sequence[str]: ...


def notes(
    context: Context,
    ids: Sequence[str],
    groups: Sequence[str],
    unit: str,
    comparison: Compared,
    /,
    **own: Any,
) -> dict[str, Any]:
    """What every report's cover and limits rest on, and a study's `own` notes.

    `ids` are the images that were studied, `groups` what each of them counts as in intervals and
    tests, `unit` whether that is its "group" or the "image" itself. Own notes replace shared ones.
    """
    return {
        "model": context.model.name,
        "origin": context.model.origin,
        "manifest": context.manifest.name,
        "images": len(ids),
        "images_given": len(context.manifest.samples),
        "unit": unit,
        "groups": len(set(groups)),
        "manifest_groups": len({context.manifest.sample(one).group for one in ids}),
        "methods": list(comparison.methods),
        **own,
    }


def left_out(
    context: Context, ids: Sequence[str], reason: str, no_labels: str | None = None
) -> list[Row]:
    """Entries of `Result.skipped` for the manifest's images that are not among `ids`.

    The first `NAMED` by their ids; of all others their number, by reason: that of images without
    labels is `no_labels`, where it is another.
    """
    studied, rows, more = set(ids), list[Row](), Counter[str]()
    manifest = context.manifest
    labels = manifest.labelled_each().tolist()
    for name, has_labels in zip(manifest.ids, labels, strict=True):
        if name in studied:
            continue
        why = reason if has_labels or no_labels is None else no_labels
        if len(rows) < NAMED:
            rows.append({"kind": "sample", "sample": name, "reason": why})
        else:
            more[why] += 1
    return rows + [{"kind": "samples", "count": n, "reason": why} for why, n in more.items()]


def labelled(context: Context) -> Sequence[Sample]:
    """The samples with labels."""
    return context.manifest.labelled_samples()


def first(context: Context, count: int) -> Sequence[Sample]:
    """The first images by hash, in the manifest's order."""
    return first_of(context.manifest.samples, context.seed, count)


def sampling_of(
    context: Context,
    ids: Sequence[str],
    unit: Literal["auto", "group", "image"],
    seed: int | tuple[int, ...],
    draws: int = 2000,
    judging: Sequence[bool] | np.ndarray | None = None,
) -> Sampling:
    """What values [m] of these images count as, by the manifest's groups.

    Where some were learnt from and the others alone are `judging` [m], there have to be enough
    groups among these: a test of the four groups that are half of eight could never pass.
    """
    groups = [context.manifest.sample(name).group for name in ids]
    if judging is not None:
        rows = np.flatnonzero(judging).tolist()
        if units([ids[i] for i in rows], [groups[i] for i in rows], unit)[1] == "image":
            unit = "image"
    return Sampling.counting(ids, groups, unit, seed, draws)
