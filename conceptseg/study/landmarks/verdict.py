"""What a landmarks study says as a whole: which structures are followed or shunned, and never
that it is wrong."""

from conceptseg.result.saved import Result
from conceptseg.result.verdict import Verdict, cannot_tell, listed


def verdict(result: Result) -> Verdict:
    """Always "cannot tell": a good network may look along a structure or at it from outside."""
    shown = [one for one in result.findings if one.standing == "evidence"]
    follows = [str(one.class_) for one in shown if (one.effect or 0) > 0]
    shuns = [str(one.class_) for one in shown if (one.effect or 0) < 0]
    if follows:
        told = f"Attribution follows the structures of {listed(follows)}"
        told += f" and keeps off those of {listed(shuns)}" if shuns else ""
    else:
        told = "No class was shown to be followed along its structures"
        told += f"; attribution keeps off those of {listed(shuns)}" if shuns else ""
    return cannot_tell(
        f"{told}; whether the network should do so is not asked here.",
        "Ask `conceptseg audit` whether a class leans on its surroundings.",
    )
