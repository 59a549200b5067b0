"""Contexts that nobody named: concepts of a finished ACE run, elsewhere than the class."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from conceptseg.engine.contract import Context
from conceptseg.engine.known import Key, Known
from conceptseg.errors import InputError, asked_for
from conceptseg.network.record import encode
from conceptseg.result.columns import as_number
from conceptseg.result.saved import Result, as_written
from conceptseg.study.audit.config import Audit

EXEMPLARS = 6
"""Segments of each concept that the report shows."""
ELSEWHERE = 0.5
"""Share of a concept's segments that have to lie elsewhere than the class."""


@dataclass(frozen=True)
class Found:
    """Concepts by their `numbers` [q] in the run: `vectors` [q, u] in a `layer`'s space, with the
    component of segments that are not the concept's, where it is `absent` [q], and that of those
    that are, where it is `present` [q]. `ids` are the images that the run looked at.
    """

    layer: str
    numbers: tuple[int, ...]
    vectors: np.ndarray
    absent: np.ndarray
    present: np.ndarray
    ids: frozenset[str]

    @property
    def names(self) -> tuple[str, ...]:
        """What the concepts are called as contexts."""
        return tuple(f"concept {number}" for number in self.numbers)

    @property
    def bars(self) -> np.ndarray:
        """The component [q] from which on a position shows a concept: half way between the two."""
        return (self.absent + self.present) / 2

    def shown(self, context: Context, images: Tensor) -> np.ndarray:
        """Where each concept shows in images [n, c, h, w], bool [n, q, h, w]."""
        activation = encode(context.model, images, self.layer).float()
        vectors = torch.as_tensor(self.vectors).to(activation)
        along = torch.einsum("nuyx,qu->nqyx", activation, vectors)
        above = along > torch.as_tensor(self.bars).to(activation)[:, None, None]
        size = (int(images.shape[2]), int(images.shape[3]))
        return np.asarray(functional.interpolate(above.float(), size).bool().cpu().numpy())


FOUND: Key[tuple[Found, ...]] = Key("found", tuple)
"""One, or none."""


def open_found(study: Audit, context: Context, known: Known) -> Known:
    """The concepts that a study's file names, as a step of its plan."""
    found = load_found(study, context)
    return FOUND(() if found is None else (found,))


def load_found(study: Audit, context: Context) -> Found | None:
    """The concepts of `found`, None where none is named.

    Raises InputError for what is no ACE result of this network, for numbers that it lacks, and
    where it has none that a class was shown to use from elsewhere.
    """
    if study.found is None:
        if study.found_concepts:
            raise InputError("found_concepts: name the ace run that they are of by found")
        return None
    with asked_for("found"), as_written(study.found):
        result = Result.load(study.found)
        found = _read(study, result, context)
        _shown(result, found)  # what cannot be shown in the end is refused now
        return found


def _read(study: Audit, result: Result, context: Context) -> Found:
    where = study.found
    if result.study != "ace" or "present" not in result.arrays:
        raise InputError(f"{where} is no result of this version's ace; run it again")
    weights = result.provenance.get("weights")
    if weights != context.model.fingerprint():
        raise InputError(f"{where} is of a network with other weights; run ace on this one")
    cav, absent, present = (result.arrays[key] for key in ("cav", "absent", "present"))
    if not _sound(cav, absent, present):
        raise InputError(
            f"{where}: its concepts are no finite vectors with a bar each; run it again"
        )
    numbers = study.found_concepts or _elsewhere(result)
    if not numbers:
        raise InputError(
            f"{where}: no class was shown to use a concept that lies elsewhere; name some by "
            f"found_concepts, of 1 to {len(cav)}"
        )
    if wrong := [one for one in numbers if not 1 <= one <= len(cav)]:
        raise InputError(f"{where} has the concepts 1 to {len(cav)}, and not {wrong[0]}")
    rows = [one - 1 for one in numbers]
    ids = frozenset(str(row["sample"]) for row in result.tables["images"].rows)
    layer = str(result.provenance["layer"])
    return Found(layer, tuple(numbers), cav[rows], absent[rows], present[rows], ids)


def _sound(cav: np.ndarray, *ends: np.ndarray) -> bool:
    """Whether concepts are rows [q, u] of finite numbers, and their bars' ends such [q]."""
    shapes = cav.ndim == 2 and all(one.shape == cav.shape[:1] for one in ends)
    return shapes and all(
        one.dtype.kind == "f" and bool(np.isfinite(one).all()) for one in (cav, *ends)
    )


def _elsewhere(result: Result) -> tuple[int, ...]:
    """Numbers of the concepts that a class uses and that lie elsewhere, in their order."""
    used = {
        int(row["concept"])
        for row in result.tables["pairs"].rows
        if row["used"] and as_number(row["elsewhere"]) >= ELSEWHERE
    }
    return tuple(sorted(used))


def exhibits(study: Audit, found: Found) -> tuple[list[dict[str, Any]], dict[str, bytes]]:
    """Segments that stand for the concepts, as rows of `concept`, `sample`, `picture` and
    `outline`, and their pictures, as the run shows them."""
    assert study.found is not None
    result = Result.load(study.found)
    with asked_for("found"), as_written(study.found):
        return _shown(result, found)


def _shown(result: Result, found: Found) -> tuple[list[dict[str, Any]], dict[str, bytes]]:
    shown = list[dict[str, Any]]()
    for number in found.numbers:
        own = [row for row in result.tables["exemplars"].rows if row["concept"] == number]
        shown += [
            {key: row[key] for key in ("concept", "sample", "picture", "outline")}
            for row in own[:EXEMPLARS]
        ]
    return shown, {row["picture"]: result.images[row["picture"]] for row in shown}
