"""Third sweep of L-CRP: context scores of a network of shuffled weights, and what rules keep."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from conceptseg.contracts import Carry, Context, State
from conceptseg.lcrp.choose import Chosen
from conceptseg.lcrp.engines import (
    Sweep,
    context_score,
    enlarged,
    object_mask,
    predict,
    regions,
    start_of,
)
from conceptseg.lrp.engine import channel, retained
from conceptseg.lrp.start import relevance_of_logits
from conceptseg.stats.sample_table import SampleTable

if TYPE_CHECKING:
    from torch import Tensor

    from conceptseg.data import Batch, Sample
    from conceptseg.study.lcrp import Lcrp

CHANNELS = 5
"""Of the shuffled network, the most relevant channels of an image and class that are scored."""


class Control(Sweep):
    """Of the images drawn at random, the shuffled network's most relevant channels."""

    name = "control"
    cost = "1 forward + 5 backwards per class, per image drawn at random"
    labels = "optional"

    def samples(self, context: Context, carry: Carry) -> Sequence[Sample]:
        chosen: Chosen = carry["chosen"]
        wanted = {s for c in chosen.classes for s in chosen.drawn(c, self.study.random_images)}
        wanted |= kept_images(self.study, chosen)
        return self._only(context, wanted)

    def forwards(self, context: Context) -> float:
        classes = len(self.study.class_ids(context))
        images = min(len(context.manifest.samples), self.study.random_images)
        return classes * images * (3.0 + 1.2 * CHANNELS)

    def map(self, context: Context, batch: Batch, carry: Carry) -> State:
        chosen: Chosen = carry["chosen"]
        keep = kept_images(self.study, chosen)
        table, kept = SampleTable.empty(), SampleTable.empty()
        for i, sample_id in enumerate(batch.ids):
            image = batch.images[i : i + 1]
            labels = None if batch.labels is None else batch.labels[i]
            mine = [
                c for c in chosen.classes if sample_id in chosen.drawn(c, self.study.random_images)
            ]
            where = regions(predict(context, image)[0], tuple(mine))
            scores = self._scores(context, image, labels, where)
            table = table.merge(SampleTable.of(sample_id, scores))
            if sample_id in keep:
                kept = kept.merge(SampleTable.of(sample_id, self._kept(context, image, chosen)))
        return {"control": table, "kept": kept}

    def _scores(
        self,
        context: Context,
        image: Tensor,
        labels: Tensor | None,
        where: dict[int, Tensor],
    ) -> dict[str, np.ndarray]:
        """Mean context score, per class, of the channels that the shuffled network relies on."""
        layer, study = context.layer, self.study
        found: dict[int, float] = {}
        if where:
            run = self._engines.shuffled(context, image).run(image, [layer])
            size = (int(image.shape[2]), int(image.shape[3]))
        for class_id, region in where.items():
            mask = object_mask(labels, class_id, region)
            # Logits of shuffled weights mean nothing, not even by their sign.
            start = relevance_of_logits(run.logits, region, class_id, "one")
            (relevance,) = run.at_layers(start, [layer])
            held = relevance.sum((0, 2, 3))
            best = held.topk(min(CHANNELS, len(held))).indices.tolist()
            maps = run.each(layer, (channel(relevance, k) for k in best), study.at_once)
            scored = [
                (float(context_score(enlarged(one, size), mask)[0]), float(one.clamp(min=0).sum()))
                for one in maps
            ]
            # A channel whose map has no positive part has no context score.
            scores = [score for score, mass in scored if mass > 0]
            if scores:
                found[class_id] = float(np.mean(scores))
        return {
            "class": np.array(list(found), np.int64),
            "context": np.array(list(found.values()), np.float64),
        }

    def _kept(self, context: Context, image: Tensor, chosen: Chosen) -> dict[str, np.ndarray]:
        """What each module received and handed on, for the image's largest class."""
        engine = self._engines.of(context, image)
        run = engine.run(image, [context.layer])
        where = regions(run.logits.detach().argmax(1)[0], chosen.classes)
        class_id = max(where, key=lambda c: int(where[c].sum()))
        start = start_of(self.study, run, where[class_id], class_id)
        (at_layer,) = run.at_layers(start, [context.layer])
        told = retained(run, start)
        return {
            "names": np.frombuffer(
                "\n".join(name for name, _, _ in told.modules).encode(), np.uint8
            ).copy(),
            "received": np.array([r for _, r, _ in told.modules]),
            "passed": np.array([p for _, _, p in told.modules]),
            "whole": np.array([told.given, told.reached, float(at_layer.sum())]),
            "norms": np.array([engine.canonical.norms, engine.canonical.folded]),
        }

    def finish(self, context: Context, state: State, carry: Carry) -> Carry:
        table = state.get("control", SampleTable.empty())
        kept = state.get("kept", SampleTable.empty())
        assert isinstance(table, SampleTable) and isinstance(kept, SampleTable)
        scores = {
            (s, int(c)): float(v)
            for s in table.ids
            for c, v in zip(table.tables[s]["class"], table.tables[s]["context"], strict=True)
        }
        return {"control": scores, "kept": Kept.of(kept)}


@dataclass(frozen=True)
class Kept:
    """Relevance by module, summed over a few images: `rows` of name, received and handed on;
    `given` at the logits, `reached` the image, `at_layer` through the layer; norms, folded ones."""

    rows: tuple[tuple[str, float, float], ...]
    given: float
    reached: float
    at_layer: float
    norms: int
    folded: int
    images: int

    @classmethod
    def of(cls, table: SampleTable) -> Kept:
        received: dict[str, float] = {}
        passed: dict[str, float] = {}
        whole, norms = np.zeros(3), np.zeros(2)
        for sample_id in table.ids:
            one: Any = table.tables[sample_id]
            names = bytes(one["names"]).decode().split("\n")
            for name, r, p in zip(names, one["received"], one["passed"], strict=True):
                received[name] = received.get(name, 0.0) + float(r)
                passed[name] = passed.get(name, 0.0) + float(p)
            whole, norms = whole + one["whole"], one["norms"]
        rows = tuple((name, received[name], passed[name]) for name in received)
        given, reached, at_layer = (float(v) for v in whole)
        return cls(rows, given, reached, at_layer, int(norms[0]), int(norms[1]), len(table.ids))


def kept_images(study: Lcrp, chosen: Chosen) -> set[str]:
    """The images whose relevance is followed module by module, over the classes in turn."""
    found: list[str] = []
    for turn in range(study.conserve_images):
        for class_id in chosen.classes:
            mine = chosen.images[class_id]
            if turn < len(mine) and mine[turn] not in found:
                found.append(mine[turn])
    return set(found[: study.conserve_images])
