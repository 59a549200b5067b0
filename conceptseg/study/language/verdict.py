"""What a language study says as a whole: whether the language is more than a plain code."""

from conceptseg.result.saved import Result
from conceptseg.result.verdict import Verdict, cannot_tell


def verdict(result: Result) -> Verdict:
    """Always "cannot tell": which words a network's objects have says nothing of faults."""
    tells = next(one for one in result.findings if one.evidence == "codes")
    shown = tells.standing == "evidence"
    if shown and (tells.effect or 0) > 0:
        return cannot_tell(
            "The language's words tell more of attributes than plain codes of as many bits; "
            "whether the network should tell objects apart so is not asked here.",
            "Look at the words whose objects have in common what they should not.",
        )
    than = "tell less" if shown else "were not shown to tell more, or less,"
    so = ", so that they are worse names" if shown else ""
    return cannot_tell(
        f"The language's words {than} of attributes than {result.notes['rival']} does{so}.",
        "Take the plain code's groups, as `conceptseg ace` makes and tests them.",
    )
