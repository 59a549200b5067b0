"""What an ability study says as a whole: a concern where what a layer can tell is lost later on."""

from conceptseg.result.saved import Result
from conceptseg.result.verdict import Verdict, cannot_tell, concern, counted, listed, none_shown


def verdict(result: Result) -> Verdict:
    """A class that a layer reads better than the output does, by a corrected test, is a concern."""
    lost = [one for one in result.findings if one.by == "test" and one.evidence == "levels"]
    if lost:
        told = listed(f"{one.class_} after {one.details['layer']}" for one in lost)
        return concern(
            f"The network loses what one of its layers can still tell: {told}.",
            "Look at the forgotten objects; more training of what follows the layer may keep them.",
        )
    rows, forgotten = result.tables["classes"].rows, _forgotten(result)
    levels = result.tables["levels"].rows if "levels" in result.tables else []
    # Results of earlier versions do not say which could be tested.
    blind = sum(not row.get("tested", True) for row in levels)
    if blind > len(levels) / 2:
        return cannot_tell(
            f"Of {counted(len(levels), 'pair')} of class and layer, {blind} could not have been "
            f"shown to be read better by the layer than by the output{forgotten}.",
            "Give more images that hold these classes, of more groups where groups are counted.",
        )
    unclear = sum(bool(row["doubt"]) for row in rows)
    if unclear > len(rows) / 2:
        return cannot_tell(
            f"For {unclear} of {len(rows)} classes no depth can be reported{forgotten}.",
            "Give more images that hold these classes.",
        )
    return none_shown(
        f"No class was shown to be read better by a layer than by the output{forgotten}.",
        "The list of forgotten objects says where to look first."
        if forgotten
        else "The list of classes says at which layer each becomes readable.",
    )


def _forgotten(result: Result) -> str:
    """How many objects a layer saw and the output lost, to follow a sentence; "" of none."""
    count = result.notes.get("forgotten", 0)
    if not count:
        return ""
    # Without a shuffled network nobody counted what chance gives, nor of how many.
    of, _, chance = result.notes.get("chance") or (0, 0, 0)
    many = f"{count} of {counted(of, 'object')}" if of else counted(count, "object")
    by_chance = f" ({chance} by chance, in a shuffled network)" if of else ""
    were = "was" if count == 1 else "were"
    return f"; {many} {were} seen by a layer and lost by the output{by_chance}"
