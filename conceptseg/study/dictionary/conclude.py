"""The result of a dictionary study: findings in words, tables, arrays and pictures."""

import numpy as np

from conceptseg.engine.contract import Context
from conceptseg.engine.known import Known
from conceptseg.report.panels import noted
from conceptseg.result.finding import ranked
from conceptseg.result.saved import Result, safe_key
from conceptseg.study.dictionary import tables
from conceptseg.study.dictionary.assess import LOSSES
from conceptseg.study.dictionary.config import Dictionary
from conceptseg.study.dictionary.erase import ERASED
from conceptseg.study.dictionary.findings import findings
from conceptseg.study.dictionary.learn import LEARNT
from conceptseg.study.dictionary.pictures import DRAWN
from conceptseg.study.dictionary.repair import REPAIRS
from conceptseg.study.dictionary.survey import SURVEY
from conceptseg.study.shared import local_maps, studied
from conceptseg.study.shared.compare import COMPARISON
from conceptseg.study.shared.studied import sampling_of


def conclude(study: Dictionary, context: Context, known: Known) -> Result:
    classes, learnt, comparison = context.model.classes, known[LEARNT], known[COMPARISON]
    ids = known[SURVEY].ids
    own = sampling_of(context, ids, study.unit, context.seed)
    made = findings(known, classes, study.recovered)
    return Result(
        study="dictionary",
        findings=ranked(made),
        tables={
            "tried": tables.tried(known),
            "atoms": tables.atoms(known, classes),
            "losses": tables.losses(known, classes),
            "repairs": tables.repairs(known, classes),
            "shown": tables.shown(known),
            "mended": tables.mended(known, classes),
            "saliency": local_maps.table(comparison, classes),
        },
        arrays={
            "atoms": learnt.atoms.atoms.astype(np.float32),
            "codes": known[SURVEY].column("mean").astype(np.float32),
            "iou": known[ERASED].column("iou").astype(np.float32),
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
            classes=[classes[c] for c in sorted({one.class_id for one in known[LOSSES]})],
            finder=type(study.finder).__module__.rpartition(".")[2],
            atoms=learnt.count,
            recovered_iou=learnt.recovered.value,
            recovers=bool(learnt.recovered.value >= study.recovered),
            failing_classes=len(known[REPAIRS]),
            **study.model_dump(
                include={"recovered", "random_edits", "failing", "refits", "sobol_images"}
            ),
        ),
    )
