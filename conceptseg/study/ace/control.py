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
from conceptseg.study.ace.discovery import DISCOVERY, Discovery
from conceptseg.study.ace.embed import embedded
from conceptseg.study.ace.gradients import class_gradients
from conceptseg.study.ace.pool import Pool
from conceptseg.study.ace.tcav import Tester

CONTROL = Key("control", SampleTable)
SHUFFLED = Key("shuffled", SegmentationModel)
COUNTS: Key[dict[str, int]] = Key("control's counts", dict)


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
        return [sample for sample in context.manifest.samples if sample.id in wanted]

    def forwards(self, context: Context) -> float:
        """Two, a tail forth and back for each class, taken for a pass, and perhaps the crops."""
        images = min(len(context.manifest.samples), self.study.control_images)
        crops = sum(self.study.scales) if self.study.embedding == "crops" else 0
        return images * (2.0 + len(self.study.class_ids(context)) + crops)

    @contextmanager
    def open(self, context: Context, known: Known) -> Iterator[Known]:
        yield SHUFFLED(shuffled(context.model, context.seed))

    def map(self, context: Context, batch: Batch, known: Known) -> Known:
        discovery = known[DISCOVERY]
        with torch.no_grad():
            logits = context.model(batch.images)
        model = known[SHUFFLED]
        tail = Tail.of(model, batch.images, context.layer, graph=True)
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
    """How many pairs of class and concept are significant, of either network."""
    discovery = known[DISCOVERY]
    table = known.get(CONTROL, SampleTable.empty())
    images = np.array([discovery.position[name] for name in table.ids], dtype=np.int64)
    rows = np.flatnonzero(np.isin(discovery.image, images))
    owner = np.searchsorted(images, discovery.image[rows])
    counts = {"trained": 0, "shuffled": 0, "pairs": 0}
    for class_id, holders in discovery.class_images.items():
        both = np.isin(holders, images)
        if both.sum() < study.min_images or class_id not in discovery.gradients:
            continue
        holds = table.column("class") == class_id
        shuffled_gradient = table.column("gradient")[holds]
        cases = {
            "trained": (discovery.embedding[rows], discovery.gradients[class_id][both]),
            "shuffled": (table.column("embedding"), shuffled_gradient),
        }
        tag = discovery.tag(class_id)[rows]
        for case, (embedding, gradient) in cases.items():
            pool = Pool.of(embedding, owner, tag)
            tester = Tester(pool, gradient[:, 0], gradient[:, 1])
            p = _p_values(study, discovery, rows, owner, tester, context.seed, class_id)
            counts[case] += int((holm(p) <= ALPHA).sum()) if p else 0
        counts["pairs"] += len(p)
    return COUNTS({**counts, "images": len(images)})


def _p_values(
    study: Ace,
    discovery: Discovery,
    rows: np.ndarray,
    owner: np.ndarray,
    tester: Tester,
    seed: int,
    class_id: int,
) -> list[float]:
    """P-values of all concepts that the control's images hold enough of."""
    result = []
    for q, concept in enumerate(discovery.concepts):
        here = np.flatnonzero(np.isin(rows, concept.members))
        order = {row: i for i, row in enumerate(concept.members)}
        here = here[np.argsort([order[row] for row in rows[here]], kind="stable")]
        core = core_of(here, owner, study.segments_per_concept, study.segments_per_image)
        if len(core) >= 5:
            rng = np.random.default_rng([seed, 6, class_id, q])
            result.append(tester.test(core, study.nulls, rng).p_effect)
    return result
