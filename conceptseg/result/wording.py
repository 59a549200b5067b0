"""Values as a reader wants them written."""

from collections.abc import Iterable, Mapping
from typing import Any

from conceptseg.result.columns import Column
from conceptseg.result.encoding import plain


def number(value: Any) -> str:
    """A value for a reader: three significant digits, words for truth values, a dash for none."""
    value = plain(value)
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        if value == 0 or 1e-3 <= abs(value) < 1e5:
            digits = max(0, min(4, 2 - (len(str(int(abs(value)))) - 1 if abs(value) >= 1 else -1)))
            return f"{value:.{digits}f}".replace("-", "−")
        return f"{value:.2g}".replace("-", "−")
    if isinstance(value, list):
        pair = len(value) == 2 and all(isinstance(entry, float) for entry in value)
        return (" to " if pair else ", ").join(map(number, value))
    if isinstance(value, dict):
        return ", ".join(f"{key}: {number(entry)}" for key, entry in sorted(value.items())) or "–"
    return str(value)


def signed(value: float, digits: int = 2) -> str:
    """A change with its sign, but for what rounds to zero."""
    text = f"{value:+.{digits}f}"
    return text if float(text) else text[1:]


def with_interval(row: Mapping[str, Any], column: Column) -> str:
    """A cell with its interval, where it has one: "0.92 [0.90, 0.94]"."""
    low, high = row[column.low], row[column.high]
    ends = "" if low is None or high is None else f" [{number(low)}, {number(high)}]"
    return number(row[column.key]) + ends


def p_value(value: float | None) -> str:
    """A p value: never rounded to zero."""
    if value is None:
        return "–"
    return "< 0.001" if value < 0.001 else f"{value:.3f}" if value < 0.1 else f"{value:.2f}"


def is_number(value: Any) -> bool:
    value = plain(value)
    return value is None or (isinstance(value, (int, float)) and not isinstance(value, bool))


def words(column: str) -> str:
    return column.replace("_", " ")


def by_reason(left_out: Iterable[tuple[str, str]], most: int | None = None) -> list[str]:
    """What was left out, each reason once with all that it holds for, in the order of their coming:
    "lrp, deep_lift: no gradient". At most `most` names of a reason, and how many more there are."""
    found: dict[str, list[str]] = {}
    for name, reason in left_out:
        found.setdefault(reason, []).append(name)
    more = {why: len(names) - len(names[:most]) for why, names in found.items()}
    return [
        f"{', '.join(names[:most])}{f' and {more[why]} more' if more[why] else ''}: {why}"
        for why, names in found.items()
    ]


def repeated_images(images: int, first: str, other: str) -> str:
    """That images are counted as independent which are one file under several names; how many they
    are, and the ids of the first two."""
    return (
        f"{images} of the images are the same file as one of another group (first {first} and "
        f"{other}). Intervals and tests count each as taken by itself, which makes them narrower "
        "and surer than they may be: name one group for them in the manifest, or leave the copies "
        "out."
    )
