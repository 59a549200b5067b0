"""Fourth sweep: the real images that excite each feature most, and where in them it responds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from conceptseg.data.batch import Batch
from conceptseg.data.manifest import Sample
from conceptseg.engine.contract import Context, Pass
from conceptseg.engine.known import Key, Known
from conceptseg.network.label_map import class_areas, label_map
from conceptseg.report.thumbnails import outline, photo
from conceptseg.stats.mergeable.sample_table import SampleTable
from conceptseg.study.actmax.config import Actmax
from conceptseg.study.actmax.embeddings import SPACES, observe, pooled
from conceptseg.study.actmax.survey import SURVEY, Survey

OUTLINED = 0.5
"""A feature's region in an image: where its response is above this part of its largest there."""


@dataclass(frozen=True)
class Real:
    """`photos` by sample id, `outlines` by feature (its place) and sample id; for each of m pairs
    the place of its `feature` in the pool [m] and what `embeddings` say of it, [m, d] each.
    `cover` [k] is the share of its image that each class is predicted on, by sample id.
    """

    photos: Mapping[str, bytes]
    outlines: Mapping[tuple[int, str], str]
    feature: np.ndarray
    embeddings: Mapping[str, np.ndarray]
    cover: Mapping[str, np.ndarray]


REAL, OBSERVED = Key("real", Real), Key("real images", SampleTable)


@dataclass(frozen=True)
class Exemplars(Pass):
    """A forward and two encoder passes, one of them of the shuffled network, for each image."""

    study: Actmax

    name = "exemplars"
    cost = "3 passes for each image that excites some unit most"

    def samples(self, context: Context, known: Known) -> Sequence[Sample]:
        survey = known[SURVEY]
        wanted = set(_shows(survey))
        return context.manifest.named(wanted)

    def forwards(self, context: Context) -> float:
        pairs = max(self.study.most, self.study.compared) * self.study.exemplars
        return 3.0 * min(pairs, len(context.manifest.samples))

    def map(self, context: Context, batch: Batch, known: Known) -> Known:
        survey = known[SURVEY]
        shows = _shows(survey)
        table = SampleTable.empty()
        pictured, classes = len(survey.objective.ids), len(context.model.classes)
        with torch.no_grad():
            predicted = label_map(context.model(batch.images))
            seen = observe(known[SPACES], context, survey.pool, batch.images)
            source = seen.pop("")
            areas = class_areas(predicted, classes) / predicted[0].numel()
            cover = areas.astype(np.float32)
            for i, sample_id in enumerate(batch.ids):
                features = shows[sample_id]
                ids = [survey.pool.ids[f] for f in features]
                maps = survey.pool.responses(source[i : i + 1], ids)[0]
                drawn = [k for k, f in enumerate(features) if f < pictured]
                paths = [_region(maps[k], batch.images.shape[-2:]) for k in drawn]
                image = batch.images[i].float().cpu().numpy()
                picture = photo(image, self.study.picture_px) if drawn else b""
                one: dict[str, np.ndarray] = {
                    "feature": np.array(features, dtype=np.int64),
                    "drawn": np.array([features[k] for k in drawn], dtype=np.int64),
                    "photo": np.frombuffer(picture, dtype=np.uint8),
                    "outline": np.array(paths, dtype=np.str_),
                    "cover": cover[i],
                    **{name: pooled(rows[i : i + 1], maps) for name, rows in seen.items()},
                }
                table = table.merge(SampleTable.of(sample_id, one))
        return OBSERVED(table)

    def finish(self, context: Context, state: Known, known: Known) -> Known:
        table = state[OBSERVED]
        each = table.tables
        names = [key for key in ("earlier", "forgot") if key in each[table.ids[0]]]
        outlines = {
            (feature, sample_id): path
            for sample_id, one in each.items()
            for feature, path in zip(one["drawn"].tolist(), one["outline"].tolist(), strict=True)
        }
        real = Real(
            {i: one["photo"].tobytes() for i, one in each.items() if one["drawn"].size},
            outlines,
            table.column("feature"),
            {name: table.column(name) for name in names},
            {sample_id: one["cover"] for sample_id, one in each.items()},
        )
        return REAL(real)


def _region(response: Tensor, size: Sequence[int]) -> str:
    """The outline of where one map [y, x] is high, on the image's pixels."""
    fine = F.interpolate(response[None, None], tuple(size), mode="bilinear", align_corners=False)
    values = fine[0, 0].cpu().numpy()
    # Half way from the lowest to the highest, so that it also serves for log-odds.
    low = min(0.0, float(values.min()))
    return outline(values > low + OUTLINED * (float(values.max()) - low))


def _shows(survey: Survey) -> dict[str, list[int]]:
    """Of each image that excites some feature most, the places of these features in the pool."""
    result: dict[str, list[int]] = {}
    for feature in range(len(survey.pool.ids)):
        for sample_id, _ in survey.exemplars(feature):
            result.setdefault(sample_id, []).append(feature)
    return result
