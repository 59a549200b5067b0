"""What a bottleneck run says as a whole: a concern where it trusts images that it must not."""

from conceptseg.result.saved import Result
from conceptseg.result.verdict import Verdict, cannot_tell, concern, listed, none_shown
from conceptseg.study.bottleneck.shift import SPOILT_LIKE, trusted_wrongly


def verdict(result: Result) -> Verdict:
    """Spoilt images that the gate lets pass although their quality is not what is predicted."""
    notes, rows = result.notes, result.tables["shift"].rows
    wrong = [row for row in rows if trusted_wrongly(row, notes["coverage"])]
    if wrong:
        kinds = listed(SPOILT_LIKE[row["kind"]] for row in wrong)
        return concern(
            f"{_capital(kinds)} images are given a quality "
            "that they do not have, and should have been turned away.",
            "Do not rely on a predicted quality where images may be like that; fit the predictor "
            "on such images as well, or check them before.",
        )
    if not rows:
        return cannot_tell(
            "Whether spoilt images are turned away was not tried.", "Set shift_images above 0."
        )
    if all((row["r2_low"] or 0.0) <= 0 for row in result.tables["standing"].rows):
        return cannot_tell(
            "Quality was not shown to be predicted any better than by its mean.",
            "Do not use the predictor. Give more labelled images, or another layer.",
        )
    return none_shown(
        "No kind of spoilt images was shown to pass with a quality that it does not have.",
        "The predictor may be used on images like those it was fitted on; see how sure it is.",
    )


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
