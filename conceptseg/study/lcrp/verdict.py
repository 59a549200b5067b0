"""What an L-CRP run says as a whole: a concern where relevance or its loss points outside."""

from conceptseg.result.saved import Result
from conceptseg.result.verdict import Verdict, cannot_tell, concern, counted, listed, none_shown
from conceptseg.study.lcrp.tables import UNKNOWN
from conceptseg.study.lcrp.verdicts import sensitive


def verdict(result: Result) -> Verdict:
    """Channels that act from context, or a class that loses its relevance with the background."""
    scores = result.tables["scores"].rows
    acting = [row["class"] for row in scores if row["acts"]]
    lost = sensitive(result.tables["classes"].rows)
    if acting or lost:
        told = []
        if lost:
            names = listed(f"{row['class']} (by {row['sensitivity']:.0%})" for row in lost)
            told.append(f"with the background the relevance changes more than others': {names}")
        if acting:
            told.append(f"part of what speaks for {listed(acting)} lies outside of it")
        return concern(
            f"Evidence lies in the surroundings: {'; '.join(told)}.",
            "Relevance alone proves no need: confirm it by `conceptseg audit`, which changes the "
            "surroundings themselves.",
        )
    unknown = sum(row["verdict"] == UNKNOWN for row in scores)
    if not scores or unknown > len(scores) / 2:
        return cannot_tell(
            f"Of {counted(len(scores), 'pair')} of class and channel, {unknown} are inconclusive.",
            "Give more images (random_images) or shuffled networks, or ask `conceptseg audit`.",
        )
    return none_shown(
        "No channel was shown to act from context, and no class loses its relevance with the "
        "background more than others.",
        "Maps never refute a use: `conceptseg audit` tests the contexts that you name.",
    )
