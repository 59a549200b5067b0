"""What a comparison of local methods says as a whole: what those that can be believed look at."""

import math

from conceptseg.result.columns import as_number
from conceptseg.result.saved import Result
from conceptseg.result.verdict import Verdict, cannot_tell, concern, counted, listed, none_shown
from conceptseg.stats.family import fewest
from conceptseg.stats.intervals import ALPHA
from conceptseg.study.saliency.standing import KNOWN

CONTEXT, BLIND = "CBL above chance", "rank correlation with the shuffled network's map"


def verdict(result: Result) -> Verdict:
    """Methods that depend on the weights and mark the known context are a concern.

    A method whose maps stay alike with shuffled weights says nothing of the network.
    """
    found = [(one, str(one.details.get("effect_name", ""))) for one in result.findings]
    blind = {one.details["method"] for one, name in found if name.endswith(BLIND)}
    seeing = [one.details["method"] for one, name in found if name == CONTEXT]
    if believed := [method for method in seeing if method not in blind]:
        return concern(
            f"{counted(len(set(believed)), 'local method')} put more weight on the known context "
            f"than chance would: {listed(believed)}.",
            "Maps show places and no need: confirm it by `conceptseg audit`.",
        )
    real = {r["method"] for r in result.tables["methods"].rows if r["family"] != "baseline"}
    if not real - blind:
        return cannot_tell(
            "Every method's maps stay alike when the network's weights are shuffled.",
            "Do not read these maps. Try other methods or another layer.",
        )
    asked = "cbl" in result.notes["metrics"]
    if not asked or not _could_pass(result):
        return _not_asked(result, asked)
    return none_shown(
        "No method was shown to mark the known context more than chance would.",
        "Maps never refute a use: `conceptseg audit` tests the contexts that you name.",
    )


def _not_asked(result: Result, asked: bool) -> Verdict:
    """Why no map could be shown to lie on context: none is named, no metric asked, or few cases."""
    if math.isnan(_chance(result)):
        return cannot_tell(
            "The data set names no context, so that no map could be shown to lie on one.",
            "Use the ranking to choose a method; `conceptseg audit` asks about surroundings.",
        )
    if not asked:
        return cannot_tell(
            "No metric asked whether maps lie on the known context.",
            "Name cbl among the metrics; `conceptseg audit` asks about surroundings.",
        )
    return cannot_tell(
        "No method could have been shown to mark the known context more than chance would: too few "
        f"cases for a test ({result.notes['cases']}).",
        "Explain more images (images), of more groups where groups are counted (unit); a test "
        f"takes {fewest('two')} images or groups at least.",
    )


def _could_pass(result: Result) -> bool:
    """Whether any method could have been shown to mark the known context, whatever its maps."""
    if "against" not in result.tables:
        return True  # nothing is known of it
    asked = (row for row in result.tables["against"].rows if row["reference"] == KNOWN)
    return any(as_number(row["p_least"]) <= ALPHA for row in asked)


def _chance(result: Result) -> float:
    """How much of the surroundings is known context, nan where the data name none."""
    chance = result.notes.get("chance")
    return float("nan") if chance is None else float(chance)
