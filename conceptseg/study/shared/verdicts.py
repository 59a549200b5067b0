"""What is known of a class's use of something, and how reports say so."""

from collections.abc import Sequence
from typing import Literal

import numpy as np

from conceptseg.result.columns import as_number
from conceptseg.result.table import Table
from conceptseg.stats.family import Test, fewest
from conceptseg.stats.intervals import ALPHA, units
from conceptseg.stats.p_values import draws_for, sign_flip_floor, tail_floor

Verdict = Literal["used", "below the criterion", "inconclusive", "underpowered", "not testable"]
VERDICTS: dict[Verdict, str] = {
    "used": "the loss of IoU is shown and large enough",
    "below the criterion": "the tests passed, but the loss is too small, its interval reaches 0, "
    "more than one in twenty random edits may cost as much, or the score falls along the concept",
    "inconclusive": "a loss of the detectable size would have been shown in four of five such data "
    "sets; smaller ones may be there",
    "underpowered": "not even the loss of all of the class's IoU would have been shown so often",
    "not testable": "no loss whatever could have been shown",
}
"""What is known of a class's use of something. No verdict says that it is not used."""
MARKS = ("used", "no use shown")
"""What charts call the filled and the hollow dots."""


def verdict(test: Test, to_lose: float, *, used: bool) -> Verdict:
    """What a test says of a loss, of a class whose IoU is `to_lose`."""
    if used:
        return "used"
    if not test.testable:
        return "not testable"
    if test.passed:
        return "below the criterion"
    return "inconclusive" if test.detectable <= to_lose else "underpowered"


def meanings() -> str:
    """What each verdict means, as text."""
    told = "; ".join(f"{name}: {meaning}" for name, meaning in VERDICTS.items())
    return f"No verdict says that something is not used. {told[0].upper()}{told[1:]}."


def open_pairs(table: Table, loss: str, condition: str = "") -> str:
    """How many pairs of class and concept are open, why, and what would have been shown of them.

    Of the columns `verdict`, `detectable`, `needs` and `loss`, the change of IoU; `condition` is
    what a claim asks for besides the loss.
    """
    by_verdict = table.by("verdict")
    rows = {
        name: by_verdict[name].rows if name in by_verdict else []
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
        needs = _most({str(row["needs"]) for row in unseen if row.get("needs")})
        cure = f" without {' or '.join(needs)} that hold the class" if needs else ""
        told.append(f"{len(unseen)} are not testable{cure}: no loss whatever could have been shown")
    return f"{'; '.join(told)}." if told else ""


def _most(needs: set[str]) -> list[str]:
    """Of needs that differ in their number alone ("5 groups", "more than 8 groups") the largest."""
    kept: dict[str, tuple[float, str]] = {}
    for one in sorted(needs):
        number, of = one.removeprefix("more than ").partition(" ")[::2]
        size = float(number) + one.startswith("more than ")
        kept[of] = max(kept.get(of, (0.0, "")), (size, one))
    return [one for _, one in kept.values()]


def beside_random(table: Table, edits: str) -> str:
    """How many pairs that passed are beyond single random `edits` as well, which is not corrected.

    Of the columns `p_holm` and `p_random`; results of earlier versions have none of the second.
    """
    shown = table.where(lambda row: as_number(row["p_holm"]) <= ALPHA).rows
    if not shown or "p_random" not in table.columns:
        return ""
    rare = sum(as_number(row["p_random"]) <= ALPHA for row in shown)
    return (
        f"{len(shown)} of {len(table.rows)} pairs of class and concept pass the corrected tests, "
        f"which ask for more than the mean loss by {edits}; the losses of {rare} are also larger "
        "than nineteen of twenty such edits cause, each by itself: of pairs that are no more than "
        "one further such edit, one in twenty would be. "
    )


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
    if draws is not None and (p := families * tail_floor(draws[1])) > ALPHA:
        needed = draws_for(families)
        lines.append(
            f"{draws[0]}: of {draws[1]} the smallest corrected p possible is {p:.2g}, over "
            f"{ALPHA:g}, so that no use can be shown; {needed} are needed"
        )
    return lines
