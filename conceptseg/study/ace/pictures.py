"""Third sweep of ACE: pictures of the segments that the report shows, and how they look alone."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from conceptseg.concepts.segments import Segments
from conceptseg.data.batch import Batch
from conceptseg.data.manifest import Sample
from conceptseg.engine.beside import Beside
from conceptseg.engine.contract import Context, Pass
from conceptseg.engine.known import Key, Known
from conceptseg.report.thumbnails import outline, photo
from conceptseg.stats.apart import apart
from conceptseg.stats.mergeable.sample_table import SampleTable
from conceptseg.study.ace.config import Ace
from conceptseg.study.ace.discovery import DISCOVERY, Concept, Discovery
from conceptseg.study.ace.embed import crop_embeddings
from conceptseg.study.ace.plane import FEW


@dataclass(frozen=True)
class Shown:
    """`photos` by sample id; `outlines` (SVG paths) and `isolation` by row of the pool."""

    photos: dict[str, bytes]
    outlines: dict[int, str]
    isolation: dict[int, float]


PICTURES = Key("pictures", SampleTable)
SHOWN = Key("shown", Shown)
MAP = Key("map", Beside)


def warm_map(study: Ace, context: Context, known: Known) -> Known:
    """Set going, beside the passes, the process that will lay out the map of segments."""
    enough = study.map_segments > FEW
    return MAP(Beside("conceptseg.study.ace.plane", str(context.seed), warm=enough))


def lay_out_map(study: Ace, context: Context, known: Known) -> Known:
    """Give that process the segments; nobody waits."""
    discovery = known[DISCOVERY]
    return MAP(known[MAP].give(discovery.embedding[shown_rows(study, discovery)]))


@dataclass(frozen=True)
class Pictures(Pass):
    """Photos of the images that are shown, outlines of segments, and exemplars in isolation."""

    study: Ace

    name = "pictures"
    cost = "1 encoder pass per exemplar, none if all segments are embedded by their crops"
    labels = "none"

    def samples(self, context: Context, known: Known) -> Sequence[Sample]:
        discovery = known[DISCOVERY]
        rows = np.concatenate(
            [shown_rows(self.study, discovery), exemplar_rows(self.study, discovery)]
        )
        wanted = {discovery.ids[i] for i in np.unique(discovery.image[rows])}
        return context.manifest.named(wanted)

    def forwards(self, context: Context) -> float:
        """One per exemplar, for as many concepts as are tried at most."""
        if self.study.embedding == "crops":
            return 0.0
        return float(self.study.exemplars * max(getattr(self.study.concepts, "counts", (25,))))

    def map(self, context: Context, batch: Batch, known: Known) -> Known:
        study, discovery, tables = self.study, known[DISCOVERY], {}
        exemplars = exemplar_rows(study, discovery)
        rows = np.union1d(shown_rows(study, discovery), exemplars)
        for i, sample_id in enumerate(batch.ids):
            image = batch.images[i].float().cpu().numpy()
            segments = discovery.segments(sample_id)
            mine = rows[discovery.image[rows] == discovery.position[sample_id]]
            paths = [outline(segments.mask(int(discovery.number[row]))).encode() for row in mine]
            tested = np.intersect1d(mine, exemplars)
            tables[sample_id] = {
                "photo": np.frombuffer(photo(image, study.picture_px), dtype=np.uint8),
                "row": mine,
                "outline": np.frombuffer(b"".join(paths), dtype=np.uint8),
                "outline_size": np.array([len(path) for path in paths], dtype=np.int64),
                "exemplar": tested,
                "isolation": self._isolation(context, batch.images[i], segments, discovery, tested),
            }
        return PICTURES(SampleTable.each(tables))

    def _isolation(
        self,
        context: Context,
        image: Tensor,
        segments: Segments,
        discovery: Discovery,
        rows: np.ndarray,
    ) -> np.ndarray:
        """Cosine of each segment's pooled embedding with that of its crop, float32 [rows]."""
        alone, pooled = discovery.embedding[rows], discovery.place[rows]
        if self.study.embedding == "pooled" and len(rows):
            numbers = discovery.number[rows]
            alone = crop_embeddings(
                context.model, image, segments, numbers, context.levels, context.run.batch_size
            )
        scale = np.linalg.norm(alone, axis=1) * np.linalg.norm(pooled, axis=1)
        return ((alone * pooled).sum(1) / np.maximum(scale, 1e-12)).astype(np.float32)

    def finish(self, context: Context, state: Known, known: Known) -> Known:
        shown = Shown({}, {}, {})
        for sample_id, one in state.get(PICTURES, SampleTable.empty()).tables.items():
            shown.photos[sample_id] = one["photo"].tobytes()
            shown.isolation.update(
                zip(one["exemplar"].tolist(), one["isolation"].tolist(), strict=True)
            )
            parts = np.split(one["outline"], np.cumsum(one["outline_size"]))
            texts = [part.tobytes().decode() for part in parts]
            # What lies behind the last outline is empty.
            shown.outlines.update(zip(one["row"].tolist(), texts, strict=False))
        return SHOWN(shown)


def exemplars(study: Ace, discovery: Discovery, concept: Concept) -> np.ndarray:
    """Rows of the segments that stand for a concept: its nearest, one per group where possible,
    then one per image."""
    image = discovery.image[concept.core]
    group = np.array(discovery.sampling.groups, np.str_)[image]
    return np.asarray(concept.core[apart(group, image)][: study.exemplars])


def exemplar_rows(study: Ace, discovery: Discovery) -> np.ndarray:
    rows = [exemplars(study, discovery, concept) for concept in discovery.concepts]
    return np.unique(np.concatenate([*rows, np.zeros(0, dtype=np.int64)]))


def shown_rows(study: Ace, discovery: Discovery) -> np.ndarray:
    """Rows of the segments that the map shows, drawn by hash from images drawn by hash."""
    drawn = discovery.first_by_hash(range(len(discovery.ids)), study.seed, study.map_images)
    rows = np.flatnonzero(np.isin(discovery.image, [discovery.position[name] for name in drawn]))
    rng = np.random.default_rng([study.seed, 5])
    return np.sort(rng.choice(rows, size=min(study.map_segments, len(rows)), replace=False))
