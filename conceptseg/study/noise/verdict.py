"""What a noise study says as a whole: whether its maps may be read, and never that all is well."""

from conceptseg.result.saved import Result
from conceptseg.result.verdict import Verdict, cannot_tell, listed
from conceptseg.stats.intervals import ALPHA


def verdict(result: Result) -> Verdict:
    """Always "cannot tell": it asks which order of pixels holds a prediction, not whether the
    network looks where it should."""
    rows = [row for row in result.tables["against"].rows if row["p_adjusted"] is not None]
    better = {
        name
        for name in dict.fromkeys(row["class"] for row in rows)
        if all(
            row["p_adjusted"] <= ALPHA and row["difference"] > 0
            for row in rows
            if row["class"] == name
        )
    }
    share = f"{result.notes['visible']:.0%} of the pixels visible"
    told = (
        f"With {share}, U-Noise's order keeps more of {listed(sorted(better))} than random pixels, "
        "the middle of the image or the dilated prediction do, by every fill"
        if better
        else f"With {share}, U-Noise's order was not shown to beat every map that knows nothing of "
        "the network"
    )
    advice = (
        "Its maps may be read as an order of what the prediction needs; ask `conceptseg audit` "
        "whether a class leans on its surroundings."
        if better
        else "Do not read its maps as what the network needs; look at the other curves below."
    )
    return cannot_tell(f"{told}; whether the network should need it is not asked here.", advice)
