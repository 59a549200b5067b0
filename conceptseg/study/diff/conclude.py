"""The result of a diff study: findings in words, tables, arrays and pictures."""

import numpy as np

from conceptseg.engine.contract import Context
from conceptseg.engine.known import Known
from conceptseg.report.panels import noted
from conceptseg.result.finding import ranked
from conceptseg.result.saved import Result, safe_key
from conceptseg.study.diff import tables
from conceptseg.study.diff.assess import SHIFTS, UNITS
from conceptseg.study.diff.config import Diff
from conceptseg.study.diff.findings import findings
from conceptseg.study.diff.learn import RECOVERS, SHARED
from conceptseg.study.diff.measure import MEASURED, PIXELS
from conceptseg.study.diff.networks import MEMBERS
from conceptseg.study.diff.pictures import DRAWN
from conceptseg.study.shared import local_maps, studied
from conceptseg.study.shared.compare import COMPARISON
from conceptseg.study.shared.studied import sampling_of


def conclude(study: Diff, context: Context, known: Known) -> Result:
    classes, comparison, shared = context.model.classes, known[COMPARISON], known[SHARED]
    ids, members = known[PIXELS].ids, known[MEMBERS]
    own = sampling_of(context, ids, study.unit, context.seed)
    by = "times what other seeds differ by" if study.seeds else "standard errors over images"
    taken = next(least for count, least in known[RECOVERS] if count == shared.count)
    return Result(
        study="diff",
        findings=ranked(findings(known, classes, by)),
        tables={
            "classes": tables.classes(known, classes),
            "shifts": tables.shifts(known, classes),
            "concepts": tables.concepts(known),
            "units": tables.units(known),
            "recovers": tables.recovers(known),
            "shown": tables.shown(known),
            "examples": tables.examples(known, classes),
            "saliency": local_maps.table(comparison, classes),
        },
        arrays={
            "effect": known[MEASURED].column("effect").astype(np.float32),
            "iou": known[PIXELS].column("iou").astype(np.float32),
            "correlation": known[UNITS].correlation.astype(np.float32),
            "lengths": shared.lengths.astype(np.float32),
            **local_maps.arrays(comparison),
        },
        images={safe_key(key): data for key, data in known[DRAWN].items()}
        | local_maps.pictures(comparison),
        skipped=studied.left_out(context, ids, "not drawn (images)"),
        notes=studied.notes(
            context,
            ids,
            own.groups,
            own.of.removesuffix("s"),
            comparison,
            layer=context.layer,
            class_colours=noted(context.manifest, classes),
            classes=[classes[c] for c in sorted({one.class_id for one in known[SHIFTS]})],
            other=members[1].model.name,
            fingerprints=[one.model.fingerprint() for one in members],
            seeds=len(study.seeds),
            drift=by,
            concepts=shared.count,
            recovered_iou=taken,
            recovers=bool(taken >= study.recovered),
            cka=known[UNITS].cka,
            matched=float((known[UNITS].correlation > 0.8).mean()),
            **study.model_dump(include={"recovered", "smallest_effect"}),
        ),
    )
