"""What was found, what was shown to be absent, and what could not have been found, in words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from conceptseg.result.saved import Result
from conceptseg.study.lcrp.assess import ALPHA

Row = dict[str, Any]


def told_of_tests(result: Result, rows: Sequence[Row]) -> tuple[str, ...]:
    """How many channels were found to act or not to, and what the tests could have found."""
    count = Counter(row["verdict"] for row in rows)
    tested = [row for row in rows if row["p_images"] is not None]
    lines = [
        f"Of {len(rows)} pairs of class and channel, {count['acts']} act from context, "
        f"{count['does not']} were shown not to, and of {count['cannot be told']} it cannot be "
        "told."
    ]
    if left := len(rows) - len(tested):
        lines.append(
            f"{left} pair{'s were' if left > 1 else ' was'} not tested: less than an even share of "
            "the relevance, or no image drawn at random to be tested on."
        )
    if tested:
        least = min(row["p_least"] for row in tested)
        reach = least * len(tested)
        lines.append(
            f"The smallest p-value that the images can give is {least:.2g}; corrected for "
            f"{len(tested)} tests that is {min(1.0, reach):.2g} for one channel alone"
            + (", too much: only several channels together can pass." if reach > ALPHA else ".")
        )
    able = [row["detectable"] for row in tested if row["detectable"] is not None]
    if able:
        lines.append(
            "What a channel must exceed shuffled weights by to be found is "
            f"{100 * float(np.median(able)):.0f} points in the median."
        )
    if result.notes["shuffled_largest"]:
        each = ", ".join(f"{100 * value:.0f}" for value in result.notes["shuffled_largest"])
        lines.append(
            "Points by which the largest channel of each shuffled network exceeds the mean of the "
            f"others: {each}."
        )
    return tuple(lines)
