"""Reports of saved results, whose numbers may be anybody's."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from conceptseg import catalogue

if TYPE_CHECKING:
    from conceptseg.report.blocks import Report
    from conceptseg.report.embedded import Run
    from conceptseg.result.saved import Result


def report_of(result: Result, folder: Path) -> Report:
    """The report of a result of `folder`, with the review that lies there, if one does.

    Raises InputError for a result that cannot be shown, and for a review that cannot be read.
    """
    from conceptseg.report import review
    from conceptseg.result.saved import as_written

    if result.study == "selftest":  # of all studies, and none itself
        from conceptseg.study.selftest.report import compose
    else:
        compose = catalogue.load("study", result.study).report
    with as_written(folder):
        report: Report = compose(result)
    found = review.read(folder)
    if found is None:
        return report
    return replace(report, sections=[*report.sections, review.section(found, result)])


def run_of(folder: Path, name: str, *, altered: bool = False) -> Run:
    """A finished run with its report and its verdict, which results of earlier versions lack.

    Raises InputError for a folder without a result, for one that cannot be shown, and, unless
    `altered`, for one that was edited.
    """
    from conceptseg.report.embedded import Run
    from conceptseg.result.saved import Result

    result = Result.load(folder, altered=altered)
    report = report_of(result, folder)
    return Run(name, replace(result, verdict=result.verdict or report.verdict), report)
