"""The result of a permutation study: findings in words, tables, arrays and pictures."""

import numpy as np

from conceptseg.engine.contract import Context
from conceptseg.engine.known import Known
from conceptseg.report.panels import noted
from conceptseg.result.finding import ranked
from conceptseg.result.saved import Result
from conceptseg.study.permutation import tables
from conceptseg.study.permutation.assess import IMPORTANCES, UNDECIDED, counting, usable
from conceptseg.study.permutation.config import Permutation
from conceptseg.study.permutation.deltas import DELTAS
from conceptseg.study.permutation.donors import derangement, draw_samples
from conceptseg.study.permutation.findings import findings
from conceptseg.study.permutation.pictures import DRAWN
from conceptseg.study.permutation.survey import PLAN
from conceptseg.study.shared import local_maps, studied
from conceptseg.study.shared.compare import COMPARISON


def conclude(study: Permutation, context: Context, known: Known) -> Result:
    deltas, plan, importances = known[DELTAS], known[PLAN], known[IMPORTANCES]
    comparison, classes = known[COMPARISON], context.model.classes
    class_ids = usable(study, context, deltas)
    sampling = counting(study, context, deltas)
    images = {
        tables.example_key(n, name): data
        for n, pictures in enumerate(known[DRAWN].values())
        for name, data in pictures.items()
    }
    return Result(
        study="permutation",
        findings=ranked(findings(importances)),
        tables={
            "importance": tables.importance(importances),
            "pairs": tables.pairs(study, known, class_ids, sampling),
            "tree": tables.tree(plan, importances),
            "examples": tables.examples(study, known, classes),
            "clean": tables.clean(deltas, class_ids, classes),
            "saliency": local_maps.table(comparison, classes),
        },
        arrays={
            "clean": deltas.clean.astype(np.float32),
            "overlap": deltas.overlap.astype(np.float32),
            "correlation": plan.channels.correlation().astype(np.float32),
        },
        images=images | local_maps.pictures(comparison),
        skipped=studied.left_out(context, deltas.ids, "not drawn (images)", no_labels="no mask"),
        notes=studied.notes(
            context,
            deltas.ids,
            sampling.groups,
            sampling.of.removesuffix("s"),
            comparison,
            layer=context.layer,
            class_colours=noted(context.manifest, context.model.classes),
            classes=[classes[c] for c in class_ids],
            donors_of_other_groups=derangement(draw_samples(study, context), context.seed, 0)[1],
            raced=len(known[UNDECIDED]),
            variants=len(plan.variants),
            schemes=sorted({variant.scheme for variant in plan.variants}),
            **study.model_dump(include={"repeats", "most_repeats", "smallest_effect", "block_px"}),
        ),
    )
