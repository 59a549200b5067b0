"""Control sweep of ACE: the same test on the network with its weights shuffled."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch

from conceptseg.data.batch import Batch
from conceptseg.data.manifest import Sample
from conceptseg.engine.contract import Context, Pass
from conceptseg.engine.known import Key, Known
from conceptseg.network.model import SegmentationModel
from conceptseg.network.record import Tail
from conceptseg.network.shuffle import shuffled
from conceptseg.stats.corrections import holm
from conceptseg.stats.intervals import ALPHA
from conceptseg.stats.mergeable.sample_table import SampleTable
from conceptseg.study.ace.clusters import core_of
from conceptseg.study.ace.config import Ace
from conceptseg.study.ace.discovery import DISCOVERY, Concept
from conceptseg.study.ace.embed import embedded
from conceptseg.study.ace.gradients import class_gradients
from conceptseg.study.ace.pool import Pool
from conceptseg.study.ace.tcav import Tester

CONTROL = Key("control", SampleTable)
SHUFFLED = Key("shuffled", SegmentationModel)
COUNTS: Key[dict[str, int | None]] = Key("control's counts", dict)


@dataclass(frozen=True)
class Control(Pass):
    """How many pairs of class and concept are significant once the network has learnt nothing.

    The entries of each weight tensor are permuted, which keeps their distribution; targets are
    those of the trained network. The trained network is tested on the same few images, so that
    the two counts can be compared.

    Source: Adebayo et al. 2018, "Sanity checks for saliency maps", section 3.
    """

    study: Ace

    name = "control"
    cost = (
        "2 forwards + 1 tail backward per class, on a few images; with embedding: crops also 1 "
        "encoder pass per segment"
    )
    labels = "optional"

    def samples(self, context: Context, known: Known) -> Sequence[Sample]:
        discovery, most = known[DISCOVERY], self.study.control_images
        wanted = discovery.first_by_hash(range(len(discovery.ids)), context.seed, most)
        return context.manifest.named(wanted)

    def forwards(self, context: Context) -> float:
        """Two, a tail forth and back for each class, taken for a pass, and perhaps the crops."""
        images = min(len(context.manifest.samples), self.study.control_images)
        crops = self.study.expected_segments if self.study.embedding == "crops" else 0
        return images * (2.0 + len(self.study.class_ids(context)) + crops)

    @contextmanager
    def open(self, context: Context, known: Known) -> Iterator[Known]:
        yield SHUFFLED(shuffled(context.model, context.seed))

    def map(self, context: Context, batch: Batch, known: Known) -> Known:
        discovery = known[DISCOVERY]
        with torch.no_grad():
            logits = context.model(batch.images)
        model = known[SHUFFLED]
        tail = Tail.of(model, batch.images, context.levels, graph=True)
        classes, target = tuple(discovery.class_images), self.study.target
        gradients = class_gradients(tail, classes, target, (), batch.labels, logits)
        tables = {}
        for i, sample_id in enumerate(batch.ids):
            segments = discovery.segments(sample_id)
            activation = tail.activation[i].detach()
            rows = embedded(self.study, context, model, batch.images[i], segments, activation)
            tables[sample_id] = {
                "embedding": rows["embedding"],
                "class": np.array(gradients[i].classes, dtype=np.int64),
                "gradient": gradients[i].local.cpu().numpy(),
            }
        return CONTROL(SampleTable.each(tables))


def count_control(study: Ace, context: Context, known: Known) -> Known:
    """How many pairs of class and concept are significant, of either network.

    None of the shuffled one where it puts out NaN or infinity: it was not tested.
    """
    discovery = known[DISCOVERY]
    table = known.get(CONTROL, SampleTable.empty())
    images = np.array([discovery.position[name] for name in table.ids], dtype=np.int64)
    rows = np.flatnonzero(np.isin(discovery.image, images))
    owner = np.searchsorted(images, discovery.image[rows])
    cores = [_core(study, concept, rows, owner) for concept in discovery.concepts]
    able = [(q, core) for q, core in enumerate(cores) if len(core) >= 5]
    counts: dict[str, int] = {"trained": 0, "shuffled": 0, "pairs": 0, "images": len(images)}
    measured = not table.ids or all(
        np.isfinite(table.column(name)).all() for name in ("embedding", "gradient")
    )
    for class_id, holders in discovery.class_images.items():
        both = np.isin(holders, images)
        if both.sum() < study.min_images or class_id not in discovery.gradients:
            continue
        holds = table.column("class") == class_id
        cases = {
            "trained": (discovery.embedding[rows], discovery.gradients[class_id][both]),
            "shuffled": (table.column("embedding"), table.column("gradient")[holds]),
        }
        tag = discovery.tag(class_id)[rows]
        for case, (embedding, gradient) in cases.items():
            if case == "shuffled" and not measured:
                continue
            tester = Tester(Pool.of(embedding, owner, tag), gradient[:, 0], gradient[:, 1])
            p = [
                tester.test(
                    core, study.nulls, np.random.default_rng([context.seed, 6, class_id, q])
                ).p_effect
                for q, core in able
            ]
            counts[case] += int((holm(p) <= ALPHA).sum()) if p else 0
        counts["pairs"] += len(able)
    return COUNTS({**counts, "shuffled": counts["shuffled"] if measured else None})


def _core(study: Ace, concept: Concept, rows: np.ndarray, owner: np.ndarray) -> np.ndarray:
    """The segments that stand for a concept among the control's, as places in their `rows`."""
    place = {row: i for i, row in enumerate(rows.tolist())}
    here = np.array([place[row] for row in concept.members.tolist() if row in place], np.int64)
    return core_of(here, owner, study.segments_per_concept, study.segments_per_image)
