"""Results made by hand, for the rules by which studies judge."""

from conceptseg.result.saved import Result
from conceptseg.result.table import Table


def result(study, notes=None, findings=(), **tables):
    return Result(
        study, findings, {k: Table(rows) for k, rows in tables.items()}, notes=notes or {}
    )
