"""The result of an examples study: findings in words, tables, arrays and pictures."""

import numpy as np

from conceptseg.engine.contract import Context
from conceptseg.engine.known import Known
from conceptseg.result.finding import ranked
from conceptseg.result.saved import Result
from conceptseg.study.examples import tables
from conceptseg.study.examples.assess import FORETOLD, LISTED, NEIGHBOURS, PORTRAITS
from conceptseg.study.examples.config import Examples
from conceptseg.study.examples.findings import findings
from conceptseg.study.examples.pictures import CASES, DRAWN
from conceptseg.study.shared import local_maps, studied
from conceptseg.study.shared.compare import COMPARISON


def conclude(study: Examples, context: Context, known: Known) -> Result:
    objects, portraits, drawn = known[LISTED], known[PORTRAITS], known[DRAWN]
    near, comparison, classes = known[NEIGHBOURS], known[COMPARISON], context.model.classes
    pictures = {tables.picture_key(row): data for row, data in drawn.items()}
    # Numbers count images or groups, however many objects each of them holds.
    ids = list(dict.fromkeys(objects.ids))
    group = dict(zip(objects.ids, objects.sampling.groups, strict=True))
    return Result(
        study="examples",
        findings=ranked(findings(portraits, known[FORETOLD], classes, study.regions)),
        tables={
            "standing": tables.standing(portraits, objects, classes, drawn),
            "curve": tables.curve(portraits, classes),
            "foretell": tables.foretold(known[FORETOLD], classes),
            "cases": tables.cases(known[CASES], near, objects, classes, drawn),
            "saliency": local_maps.table(comparison, classes),
        },
        arrays={
            "class": objects.class_id.astype(np.int32),
            "box": objects.box.astype(np.int32),
            "right": objects.right.astype(np.float32),
            "confidence": objects.confidence.astype(np.float32),
            "nearness": near.score.astype(np.float32),
            "nearest": near.nearest.astype(np.int32),
        },
        images=pictures | local_maps.pictures(comparison),
        skipped=studied.left_out(context, ids, "no object that is kept (images, min_share)"),
        notes=studied.notes(
            context,
            ids,
            [group[name] for name in ids],
            objects.sampling.of.removesuffix("s"),
            comparison,
            layer=context.layer,
            classes=[classes[one.class_id] for one in portraits],
            objects=len(objects.ids),
            wrong=int((objects.wrong == 1).sum()),
            told=int((objects.wrong >= 0).sum()),
            image_ids=list(objects.ids),
            **study.model_dump(
                include={"regions", "right", "neighbours", "weights", "min_objects"}
            ),
        ),
    )
