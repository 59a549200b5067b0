"""The findings of an audit: reliances that are shown."""

from collections.abc import Iterable

from conceptseg.result.finding import Finding
from conceptseg.study.audit.assess import Case
from conceptseg.study.audit.tables import sentence


def findings(cases: Iterable[Case]) -> list[Finding]:
    """One for each verdict of behaviour; the others stand in the table of verdicts."""
    return [
        Finding.about(
            sentence(case),
            case.change,
            case.test,
            class_name=case.class_name,
            evidence="pairs",
            effect_name="IoU with the context less IoU without it",
            context=case.context.name,
            verdict=case.verdict,
            delta=case.delta,
        )
        for case in cases
        if case.shown
    ]
