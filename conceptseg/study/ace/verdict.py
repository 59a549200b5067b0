"""What an ACE run says as a whole: a concern where a use acts from outside the class's object."""

from collections.abc import Mapping, Sequence
from typing import Any

from conceptseg.result.columns import as_number
from conceptseg.result.saved import Result
from conceptseg.result.verdict import Verdict, cannot_tell, concern, counted, listed, none_shown
from conceptseg.stats.intervals import ALPHA
from conceptseg.study.ace.naming import called
from conceptseg.study.ace.pool import MOSTLY
from conceptseg.study.ace.reaching import instead
from conceptseg.study.shared import mistaken_report

MUCH = 0.5
"""Share of a class's IoU whose loss is not to be passed over, whatever random directions cost."""

ADVICE = (
    "Look at the pictures of these concepts. Where they are not part of the object, confirm it by "
    "`conceptseg audit --set found=THIS_RUN`, and train on images that come with and without them."
)


OTHER_LAYER = (
    "Choose a layer that holds more (`conceptseg layers`), or name the context: `conceptseg audit` "
    "changes images and needs no layer."
)


def verdict(result: Result) -> Verdict:
    """Uses that act from context, and the mistakes that lie on single concepts."""
    return mistaken_report.beside(result, _of_uses(result))


def _of_uses(result: Result) -> Verdict:
    """A use from context is a concern; none was shown where half of the pairs were testable."""
    pairs = result.tables["pairs"]
    used = pairs.where(lambda row: row["used"]).rows
    acting = [row for row in used if row["from_context"]]
    if acting:
        names = called(result)
        told = listed(f"{row['class']} by {names[row['concept']]}" for row in acting)
        return concern(f"The network finds a class by what lies outside of it: {told}.", ADVICE)
    crowded = _crowded(pairs.rows)
    if crowded:
        names = called(result)
        told = listed(f"{row['class']} without {names[row['concept']]}" for row in crowded)
        return cannot_tell(
            f"{told[0].upper()}{told[1:]}: half of the overlap or more is lost, as it is without "
            "more than one in twenty random directions; this layer holds too little else to tell a "
            "concept by it.",
            OTHER_LAYER,
        )
    if _out_of_reach(result, used):
        return cannot_tell(
            "No class could have been shown to use a concept from outside of its own object: "
            f"behind layer {result.notes['layer']} what lies away from a class hardly acts on it.",
            f"{_layer_before(result.notes)}, or name the context: `conceptseg audit` changes "
            "images and needs no layer.",
        )
    blind = [row for row in pairs.rows if row.get("verdict") in ("not testable", "underpowered")]
    if len(blind) > len(pairs.rows) / 2 or not pairs.rows:
        return _blind(blind, len(pairs.rows))
    still_open = sum(row["from_context"] is None for row in used)
    which = "one does" if still_open == 1 else f"{still_open} do"
    if 2 * still_open > len(used):
        whether = "it acts" if len(used) == 1 else f"{still_open} of them act"
        return cannot_tell(
            f"Of {counted(len(used), 'use')}, whether {whether} from outside of the class's own "
            "object stays open.",
            (f"{_layer_before(result.notes)}. " if result.notes.get("reach_px") is not None else "")
            + "Give more images, or name the context: `conceptseg audit` changes images and needs "
            "no layer.",
        )
    rest = f"; of these, whether {which} so stays open" if still_open else ""
    shown = f"{len(used) or 'none'} {'was' if len(used) < 2 else 'were'}"
    return none_shown(
        "No class was shown to use a concept from outside of its own object: of "
        f"{counted(len(pairs.rows), 'pair')} of class and concept {shown} shown to be used at all"
        f"{rest}.",
        "This is no proof that there is none: the table of classes gives the loss that would have "
        "been shown. `conceptseg audit` asks of contexts that you name.",
    )


def _blind(rows: Sequence[Mapping[str, Any]], pairs: int) -> Verdict:
    """Of so many pairs, `rows` could hardly be shown: for what random directions cost, or for
    want of images."""
    hidden = sum(as_number(row.get("hidden")) > as_number(row.get("to_lose")) for row in rows)
    told = (
        f"Of {counted(pairs, 'pair')} of class and concept, {len(rows)} could hardly have been "
        "shown to be used"
    )
    if hidden > len(rows) / 2:
        return cannot_tell(
            f"{told}: a random direction of this layer may cost a class all that it has as well.",
            OTHER_LAYER,
        )
    return cannot_tell(f"{told}.", "Give more images of each class, or lower min_images.")


def _layer_before(notes: Mapping[str, Any]) -> str:
    """Which layer to ask instead: the one that was found to act far enough, if any was."""
    other = notes.get("outside_layer")
    if not other:
        return "Choose a layer before it (`conceptseg layers`)"
    return f"Run it again with {instead(other)}"


def out_of_reach(notes: Mapping[str, Any]) -> str:
    """Why nothing away from a class can act on it, if nothing can; of a result of an earlier
    version, which does not know, nothing."""
    reach = notes.get("reach_px")
    if reach is None or reach > notes["spared_px"]:
        return ""
    return (
        f"Behind this layer a position acts on pixels {reach:.0f} px away at most, and "
        f"{notes['spared_px']} px around a class are spared: nothing could have been seen"
    )


def _out_of_reach(result: Result, used: Sequence[Mapping[str, Any]]) -> bool:
    """Whether what follows the layer looks too little around: of most uses less than half of the
    class could be acted on; where there is no use, nothing that is not spared."""
    if used:
        return sum(as_number(row.get("reached")) < MOSTLY for row in used) > len(used) / 2
    return bool(out_of_reach(result.notes))


def _crowded(pairs: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """What a class loses much without, beyond the mean of random directions though not beyond all
    but one in twenty: in a layer of few things most random directions are partly the concept's."""
    return [
        row
        for row in pairs
        if row.get("verdict") == "below the criterion"
        and as_number(row.get("p_random")) > ALPHA
        and -as_number(row.get("loss")) >= MUCH * as_number(row.get("to_lose")) > 0
    ]
