"""What a chart shows, in words, for those who cannot see it: composed from the numbers drawn.

A caption says what a chart means; an alternative text says what is in it: the kind of chart, how
many points, what the axes are, how far the numbers reach and whose the ends are, and how many
intervals exclude the reference. No sentence here is ever a caption.
"""

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from conceptseg.result.wording import number

KINDS = 12


def forest(
    names: Sequence[str],
    values: np.ndarray,
    low: np.ndarray,
    high: np.ndarray,
    what: str,
    *,
    reference: float | None = None,
    filled: np.ndarray | None = None,
    marks: tuple[str, str] = ("significant", "not significant"),
) -> str:
    """Values [rows] with intervals below each other; `filled` [rows] tells the marked ones."""
    text = f"Forest plot of {_count(len(names), 'row')}: {what}, {reach(values, names)}."
    known = int((np.isfinite(low) & np.isfinite(high)).sum())
    if not known:
        text += " No row has an interval."
    elif reference is not None:
        below, above = int((high < reference).sum()), int((low > reference).sum())
        text += (
            f" {below + above} of {_count(known, 'interval')} exclude {_n(reference)}: {below} lie "
            f"below it, {above} above."
        )
    if filled is not None:
        yes, no = int(filled.sum()), int((~filled).sum())
        text += f" Filled ({marks[0]}): {yes}; hollow ({marks[1]}): {no}."
    return text


def heatmap(
    values: np.ndarray,
    rows: Sequence[str],
    columns: Sequence[str],
    what: str,
    marked: Mapping[str, np.ndarray] | None = None,
) -> str:
    """Values [rows, columns] as colours, nan empty; `marked` booleans of the same shape."""
    cells = [f"{row} at {column}" for row in rows for column in columns]
    text = f"Heat map of {_count(len(rows), 'row')} by {_count(len(columns), 'column')}: "
    text += f"{what}, {reach(values.ravel(), cells)}."
    if empty := int((~np.isfinite(values)).sum()):
        text += f" {_count(empty, 'cell')} empty."
    for name, chosen in (marked or {}).items():
        text += f" Dots ({name}): {_count(int(chosen.sum()), 'cell')}."
    return text


def lines(
    series: Mapping[str, tuple[np.ndarray, np.ndarray]],
    x: str,
    y: str,
    places: Sequence[str] = (),
) -> str:
    """Lines (x [m], y [m]) by name: where each begins and ends, and where it turns.

    `places` [m] names the points on x, where these have names.
    """
    every = np.concatenate([across for across, _ in series.values()])
    span = f"{x}, from {places[0]} to {places[-1]}" if places else _span(x, every)
    text = f"Line chart of {_count(len(series), 'line')}: {y} over {span}."
    for name, (across, up) in series.items():
        seen = np.flatnonzero(np.isfinite(up))
        if not len(seen):
            text += f" {name}: no value."
            continue
        first, last = up[seen[0]], up[seen[-1]]
        top, bottom = int(seen[np.argmax(up[seen])]), int(seen[np.argmin(up[seen])])
        text += f" {name}: from {_n(first)} to {_n(last)}"
        for word, at, turns in (
            ("highest", top, up[top] > max(first, last)),
            ("lowest", bottom, up[bottom] < min(first, last)),
        ):
            where = places[at] if places else _n(across[at])
            text += f", {word} {_n(up[at])} at {where}" if turns else ""
        text += "."
    return text


def scatter(
    points: np.ndarray, names: Sequence[str], categories: Sequence[str], x: str, y: str
) -> str:
    """Points [m, 2] by category, and how far they reach if the axes have names (a map has none)."""
    sizes = Counter(categories)
    kinds = ", ".join(f"{name} {size}" for name, size in sizes.most_common(KINDS))
    if len(sizes) > KINDS:
        kinds += f", and {len(sizes) - KINDS} kinds more"
    text = f"Scatter plot of {_count(len(points), 'point')} ({kinds})."
    if x and y:
        text += f" Across: {x}, {reach(points[:, 0], names)}."
        text += f" Up: {y}, {reach(points[:, 1], names)}."
    return text


def bars(names: Sequence[str], series: Mapping[str, np.ndarray], what: str) -> str:
    """Bars of each series [names]: how far each series reaches."""
    text = f"Bar chart of {_count(len(names), 'row')}: {what}."
    return " ".join([text, *(f"{name}: {reach(v, names)}." for name, v in series.items())])


def histogram(values: np.ndarray, marks: Mapping[str, float], what: str) -> str:
    """Values [m] by chance, and what share of them each marked value exceeds."""
    values = values[np.isfinite(values)]
    text = f"Histogram of {_count(len(values), 'value')} by chance: {_span(what, values)}."
    for name, mark in marks.items():
        above = f", above {(values < mark).mean():.1%} of them" if len(values) else ""
        text += f" A line marks {name} at {_n(mark)}{above}."
    return text


def reach(values: np.ndarray, names: Sequence[str]) -> str:
    """How far the numbers [m] of these names reach: "from −0.42 (a) to 0.10 (b)"."""
    seen = np.flatnonzero(np.isfinite(values))
    if not len(seen):
        return "no value"
    low, high = int(seen[np.argmin(values[seen])]), int(seen[np.argmax(values[seen])])
    if values[low] == values[high]:
        return f"{_n(values[low])} ({names[low] if len(seen) == 1 else f'all {len(seen)}'})"
    return f"from {_n(values[low])} ({names[low]}) to {_n(values[high])} ({names[high]})"


def _span(what: str, values: np.ndarray) -> str:
    values = values[np.isfinite(values)]
    return f"{what}, from {_n(values.min())} to {_n(values.max())}" if len(values) else what


def _n(value: float) -> str:
    """A number as a reader wants it; a whole one without decimals."""
    value = float(value)
    return number(int(value)).replace("-", "−") if value.is_integer() else number(value)


def _count(many: int, thing: str) -> str:
    return f"{many} {thing}{'' if many == 1 else 's'}"
