"""The findings of an audit: reliances that are shown."""

from collections.abc import Iterable

from conceptseg.result.finding import Finding
from conceptseg.study.audit.case import Case
from conceptseg.study.audit.tables import sentence


def _plain(case: Case) -> str:
    """A reliance without numbers."""
    if case.change.value > 0:
        return f"The network needs {case.context.name} around {case.class_name} to find it."
    return f"The network misses {case.class_name} where {case.context.name} is around it."


def findings(cases: Iterable[Case]) -> list[Finding]:
    """One for each verdict of behaviour; the others stand in the table of verdicts."""
    return [
        Finding.about(
            sentence(case),
            case.change,
            case.test,
            plain=_plain(case),
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
