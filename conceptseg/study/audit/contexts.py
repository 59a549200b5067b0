"""The contexts that are put to the test, and how much of an image they take.

A context is a class of the masks, a mask that the user drew, a concept that ACE has found, what the
data set itself knows, or the value of a column. Of the last nobody knows where it shows.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from conceptseg.data.manifest import Manifest, Sample
from conceptseg.engine.contract import Context
from conceptseg.engine.known import Key, Known
from conceptseg.errors import InputError, nearest
from conceptseg.study.audit.config import Audit
from conceptseg.study.audit.found import load_found

MOST_VALUES = 12
"""Values of a column that are taken where none is named."""
KNOWN = "the known context"


@dataclass(frozen=True)
class ContextType:
    """A context by its name; a label is class `class_id`, a column has the `value`."""

    name: str
    kind: Literal["label", "mask", "column", "known", "concept", "place"]
    class_id: int = -1
    column: str = ""
    value: str = ""

    @property
    def drawn(self) -> bool:
        """Whether it was drawn on purpose, however small it is."""
        return self.kind in ("mask", "known", "column")

    @property
    def located(self) -> bool:
        """Whether it is known where it lies."""
        return self.kind not in ("column", "place")


CONTEXTS: Key[tuple[ContextType, ...]] = Key("tested", tuple)


def list_contexts(study: Audit, context: Context, known: Known) -> Known:
    """All contexts that the study's file asks for."""
    return CONTEXTS(tuple(context_types(study, context)))


def context_types(study: Audit, context: Context) -> list[ContextType]:
    """Raises InputError for an unknown class or column, values that nobody has, and two contexts of
    one name."""
    classes, manifest = context.model.classes, context.manifest
    labels = study.context_classes
    if isinstance(labels, str):
        held = context.held if context.held is not None else range(len(classes))
        labels = tuple(classes[c] for c in sorted(held) if classes[c] != manifest.background)
    found = [ContextType(name, "label", context.model.class_id(name)) for name in labels]
    found += [ContextType(name, "mask") for name in study.masks]
    for column, values in study.columns.items():
        found += [
            ContextType(f"{column} {value}", "column", column=column, value=value)
            for value in _values(column, values, manifest)
        ]
    if (chosen := load_found(study, context)) is not None:
        found += [ContextType(name, "concept") for name in chosen.names]
    if study.known:
        found.append(ContextType(KNOWN, "known"))
    names = [one.name for one in found]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise InputError(
            f"context_classes, masks, columns: the context {twice[0]!r} is named twice; name each "
            "once"
        )
    return found


def _values(column: str, wanted: Sequence[str], manifest: Manifest) -> Sequence[str]:
    if column not in manifest.metadata:
        raise InputError(
            f"columns: {manifest.where} has no column {column!r}; "
            f"{nearest(column, manifest.metadata)}"
        )
    there = {written(one.metadata[column]) for one in manifest.samples if column in one.metadata}
    for value in wanted:
        if value not in there:
            raise InputError(
                f"columns.{column}: no image has the value {value!r}; {nearest(value, there)}"
            )
    if wanted:
        return wanted
    if not 2 <= len(there) <= MOST_VALUES:
        raise InputError(
            f"columns.{column}: it has {len(there)} values, and 2 to {MOST_VALUES} can be taken "
            "unnamed; name those to test"
        )
    return sorted(there)


def written(value: str | float) -> str:
    """A value of a column as a study's file writes it: 2, not 2.0."""
    return value if isinstance(value, str) else f"{value:g}"


def share(one: ContextType, sample: Sample, where: np.ndarray | None) -> float:
    """The share of the image that a context takes; of a column 1 or 0; nan where unknown."""
    if one.kind == "column":
        value = sample.metadata.get(one.column)
        return np.nan if value is None else float(written(value) == one.value)
    return np.nan if where is None else float(where.mean())
