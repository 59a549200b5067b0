"""A further sweep of ACE, for layers so narrow that random directions hold part of a concept."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from conceptseg.data.batch import Batch
from conceptseg.data.manifest import Sample
from conceptseg.engine.contract import Context, Pass
from conceptseg.engine.known import Key, Known
from conceptseg.stats.mergeable.sample_table import SampleTable
from conceptseg.study.ace.assess import JUDGED, TESTED, Pair
from conceptseg.study.ace.config import Ace
from conceptseg.study.ace.discovery import DISCOVERY, Direction, Discovery
from conceptseg.study.ace.erase import ERASURES, erased
from conceptseg.study.shared.edits import Change, Editable, rare
from conceptseg.study.shared.verdicts import verdict

APART = Key("apart", SampleTable)
MOST = 12
"""Concepts that are tried, those first without which a class loses most."""
LEAST_LEFT = 1e-3
"""Of a random direction's length; what is left of one that is the concept is rounding."""


def shared(pairs: Sequence[Pair]) -> list[int]:
    """The concepts of pairs that pass all but this: too many random directions cost as much."""
    found = [pair for pair in pairs if pair.shown and not rare(pair.p_random)]
    found.sort(key=lambda pair: (pair.loss.value, pair.class_id, pair.concept))
    return list(dict.fromkeys(pair.concept for pair in found))[:MOST]


def without(discovery: Discovery, concept: int) -> list[Direction]:
    """The random directions r less what they share with a concept's v: r - (r . v) v, of length 1.

    In a wide layer that changes next to nothing: two random directions of u units share 1 / u of
    their squares. In one of six units a concept that is most of what varies there is also most of
    many a random direction, whose loss is then the concept's own, and tells nothing of what else
    the layer holds. What is absent is the mean over all segments.
    """
    v = discovery.concepts[concept].direction.vector
    mean = discovery.place.mean(0, dtype=np.float64)
    rests = [one.vector - (one.vector @ v) * v for one in discovery.null_directions]
    long = [(rest, float(np.linalg.norm(rest))) for rest in rests]
    units = [rest / length for rest, length in long if length > LEAST_LEFT]
    return [Direction(unit, float(mean @ unit)) for unit in units]


@dataclass(frozen=True)
class Apart(Pass):
    """IoU of each class without what random directions have beside a concept, [q, z, k] an image.

    None of the q is erased where one in twenty plain random directions, or fewer, cost as much.
    By itself this question is lenient: of 24 concepts of random segments in a layer of six units 3
    cost more than 19 of 20 such rests. It is put only to concepts whose score was shown, and that
    test's correction carries the level.
    """

    study: Ace

    name = "apart"
    cost = "1 forward + 1 tail per random direction, for each concept that these hold a part of"
    labels = "optional"

    def samples(self, context: Context, known: Known) -> Sequence[Sample]:
        return context.manifest.named(known[ERASURES].ids if shared(known[TESTED]) else ())

    def forwards(self, context: Context) -> float:
        """None: few layers are so narrow, and it is not known before."""
        return 0.0

    def map(self, context: Context, batch: Batch, known: Known) -> Known:
        discovery, concepts = known[DISCOVERY], shared(known[TESTED])
        with torch.no_grad():
            layer = Editable.of(context, batch.images, batch.labels)
            activation = layer.tail.activation
            rows = [
                torch.stack(
                    [layer.iou(erased(activation, one)) for one in without(discovery, q)], 1
                )
                for q in concepts
            ]
        each = {f"concept {q}": row.cpu().numpy() for q, row in zip(concepts, rows, strict=True)}
        return APART(SampleTable.batch(batch.ids, each))


def tell_apart(study: Ace, context: Context, known: Known) -> Known:
    """All pairs, those judged again whose concept random directions hold a part of."""
    table, erasures = known.get(APART, SampleTable.empty()), known[ERASURES]
    pairs, concepts = known[TESTED], shared(known[TESTED])
    rows = [erasures.ids.index(name) for name in table.ids]
    sampling = known[DISCOVERY].sampling.named(table.ids)
    judged = []
    for pair in pairs:
        if rows and pair.concept in concepts and pair.shown and not rare(pair.p_random):
            clean = erasures.clean[rows, pair.class_id]
            random = table.column(f"concept {pair.concept}")[:, :, pair.class_id]
            edited = erasures.concept[rows, pair.concept, pair.class_id] - clean
            change = Change(edited, random - clean[:, None], clean, sampling)
            used = change.rare
            pair = replace(
                pair,
                p_apart=change.p_random,
                apart_loss=float(change.random.mean(1).mean()) if change.random.size else np.nan,
                used=used,
                verdict=verdict(pair.test, pair.to_lose, used=used),
            )
        judged.append(pair)
    return JUDGED(tuple(judged))
