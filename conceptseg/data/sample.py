"""One image of a data set, by its files, and what its id may be."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from conceptseg.errors import InputError

LONGEST = 128
"""Characters of an id, at most."""
FORBIDDEN = '/\\<>:"|?*'
"""What no id holds, besides what does not print."""

UNFIT = re.compile("[\ud800-\udfff\u202a-\u202e\u2066-\u2069]")
"""Halves of characters, which no file can hold, and marks that turn the direction of writing, which
let a table show other words than it holds."""


@dataclass(frozen=True)
class Sample:
    """One image, perhaps with its mask.

    `image` lists files relative to the manifest's root; several are stacked as channels; none
    when the image is drawn. Labels lie in one file, `mask`, or in one for each class (`masks`,
    pairs of a class's name and its file). `group` says what is not independent (patient, scene,
    drive); a sample without one is a group by itself. `payload` belongs to the reader;
    its repr says all that it holds of pixels and labels.
    """

    id: str
    image: tuple[Path, ...] = ()
    mask: Path | None = None
    split: str | None = None
    group: str = ""
    metadata: Mapping[str, str | float] = field(default_factory=dict)
    payload: Any = field(default=None, repr=False, compare=False)
    masks: tuple[tuple[str, Path], ...] = ()

    def __post_init__(self) -> None:
        if not self.group:
            object.__setattr__(self, "group", self.id)


def check_id(sample_id: str, where: str) -> None:
    """Refuse an id that cannot be a file's name, by InputError."""
    unsafe = (
        not 1 <= len(sample_id) <= LONGEST
        or not sample_id.isprintable()
        or sample_id != sample_id.strip()
        or sample_id.startswith(".")
        or any(character in FORBIDDEN for character in sample_id)
    )
    if unsafe:
        raise InputError(
            f"{where}: the id {sample_id[:60]!r} cannot be a file's name; use up to 128 letters, "
            "digits, '-', '_' and '.', without a leading '.'"
        )


def check_text(text: str, what: str, where: str) -> None:
    """Refuse, by InputError, a text about a sample that holds something :data:`UNFIT`."""
    if not text.isascii() and (found := UNFIT.search(text)):
        raise InputError(
            f"{where}: {what} {text[:60]!r} holds {found[0]!r}, half a character or a mark that "
            "turns the direction of writing; take it out (columns that are not needed are left "
            "out by table.metadata)"
        )


def repeated(first: str, count: int, where: str) -> InputError:
    """The error of ids that are not unique: the first of them, and how many there are."""
    more = f" (and {count - 1} more ids)" if count > 1 else ""
    return InputError(f"{where}: two samples have the id {first!r}{more}; ids must be unique")
