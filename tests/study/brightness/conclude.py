"""From what is known to the result: findings, a table, notes."""

from conceptseg.engine.contract import Context
from conceptseg.engine.known import Known
from conceptseg.result.columns import Column
from conceptseg.result.finding import Finding, ranked
from conceptseg.result.saved import Result
from conceptseg.result.table import Table
from conceptseg.study.shared import local_maps
from conceptseg.study.shared.compare import COMPARISON
from conceptseg.study.shared.studied import notes
from tests.study.brightness.config import Brightness
from tests.study.brightness.measure import GAPS, SAMPLING

GAP = Column("gap", "brightness inside less outside", interval=True)


def conclude(study: Brightness, context: Context, known: Known) -> Result:
    sampling, comparison, classes = known[SAMPLING], known[COMPARISON], context.model.classes
    rows, findings = [], []
    for c, (gap, test) in known[GAPS].items():
        claim = f"{classes[c]} differs by {gap.value:+.3f} in brightness from what is around it."
        rows.append({"class": classes[c], **GAP.cells(gap), "p_adjusted": test.adjusted})
        findings.append(Finding.about(claim, gap, test, evidence="gaps", class_name=classes[c]))
    return Result(
        study="brightness",
        findings=ranked(findings),
        tables={
            "gaps": Table(rows, labels=GAP.labels),
            "saliency": local_maps.table(comparison, classes),
        },
        images=local_maps.pictures(comparison),
        notes=notes(context, sampling.ids, sampling.groups, sampling.of[:-1], comparison),
    )
