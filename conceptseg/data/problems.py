"""What is wrong with many files, in a few lines."""

import re
from collections import Counter
from collections.abc import Sequence

SHOWN = 5

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
