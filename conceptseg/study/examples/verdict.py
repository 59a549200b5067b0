"""What an examples study says as a whole: a concern where a kind of object stands for errors."""

from conceptseg.result.saved import Result
from conceptseg.result.verdict import Verdict, cannot_tell, concern, listed, none_shown


def verdict(result: Result) -> Verdict:
    """A prototype whose objects are wrong more often, by a corrected test; or errors that like
    examples foretell better than the network's own confidence does."""
    shown = [one for one in result.findings if one.standing == "evidence"]
    kinds = [one for one in shown if one.by == "test"]
    if kinds:
        # Of two prototypes the finding names one, whose objects may be those that are right.
        told = listed(str(one.class_) for one in kinds)
        return concern(
            f"Objects of some kinds are wrong more often than others of their class: {told}.",
            "Look at the prototypes that stand for errors, and give training more like them.",
        )
    if any(one.by == "interval" and (one.effect or 0) > 0 for one in shown):
        return concern(
            "Nearness to wrong examples ranks wrong objects above right ones of their class better "
            "than the network's own confidence does.",
            "Do not take confidence for certainty; look at the wrong objects and their neighbours.",
        )
    if not any(row["difference"] is not None for row in result.tables["foretell"].rows):
        return cannot_tell(
            "Too few objects are known to be right or wrong to say what stands for errors.",
            "Give images with masks, or more of them.",
        )
    standing = result.tables["standing"].rows if "standing" in result.tables else []
    if standing and all(row["p_adjusted"] is None for row in standing):
        return cannot_tell(
            "No kind of object could have been shown to be wrong more often: too few images or "
            "groups hold objects that are known to be right or wrong.",
            "Give more images with masks, of more groups where groups are counted.",
        )
    return none_shown(
        "No kind of object was shown to be wrong more often, nor nearness to wrong examples to "
        "rank wrong objects better than confidence does.",
        "The criticisms say which objects no prototype stands for.",
    )
