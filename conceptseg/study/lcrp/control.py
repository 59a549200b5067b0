"""Fourth sweep of L-CRP: context scores of networks of shuffled weights, and what rules keep."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from conceptseg.engine.contract import Carry, Context, State
from conceptseg.explain.lrp.engine import retained
from conceptseg.explain.lrp.parts import channel
from conceptseg.stats.mergeable.sample_table import SampleTable
from conceptseg.study.lcrp.choose import Chosen
from conceptseg.study.lcrp.engines import (
    Sweep,
    context_score,
    enlarged,
    object_mask,
    regions,
    start_of,
)
from conceptseg.study.lcrp.ranks import (
    compared_images,
    compared_of,
    compared_regions,
    shuffled_relevance,
)
from conceptseg.study.lcrp.shuffles import Shuffles

if TYPE_CHECKING:
    from torch import Tensor

    from conceptseg.data.batch import Batch
    from conceptseg.data.manifest import Sample
    from conceptseg.study.lcrp.config import Lcrp

Ranked = dict[tuple[int, int], tuple[int, ...]]
"""By shuffled network and class, the channels that are looked at."""


class Control(Sweep):
    """Conditional maps of the channels that shuffled networks rely on, on a few images."""

    name = "control"
    cost = "per shuffled network 1 forward + about 1 backward per class and channel, per image"
    labels = "optional"

    def samples(self, context: Context, carry: Carry) -> Sequence[Sample]:
        chosen: Chosen = carry["chosen"]
        wanted = compared_images(self.study, chosen) | kept_images(self.study, chosen)
        return self._only(context, wanted)

    def forwards(self, context: Context) -> float:
        study, classes = self.study, len(self.study.class_ids(context))
        images = min(len(context.manifest.samples), study.shuffled_images)
        return study.shuffled_networks * classes * images * (3.0 + 1.2 * study.concepts)

    def map(self, context: Context, batch: Batch, carry: Carry) -> State:
        chosen: Chosen = carry["chosen"]
        keep = kept_images(self.study, chosen)
        table, kept = SampleTable.empty(), SampleTable.empty()
        for i, sample_id in enumerate(batch.ids):
            image = batch.images[i : i + 1]
            labels = None if batch.labels is None else batch.labels[i]
            where = compared_regions(self.study, context, chosen, sample_id, image)
            scores = self._scores(context, image, labels, where, carry["ranked"])
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
        ranked: Ranked,
    ) -> dict[str, np.ndarray]:
        """Context score by network, class and channel; nan where a map has no positive part."""
        layer, found = context.layer, {}
        size = (int(image.shape[2]), int(image.shape[3]))
        for number in range(self.study.shuffled_networks if where else 0):
            run = self._engines.shuffled(context, image, number).run(image, [layer])
            for class_id, region in where.items():
                units = ranked.get((number, class_id), ())
                mask = object_mask(labels, class_id, region)
                relevance = shuffled_relevance(run, region, class_id, layer)
                if float(relevance.double().sum()) <= 0:
                    continue
                maps = run.each(layer, (channel(relevance, k) for k in units), self.study.at_once)
                for k, one in zip(units, maps, strict=True):
                    there = float(one.clamp(min=0).sum()) > 0
                    score = float(context_score(enlarged(one, size), mask)[0]) if there else np.nan
                    found[number, class_id, k] = score
        return {
            "key": np.array(list(found), np.int64).reshape(-1, 3),
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
        return {"control": _shuffles(self.study, carry, table), "kept": Kept.of(kept)}


def _shuffles(study: Lcrp, carry: Carry, table: SampleTable) -> Shuffles:
    """The sweep's table by network and class, [channels, images]."""
    chosen: Chosen = carry["chosen"]
    ranked: Ranked = carry["ranked"]
    known = {
        (sample_id, *key): score
        for sample_id in table.ids
        for key, score in zip(
            table.tables[sample_id]["key"].tolist(),
            table.tables[sample_id]["context"].tolist(),
            strict=True,
        )
    }
    images = {c: compared_of(study, chosen, c) for c in chosen.classes}
    scores = {
        (number, c): np.array(
            [[known.get((s, number, c, k), np.nan) for s in images[c]] for k in units], np.float64
        )
        for (number, c), units in ranked.items()
        if units
    }
    return Shuffles(scores, images)


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
