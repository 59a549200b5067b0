"""Reports of saved results, whose numbers may be anybody's."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from conceptseg import catalogue
from conceptseg.errors import InputError

if TYPE_CHECKING:
    from conceptseg.report.blocks import Report
    from conceptseg.report.embedded import Run
    from conceptseg.result.saved import Result


def report_of(result: Result, folder: Path) -> Report:
    """The report of a result of `folder`; raises InputError for one that cannot be shown."""
    study = catalogue.load("study", result.study)
    with showing(folder):
        report: Report = study.report(result)
        return report


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


@contextmanager
def showing(folder: Path) -> Iterator[None]:
    """Within it, whatever drawing meets of numbers that no study has written is an InputError."""
    try:
        yield
    except (InputError, MemoryError):
        raise
    except Exception as error:
        what = f"cannot be shown ({type(error).__name__}: {str(error)[:200]})"
        if isinstance(error, KeyError):
            what = f"lacks {str(error.args[0])[:200]!r}, which the report shows"
        raise InputError(
            f"{folder}: result.json {what}; it is damaged, edited or of "
            "another version: run the study again"
        ) from error
