"""`conceptseg compare`: what a run says that another did not."""

from pathlib import Path
from typing import Annotated

import typer

from conceptseg.errors import EXIT_FOUND, InputError, nearest
from conceptseg.study.command.options import Junit, OutFile
from conceptseg.study.command.shown import run_of

PANEL = "May it ship?"


def command(
    before: Annotated[Path, typer.Argument(help="Folder of the earlier run, or of the baseline.")],
    after: Annotated[Path, typer.Argument(help="Folder of the run that is judged.")],
    form: Annotated[str, typer.Option("--format", help="text, html or json.")] = "text",
    out: OutFile = None,
    fail_on: Annotated[
        list[str] | None,
        typer.Option(
            "--fail-on", metavar="CHANGE", help="End with 4 on such a change: new, grown, turned."
        ),
    ] = None,
    junit: Junit = None,
) -> None:
    """Compare two finished runs of one study: what is new, gone, grown, with intervals.

    What was shown and is not any more is "gone" only where it is surely less, or would have been
    shown; else it is "no longer shown".

    Needs neither the networks nor the data. A page (--format html) shows pictures side by side.
    """
    from conceptseg.report import changed
    from conceptseg.result.changes import STATUSES, compare
    from conceptseg.study.command.junit import Case, document, failing
    from conceptseg.study.command.written import hand_over, writable

    forms = ("text", "html", "json")
    if form not in forms:
        raise InputError(f"--format {form}: {nearest(form, forms)}")
    wanted = [one.replace("-", " ") for one in fail_on or ()]
    for one in wanted:
        if one not in STATUSES:
            raise InputError(f"--fail-on {one}: {nearest(one, STATUSES)}")
    for path in (out, junit):
        writable(path)
    names = _names(before, after)
    runs = [run_of(one, name) for one, name in zip((before, after), names, strict=True)]
    found = compare(runs[0].result, runs[1].result)
    if form == "html":
        text = changed.as_html(found, *runs)
    else:
        text = (changed.as_json if form == "json" else changed.as_text)(found, names)
    hand_over(text, out)
    cases = [Case(one.name, one.status, one.sentence) for one in found.changes]
    if junit is not None:
        hand_over(document(f"conceptseg compare {found.study}", cases, wanted), junit, told=False)
    if failing(cases, wanted):
        raise typer.Exit(EXIT_FOUND)


def _names(before: Path, after: Path) -> tuple[str, str]:
    """What the runs are called: their folders' names, or their paths where these are equal."""
    names = before.absolute().name, after.absolute().name
    return names if names[0] != names[1] else (str(before), str(after))
