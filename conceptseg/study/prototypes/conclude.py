"""The result of a prototypes study: findings in words, tables, arrays and pictures."""

import numpy as np

from conceptseg.engine.contract import Context
from conceptseg.engine.known import Known
from conceptseg.result.finding import ranked
from conceptseg.result.saved import Result, safe_key
from conceptseg.study.prototypes import tables
from conceptseg.study.prototypes.assess import FORETOLD, GROUPED, PLACED
from conceptseg.study.prototypes.config import Prototypes
from conceptseg.study.prototypes.findings import findings
from conceptseg.study.prototypes.pictures import DRAWN
from conceptseg.study.prototypes.regions import JUDGED, LISTED
from conceptseg.study.prototypes.relevance import ATOMS
from conceptseg.study.shared import local_maps, studied
from conceptseg.study.shared.compare import COMPARISON


def conclude(study: Prototypes, context: Context, known: Known) -> Result:
    regions, grouped, placed = known[LISTED], known[GROUPED], known[PLACED]
    comparison, classes = known[COMPARISON], context.model.classes
    atoms = len(known[ATOMS][0].atoms) if known[ATOMS] else 0
    # Numbers count images or groups, however many regions each of them holds.
    ids = list(dict.fromkeys(regions.ids))
    group = dict(zip(regions.ids, regions.sampling.groups, strict=True))
    return Result(
        study="prototypes",
        findings=ranked(findings(regions, grouped, placed, known[FORETOLD], classes)),
        tables={
            "prototypes": tables.prototypes(known, classes),
            "apart": tables.apart(known, classes, atoms),
            "tried": tables.tried(known, classes),
            "coverage": tables.coverage(study, known, classes),
            "foretell": tables.foretold(known),
            "unlikely": tables.unlikely(known, classes, atoms),
            "calibration": tables.calibration(known),
            "saliency": local_maps.table(comparison, classes),
        },
        arrays={
            "class": regions.class_id.astype(np.int32),
            "box": regions.box.astype(np.int32),
            "part": regions.part.astype(np.int32),
            "prototype": grouped.component.astype(np.int32),
            "relevance": regions.relevance.astype(np.float32),
            "unlikely": grouped.unlikely.astype(np.float32),
            "p": placed.p.astype(np.float32),
            "right": regions.right.astype(np.float32),
            "confidence": regions.confidence.astype(np.float32),
        },
        images={safe_key(key): data for key, data in known[DRAWN].items()}
        | local_maps.pictures(comparison),
        skipped=studied.left_out(context, ids, "no region that is kept (images, min_share)"),
        notes=studied.notes(
            context,
            ids,
            [group[name] for name in ids],
            regions.sampling.of.removesuffix("s"),
            comparison,
            layer=context.layer,
            classes=[classes[c] for c in regions.classes],
            regions=len(regions.ids),
            judged=int((regions.part == JUDGED).sum()),
            outliers=int(placed.outlier.sum()),
            wrong=int((regions.wrong == 1).sum()),
            told=int((regions.wrong >= 0).sum()),
            of_right=placed.of_right,
            dealt_of=regions.dealt_of,
            concepts=f"{atoms} atoms" if atoms else f"{regions.relevance.shape[1]} channels",
            image_ids=list(regions.ids),
            **study.model_dump(include={"composite", "right", "rare", "dimensions"}),
        ),
    )
