"""What an audit says as a whole: a concern where any class relies on any context."""

from conceptseg.result.saved import Result
from conceptseg.result.verdict import Verdict, cannot_tell, concern, counted, listed, none_shown
from conceptseg.study.audit.sections import shown


def verdict(result: Result) -> Verdict:
    """A reliance that was shown is a concern; that none was, where at least half could be told."""
    rows = result.tables["verdicts"].rows
    reliant = [row for row in rows if shown(row)]
    still_open = sum(row["verdict"] == "underpowered" for row in rows)
    if reliant:
        names = listed(
            f"{row['class']} on {'' if row['effect'] > 0 else 'the absence of '}{row['context']}"
            for row in reliant
        )
        return concern(
            f"The network relies on context: {names}.",
            "Do not use it where these classes come without that context. Train it on images in "
            "which they come with and without it alike, and audit it again.",
        )
    if not rows or still_open > len(rows) / 2:
        return cannot_tell(
            f"Of {counted(len(rows), 'pair')} of class and context, {still_open} stay open.",
            "Give more images: the table of verdicts says how many would decide each.",
        )
    rest = f" {counted(still_open, 'pair')} of {len(rows)} stay open." if still_open else ""
    return none_shown(
        f"No class was shown to rely on any context that was tried.{rest}",
        "Ask whether the contexts that matter to you were among them: no audit knows others.",
    )
