"""What a run says on the terminal when it has ended: its verdict, and its first findings."""

from conceptseg.errors import one_line
from conceptseg.result.saved import Result

MOST = 5
"""Findings that are told; the report has them all."""


def lines(result: Result) -> list[str]:
    """The verdict with its advice, and the first findings that count, each in a line.

    Findings that say the same in plain words are told once. Names of the user's that do not print
    are escaped.
    """
    said = []
    if result.verdict is not None:
        said += [result.verdict.line, f"  {result.verdict.advice}"]
    counting = [one for one in result.findings if one.standing in ("evidence", "description")]
    claims = list(dict.fromkeys(one.plain or one.claim for one in counting))
    said += [f"- {one}" for one in claims[:MOST]]
    if len(claims) > MOST:
        said.append(f"- and {len(claims) - MOST} more in the report")
    if not claims:
        said.append("- no finding counts as evidence")
    return [one_line(one) for one in said]
