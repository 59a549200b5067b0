"""What was shown, what maps do not show, and what could not have been shown, in words."""

from collections import Counter
from collections.abc import Sequence

import numpy as np

from conceptseg.report.charts import Row
from conceptseg.result.columns import as_number
from conceptseg.result.saved import Result
from conceptseg.result.table import Table
from conceptseg.stats.intervals import ALPHA
from conceptseg.study.lcrp.tables import LESS, UNKNOWN, name_of

FAR, APART = 0.4, 0.2
"""A sensitivity counts as unexplained if it lies this far above the score and other classes'."""


def on_tests(result: Result, scores: Table) -> tuple[str, ...]:
    """How many channels were shown to act, what maps do not show, what tests could have shown."""
    count = Counter(row["verdict"] for row in scores.rows)
    least, adjusted = scores.numbers("p_least"), scores.numbers("p_adjusted")
    lines = [
        f"{len(scores.rows)} pairs of class and channel were looked at. Acting from context: "
        f"{count['acts']}; less of the map outside than by chance: {count[LESS]}; inconclusive: "
        f"{count[UNKNOWN]}."
    ]
    if count[LESS]:
        lines.append(
            "Maps that hold little context do not show that a channel, or its class, does without: "
            "what the network misses, or what silences another class, lies on no map. What could "
            "show it is a change of the context itself: the background sensitivity in the table of "
            "classes, composite: rescale, the permutation study, or pictures in which the context "
            "was exchanged."
        )
    if left := int(np.isnan(least).sum()):
        lines.append(
            f"{_pairs(left)} not tested: less than an even share of the relevance, or no image "
            "drawn at random to be tested on."
        )
    if few := int((np.isfinite(least) & np.isnan(adjusted)).sum()):
        lines.append(f"{_pairs(few)} not testable: too few images to pass, whatever the effect.")
    if np.isfinite(adjusted).any():
        lines.append(_correction(result, least[np.isfinite(adjusted)]))
    detectable = scores.numbers("detectable")
    if np.isfinite(detectable).any():
        lines.append(
            "For half of the pairs tested, an excess over shuffled weights of "
            f"{100 * float(np.nanmedian(detectable)):.0f} points or less would have been detected "
            "in four of five studies like this one."
        )
    if result.notes["shuffled_largest"]:
        each = ", ".join(f"{100 * value:.0f}" for value in result.notes["shuffled_largest"])
        lines.append(
            "Points by which the largest channel of each shuffled network exceeds the mean of the "
            f"others: {each}."
        )
    return tuple(lines)


def _correction(result: Result, least: np.ndarray) -> str:
    """How p-values of the pairs tested, of which `least` are the smallest possible, are judged."""
    text = f"The smallest p-value that the images can give is {least.min():.2g}"
    if result.notes.get("tests_by") == "joint flips":
        return text + (
            f"; the {len(least)} tests are judged together, by the largest that random signs of "
            "the images give. Where shuffled networks are compared, their test spends four fifths "
            "of the level of 0.05 and the test over images one fifth."
        )
    alone = min(1.0, least.min() * len(least))
    few = ", too much: only several channels together can pass." if alone > ALPHA else "."
    return (
        f"{text}; corrected for {len(least)} tests that is {alone:.2g} for one channel alone" + few
    )


def _pairs(count: int) -> str:
    return f"{count} pair was" if count == 1 else f"{count} pairs were"


def sensitive(classes: Sequence[Row]) -> list[Row]:
    """Classes whose sensitivity stands out from the others' and is not predicted by their score.

    By what it is and by its interval, which must lie above the score, and that of its difference
    from the largest other (MOVER, Zou & Donner 2008) above 0: the largest of several classes of one
    law, of which one was measured in two images, stood out in one run of six.
    """
    known = [r for r in classes if r["sensitivity"] is not None and r["context"] is not None]
    found = []
    for row in known:
        above = row["sensitivity"] - np.array([_largest_other(row, known), row["context"]])
        if (above > (APART, FAR)).all() and _surely(row, known):
            found.append(row)
    return found


def _surely(row: Row, rows: Sequence[Row]) -> bool:
    """Whether the intervals say so, too; never without an interval."""
    low = as_number(row.get("sensitivity_low"))
    highest = max(
        (r for r in rows if r is not row and r["sensitivity"] is not None),
        key=lambda r: float(r["sensitivity"]),
    )
    reach = as_number(highest.get("sensitivity_high")) - highest["sensitivity"]
    # Of another that has no interval there is its value alone.
    half = np.hypot(row["sensitivity"] - low, np.nan_to_num(reach))
    apart = row["sensitivity"] - highest["sensitivity"]
    return bool(low > row["context"] and apart > half)


def _largest_other(row: Row, rows: Sequence[Row]) -> float:
    """The largest sensitivity of all other classes; infinite where there is none."""
    others = (r["sensitivity"] for r in rows if r is not row and r["sensitivity"] is not None)
    return float(max(others, default=np.inf))


def unexplained(classes: Sequence[Row]) -> tuple[str, ...]:
    """What is said of the classes that :func:`sensitive` names."""
    known = [r for r in classes if r["context"] is not None]
    return tuple(
        f"{row['class']}: replacing the background changes its channels' relevance by "
        f"{row['sensitivity']:.0%} (other classes: up to {_largest_other(row, known):.0%}), while "
        f"{row['context']:.0%} of its maps lies there."
        for row in sensitive(classes)
    )


def by_class(acting: Table) -> tuple[str, ...]:
    """The channels of each class that act from context, in one line."""
    return tuple(
        f"{name}: "
        + "; ".join(
            f"{name_of(row)}, {row['context']:.0%} outside and {row['relevance']:.1%} of relevance"
            for row in own.rows
        )
        + "."
        for name, own in acting.by("class").items()
    )
