"""The result of an audit: verdicts, findings, tables and pictures."""

import numpy as np

from conceptseg.catalogue import choice_labels
from conceptseg.engine.contract import Context
from conceptseg.engine.known import Known
from conceptseg.report.panels import noted
from conceptseg.result.finding import ranked
from conceptseg.result.saved import Result
from conceptseg.result.table import Table
from conceptseg.study.audit import acting, found, tables
from conceptseg.study.audit.acting import ACTING
from conceptseg.study.audit.case import CASES
from conceptseg.study.audit.config import Audit
from conceptseg.study.audit.contexts import CONTEXTS
from conceptseg.study.audit.extent import DOSES
from conceptseg.study.audit.findings import findings
from conceptseg.study.audit.found import FOUND
from conceptseg.study.audit.offending import COMPOSITES
from conceptseg.study.audit.pictures import DRAWN, PAIRS, order
from conceptseg.study.audit.reach import MARGIN
from conceptseg.study.audit.removals.contract import random_ones
from conceptseg.study.audit.shift import SHIFTED
from conceptseg.study.audit.survey import HOLDINGS
from conceptseg.study.shared import local_maps, studied
from conceptseg.study.shared.compare import COMPARISON

FOUND_CAPTION = "Segments that stand for the concepts which are contexts"
CHANNELS_CAPTION = "Channels that the lcrp run showed to act from context"


def conclude(study: Audit, context: Context, known: Known) -> Result:
    cases, comparison, held = known[CASES], known[COMPARISON], known[HOLDINGS]
    ids = sorted({name for case in cases for name in case.ids})
    group = dict(zip(held.ids, held.groups, strict=True))
    counts = "image" if cases[0].change.of == "images" else "group"
    shown = [cases[number] for number in order(cases)]
    maps = {
        f"changes-{case.class_id}-{number}": np.array(case.each, np.float32)
        for number, case in enumerate(cases)
    }
    others, photos = _of_other_runs(study, context, known)
    return Result(
        study="audit",
        findings=ranked(findings(cases)),
        tables={
            "verdicts": tables.verdicts(shown),
            "parts": tables.parts(shown),
            "looks": tables.looks(shown),
            "examples": tables.examples(known[PAIRS], cases),
            "composites": tables.composites(known[COMPOSITES], cases),
            "doses": tables.doses(known[DOSES], cases),
            "padding": tables.padding(
                {name: own["changed"][0] for name, own in known[SHIFTED].tables.items()}
            ),
            **others,
            "saliency": local_maps.table(comparison, context.model.classes),
        },
        arrays={**maps, **local_maps.arrays(comparison)},
        images=tables.pictures(known[DRAWN]) | photos | local_maps.pictures(comparison),
        skipped=studied.left_out(context, ids, "not drawn (images)", no_labels="no mask"),
        notes=studied.notes(
            context,
            ids,
            [group[name] if counts == "group" else name for name in ids],
            counts,
            comparison,
            layer=context.layer,
            class_colours=noted(context.manifest, context.model.classes),
            margin=known[MARGIN],
            contexts=[one.name for one in known[CONTEXTS]],
            place=study.place,
            unlocated=[one.name for one in known[CONTEXTS] if not one.located],
            classes=list(dict.fromkeys(case.class_name for case in cases)),
            donors=study.donors,
            most_lacking=study.most_lacking,
            delta=study.delta,
            smallest_loss=study.smallest_loss,
            smallest_share=study.smallest_share,
            look_images=study.look_images,
            found=study.found,
            channels=study.channels,
            nulls=random_ones(1),
            attribution=choice_labels((study.attribution,))[0],
            feather_px=study.feather_px,
        ),
    )


def _of_other_runs(
    study: Audit, context: Context, known: Known
) -> tuple[dict[str, Table], dict[str, bytes]]:
    """What the runs that the study's file names show of what was taken from them."""
    segments, photos = found.exhibits(study, known[FOUND][0]) if known[FOUND] else ([], {})
    channels, maps = (
        acting.exhibits(study, context, known[ACTING][0]) if known[ACTING] else ([], {})
    )
    shown = ("concept", "sample", "picture", "outline")
    return {
        "found": Table(segments, shown, {}, FOUND_CAPTION),
        "channels": Table(channels, acting.COLUMNS, acting.LABELS, CHANNELS_CAPTION),
    }, photos | maps
