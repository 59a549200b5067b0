"""The result of a bottleneck study: findings in words, tables, arrays and pictures."""

from dataclasses import replace
from typing import Any

import numpy as np

from conceptseg.engine.contract import Context
from conceptseg.engine.known import Known
from conceptseg.report.panels import noted
from conceptseg.result.finding import ranked
from conceptseg.result.saved import Result, safe_key
from conceptseg.result.table import Table
from conceptseg.study.bottleneck import gate, tables
from conceptseg.study.bottleneck.config import Bottleneck
from conceptseg.study.bottleneck.evaluate import Flagging, Standing, flagging, standings
from conceptseg.study.bottleneck.findings import findings
from conceptseg.study.bottleneck.judge import JUDGED, Judged, search_of
from conceptseg.study.bottleneck.maps import quality_of
from conceptseg.study.bottleneck.plan import MAPS, SHOWN
from conceptseg.study.bottleneck.regress import crossed
from conceptseg.study.bottleneck.selective import selective_tables
from conceptseg.study.bottleneck.shift import KEPT_PICTURES, SHIFTED, pictures_of
from conceptseg.study.bottleneck.sliced import SLICE_PICTURES, SLICED
from conceptseg.study.shared import local_maps, studied
from conceptseg.study.shared.compare import COMPARISON, Comparison

GROUPS_SHOWN = 12


def conclude(study: Bottleneck, context: Context, known: Known) -> Result:
    judged, comparison = known[JUDGED], known[COMPARISON]
    seed, classes = context.seed, context.model.classes
    layer, points = judged.features["layer"].rows, known[MAPS].result()
    flags, standing = flags_of(study, judged), _standing(study, judged)
    sliced = known[SLICED]
    groups = [context.manifest.sample(name).group for name in judged.ids]
    few = groups if 1 < len(set(groups)) <= GROUPS_SHOWN else None
    pictures = {**judged.measured.pictures, **known[SLICE_PICTURES]}
    spoilt_rows, spoilt_pictures = pictures_of(known[KEPT_PICTURES])
    return Result(
        study="bottleneck",
        findings=ranked(
            findings(study, standing, flags, [*sliced.slices, *sliced.searched], known[SHIFTED])
        ),
        tables={
            "standing": tables.standing_table(standing),
            "flags": tables.flag_table(flags, study.budget),
            "curve": tables.curve_table(flags),
            **selective_tables(flags.scores, 1 - judged.quality, judged.sampling),
            "calibration": tables.calibration_table(judged),
            "coverage": tables.coverage_table(judged, few),
            "shift": known[SHIFTED],
            "spoilt": Table(spoilt_rows, ("kind", "sample", "picture")),
            "slices": tables.slice_table(sliced.slices, judged, pictures),
            "searched": tables.slice_table(sliced.searched, judged, pictures),
            "enrichment": tables.enrichment_table(
                sliced.cluster, sliced.values, judged.sampling.groups
            ),
            "classes": tables.class_table(judged, classes, seed),
            "presence": tables.presence_table(judged.presence, classes),
            "maps": Table(quality_of(layer[known[SHOWN]], points)),
            "images": tables.image_table(judged, flags, sliced.cluster, groups, pictures),
            "mapped": tables.mapped_table(judged, known[SHOWN], points, sliced.cluster),
            "saliency": local_maps.table(comparison, classes),
        },
        arrays={
            **judged.predictor.to_arrays(),
            **{safe_key(f"map-{name}"): each for name, each in points.items()},
            "pooled": judged.measured.pooled[judged.rows],
            "confidence": judged.measured.confidence[judged.rows],
        },
        images={tables.picture_key(i): pictures[i] for i in judged.ids if i in pictures}
        | spoilt_pictures
        | local_maps.pictures(comparison),
        skipped=studied.left_out(
            context,
            judged.ids,
            "holds no studied class: no overlap is defined",
            no_labels="no mask",
        ),
        notes=_notes(study, context, judged, flags, comparison),
    )


def _standing(study: Bottleneck, judged: Judged) -> list[Standing]:
    """Each feature set against the mean, which is predicted in the same folds, and confidence."""
    mean = crossed(
        replace(search_of(study), regressors=("mean",)),
        judged.features["confidence"],
        judged.quality,
        judged.fold_groups,
        study.folds,
        study.repeats,
    )
    return standings(judged.fitted, mean.predicted, judged.quality, judged.sampling, study.seed)


def flags_of(study: Bottleneck, judged: Judged) -> Flagging:
    """Flags of each feature set, against those of the confidence that was fitted like the layer.

    A gain over the network's mean largest probability, nothing fitted, would be that of fitting as
    much as that of the layer.
    """
    scores = {
        "raw": judged.largest[None],
        **{name: one.predicted for name, one in judged.fitted.items()},
    }
    return flagging(
        scores,
        judged.quality,
        judged.sampling,
        below=study.failure,
        budget=study.budget,
        reference="confidence",
    )


def _notes(
    study: Bottleneck, context: Context, judged: Judged, flags: Flagging, comparison: Comparison
) -> dict[str, Any]:
    folded = len(np.unique(judged.fold_groups))
    return studied.notes(
        context,
        judged.ids,
        judged.sampling.groups,
        judged.sampling.of.removesuffix("s"),
        comparison,
        layer=context.layer,
        class_colours=noted(context.manifest, context.model.classes),
        classes=[context.model.classes[c] for c in judged.class_ids],
        fold_groups=folded,
        by_group=len(np.unique(judged.predictor.calibration.group)) == judged.sampling.n,
        quality=study.quality,
        mean_quality=float(judged.quality.mean()),
        limit=flags.limit,
        failed=int(flags.failed.sum()),
        budget=study.budget,
        coverage=study.coverage,
        gate=gate.share(folded, study.gate),
        deploy=study.deploy,
        folds=study.folds,
        repeats=study.repeats,
    )
