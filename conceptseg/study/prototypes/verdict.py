"""What a prototypes study says as a whole: a concern where a way of deciding stands for errors."""

from conceptseg.result.saved import Result
from conceptseg.result.verdict import Verdict, cannot_tell, concern, counted, listed, none_shown


def verdict(result: Result) -> Verdict:
    """A prototype whose regions are wrong more often, by a corrected test; or rare regions that
    are. Outliers alone are regions to look at: nobody knows yet whether they are wrong."""
    shown = [one for one in result.findings if one.standing == "evidence"]
    kinds = [one for one in shown if one.fault and one.evidence == "standing"]
    if kinds:
        told = listed(str(one.class_) for one in kinds)
        return concern(
            f"Some ways of deciding for a class are wrong more often than its others: {told}.",
            "Look at the prototypes that stand for errors, and at the concepts that set them "
            "apart: `conceptseg audit` tests whether these are context.",
        )
    if any(one.fault and one.evidence == "rare" for one in shown):
        return concern(
            "Regions that are decided in a rare way are wrong more often than others.",
            "Have such regions looked at by somebody, and give training more like them.",
        )
    outliers = int(result.notes["outliers"])
    if outliers:
        are = "is" if outliers == 1 else "are"
        return cannot_tell(
            f"{counted(outliers, 'region')} {are} decided as hardly any right one is; whether that "
            "is wrong was not shown.",
            "Look at the outliers: are they of a kind that the network was made for?",
        )
    tested = any(row["p_adjusted"] is not None for row in result.tables["prototypes"].rows)
    if not tested and result.tables["foretell"].rows[0]["p"] is None:
        return cannot_tell(
            "Too few regions are known to be right or wrong to say which ways of deciding err.",
            "Give images with masks, or more of them.",
        )
    return none_shown(
        "No way of deciding was shown to be wrong more often than others, nor were rare ones.",
        "The prototypes say in which ways each class is decided.",
    )
