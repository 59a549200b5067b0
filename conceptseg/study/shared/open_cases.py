"""What a report says of the cases in which no use was shown, and none was shown to be absent."""

from collections.abc import Sequence
from typing import Literal

import numpy as np

from conceptseg.result.columns import as_number
from conceptseg.result.table import Table
from conceptseg.stats.family import fewest
from conceptseg.stats.intervals import ALPHA, units
from conceptseg.stats.p_values import sign_flip_floor


def open_pairs(table: Table, loss: str, condition: str = "") -> str:
    """How many pairs of class and concept are open, why, and what would have been shown of them.

    Of the columns `verdict`, `detectable`, `needs` and `loss`, the change of IoU; `condition` is
    what a claim asks for besides the loss.
    """
    rows = {
        name: table.where(lambda row, name=name: row["verdict"] == name).rows
        for name in ("inconclusive", "underpowered", "not testable")
    }
    told = []
    if open_ones := rows["inconclusive"]:
        largest = np.nanmax([as_number(row["detectable"]) for row in open_ones])
        told.append(
            f"{len(open_ones)} of {len(table.rows)} pairs of class and concept are inconclusive: "
            f"of each, a loss of {largest:.2f} IoU would have been shown in four of five such data "
            f"sets{condition}, a smaller one not always"
        )
        cost = [row for row in open_ones if -as_number(row[loss]) >= as_number(row["detectable"])]
        if cost:
            told[-1] += f" ({len(cost)} did cost what was detectable, yet a test failed)"
    if weak := rows["underpowered"]:
        told.append(
            f"{len(weak)} are underpowered: even the loss of all of the class's IoU would often "
            "have been missed"
        )
    if unseen := rows["not testable"]:
        needs = sorted({str(row["needs"]) for row in unseen if row.get("needs")})
        cure = f" without {' or '.join(needs)} that hold the class" if needs else ""
        told.append(f"{len(unseen)} are not testable{cure}: no loss whatever could have been shown")
    return f"{'; '.join(told)}." if told else ""


def unreachable(
    ids: Sequence[str],
    groups: Sequence[str],
    unit: Literal["auto", "group", "image"],
    families: int,
    draws: tuple[str, int] | None = None,
) -> list[str]:
    """A line for each reason why no use can be shown: the smallest corrected p is over the level.

    A use needs its test in so many `families`, of which one flips the signs of images or groups,
    and one may compare with random draws: their key, and how many.
    """
    least = fewest("less", families)
    counted, taken = units(ids, groups, unit, least)
    n, lines = len(set(counted)), []
    if (p := min(1.0, families * sign_flip_floor(n, "less"))) > ALPHA:
        cure = ", or set unit: image" if taken == "group" and len(ids) >= least else ""
        lines.append(
            f"{n} {taken}s: the smallest corrected p possible is {p:.2g}, over {ALPHA:g}, so that "
            f"no use can be shown; {least} {taken}s that hold a class are needed{cure}"
        )
    if draws is not None and (p := families / (1 + draws[1])) > ALPHA:
        needed = int(np.ceil(families / ALPHA - 1e-9)) - 1
        lines.append(
            f"{draws[0]}: of {draws[1]} the smallest corrected p possible is {p:.2g}, over "
            f"{ALPHA:g}, so that no use can be shown; {needed} are needed"
        )
    return lines
