"""What an audit says as a whole: a concern where any class relies on any context."""

from collections.abc import Sequence

from conceptseg.report.charts import Row
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
            f"{row['class']} on {'' if row['effect'] > 0 else 'the absence of '}{row['context']} "
            f"({_sure(row)})"
            for row in reliant
        )
        return concern(
            f"The network relies on context: {names}.",
            f"{_elsewhere(reliant)} Train it on images in which classes come with and without "
            "these contexts alike, and audit it again.",
        )
    if not rows or still_open > len(rows) / 2:
        return cannot_tell(
            f"Of {counted(len(rows), 'pair')} of class and context, {still_open} stay open."
            + _nearest(rows),
            _cure(result),
        )
    rest = f" {counted(still_open, 'pair')} of {len(rows)} stay open." if still_open else ""
    absent = len(rows) - still_open
    return none_shown(
        f"No class was shown to rely on any context that was tried: {absent} of {len(rows)} "
        f"effects were shown to be less than {result.notes['delta']:g} IoU.{rest}",
        "Ask whether the contexts that matter to you were among them: no audit knows others.",
    )


def _elsewhere(rows: Sequence[Row]) -> str:
    """Where the network is not to be used: without what a class needs, with what it must lack."""
    needs = [row for row in rows if row["effect"] > 0]
    lacks = [row for row in rows if row["effect"] <= 0]
    told = [
        f"{listed(row['class'] for row in own)} {word} that context"
        for own, word in ((needs, "without"), (lacks, "with"))
        if own
    ]
    return f"Do not use it where there is {' or '.join(told)}."


def _sure(row: Row) -> str:
    """How large a reliance is, and how sure."""
    return f"{row['effect']:+.2f} [{row['low']:+.2f}, {row['high']:+.2f}] IoU"


def _nearest(rows: Sequence[Row]) -> str:
    """The open pair that the fewest further images would decide, if any number would."""
    able = [row for row in rows if row["verdict"] == "underpowered" and row.get("needed")]
    if not able:
        return ""
    row = min(able, key=lambda row: row["needed"])
    return (
        f" The nearest to a decision: {row['class']} with and without {row['context']}, "
        f"{_sure(row)}, which about {row['needed']} images like these would decide."
    )


def _cure(result: Result) -> str:
    """What would decide most of the open pairs."""
    open_ones = {
        (row["class"], row["context"])
        for row in result.tables["verdicts"].rows
        if row["verdict"] == "underpowered"
    }
    untested = sum(
        row["p"] is None and (row["class"], row["context"]) in open_ones
        for row in result.tables["parts"].rows
    )
    if 2 * untested > len(open_ones):
        return (
            f"In {untested} of these no effect could have been shown, however large: name fewer "
            "contexts (context_classes), or give images of more groups."
        )
    return "Give more images: the table of verdicts says how many would decide, where any would."
