"""What is wrong with many files, in a few lines."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from conceptseg.data.manifest import Manifest

SHOWN = 5


def remarks(manifest: Manifest) -> list[str]:
    """What was decided for files that can be read in more than one way; only headers are read."""
    source, samples = manifest.source, manifest.samples
    count = sum(source.orientation(sample) > 1 for sample in samples)
    if not count:
        return []
    drawn = manifest.any_labelled
    along = source.settings().get("orientation") == "apply_to_masks"
    masks = ", masks along with them" if along else "; masks are taken as drawn on what is shown"
    return [
        f"{count} of {len(samples)} images have an EXIF orientation and are turned"
        + (f"{masks} (key orientation)" if drawn else "")
    ]


_VARIES = re.compile(r"'[^']*'|\"[^\"]*\"|\([^()]*\)|\[[^\[\]]*\]|\S*/\S*|[-+]?\d[\d.,e+-]*")


def sum_up(errors: Sequence[str], shown: int = SHOWN) -> list[str]:
    """The first `shown` errors, then one line that counts all of them by kind, most frequent first.

    Errors are of one kind if they differ only in the file, in names and in numbers.
    """
    if len(errors) <= shown:
        return list(errors)
    counts = Counter(map(kind, errors))
    listed = "; ".join(f"{count} x {name}" for name, count in counts.most_common(8))
    others = "; and other kinds" if len(counts) > 8 else ""
    return [*errors[:shown], f"and {len(errors) - shown} more; in all {listed}{others}"]


def kind(error: str) -> str:
    """What an error says without its file, names, numbers and cure."""
    says = _VARIES.sub("~", error.partition(": ")[2] or error).split(";")[0]
    says = re.sub(r"\b(value|colour)s\b", r"\1", " ".join(says.split()))
    return re.sub(r"~(?:[ ,x~]|\.{3})*(?<=[~.])", "...", says)[:120]
