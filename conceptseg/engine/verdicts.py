"""What an examination of a network says."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Verdict:
    """One thing that was looked at, what was found, and for a doubt the key that settles it."""

    what: str
    found: str
    doubt: bool = False


@dataclass(frozen=True)
class Examination:
    """All verdicts, and how many images went through the network for them.

    `classes` has a row for each of the network's outputs: the class that it counts as, the masks'
    names of it, and its IoU on the images that were looked at.
    """

    verdicts: tuple[Verdict, ...]
    classes: tuple[dict[str, Any], ...]
    images: int
    passed: float

    @property
    def doubts(self) -> tuple[Verdict, ...]:
        return tuple(one for one in self.verdicts if one.doubt)

    def recorded(self) -> dict[str, Any]:
        """As it is kept with a result."""
        said: dict[str, str] = {}
        for one in self.verdicts:
            before = f"{said[one.what]}; " if one.what in said else ""
            said[one.what] = before + one.found
        return {
            "verdicts": said,
            "doubts": [asdict(one) for one in self.doubts],
            "classes": list(self.classes),
            "images": self.images,
        }
