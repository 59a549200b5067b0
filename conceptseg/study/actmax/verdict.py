"""What an actmax run says as a whole: how many of its pictures may be read at all."""

from conceptseg.result.saved import Result
from conceptseg.result.verdict import Verdict, cannot_tell, counted


def verdict(result: Result) -> Verdict:
    """Always "cannot tell": a picture shows what excites a unit, and not what the unit is for."""
    words = [row["verdict"] for row in result.tables["units"].rows]
    good = words.count("representative")
    told = (
        f"{good} of {counted(len(words), 'picture')} may be read as something their unit responds "
        "to"
        if good
        else "No picture was shown to resemble what its unit responds to in real images"
    )
    return cannot_tell(
        f"{told}; whether a class uses it is not asked here.",
        "Read the pictures that passed, beside their real images; `conceptseg dissect` says which "
        "class uses a unit.",
    )
