"""Fourth sweep of L-CRP: context scores of networks of shuffled weights, and what rules keep."""

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from conceptseg.engine.contract import Context
from conceptseg.engine.known import Key, Known
from conceptseg.explain.grids import grid_energy
from conceptseg.explain.lrp.flow import Amount
from conceptseg.explain.lrp.parts import channel
from conceptseg.network.label_map import label_map
from conceptseg.stats.mergeable.sample_table import SampleTable, Tables
from conceptseg.study.lcrp.choose import CHOSEN_PAIRS, Chosen
from conceptseg.study.lcrp.engines import (
    ENGINES,
    TWINS,
    context_score,
    enlarged,
    object_mask,
    regions,
    start_of,
)
from conceptseg.study.lcrp.maps import on_masks
from conceptseg.study.lcrp.ranks import (
    RANKED,
    TwinSweep,
    compared_images,
    compared_of,
    compared_regions,
    shuffled_relevance,
    shuffled_start,
)
from conceptseg.study.lcrp.shuffles import SHUFFLES, Shuffles
from conceptseg.study.shared.sweep import One
from conceptseg.study.shared.user_masks import MASKS, shown


@dataclass(frozen=True)
class Kept:
    """Relevance by module, summed over a few images: `rows` of name, received and handed on, and
    the same two in absolute amounts; `given` at the logits, `reached` the image, `at_layer` through
    the layer, each signed and absolute. Of the images the largest: `inner`, the absolute relevance
    that any operation, of `module`, handed on, over that of the logits; `silent`, the share of a
    rectifier's on silent units; `grid`, that of the map's energy at a grid's frequencies. Norms,
    folded ones. `unplaced`: modules whose rules are not known to be those of their place.
    """

    rows: tuple[tuple[str, float, float, float, float], ...]
    given: float
    given_absolute: float
    reached: float
    reached_absolute: float
    at_layer: float
    at_layer_absolute: float
    inner: float
    module: str
    silent: float
    grid: float
    norms: int
    folded: int
    images: int
    unplaced: tuple[str, ...]

    @classmethod
    def of(cls, table: SampleTable) -> "Kept":
        sums: dict[str, np.ndarray] = {}
        for one in table.tables.values():
            for name, pair in zip(one["names"].tolist(), one["flow"], strict=True):
                sums[name] = sums.get(name, np.zeros(4)) + pair
        tables = list(table.tables.values())
        whole = np.concatenate([np.zeros((0, 11)), *(one["whole"] for one in tables)])
        amounts = whole[:, :6].sum(0).tolist()
        inner, silent, grid, norms, folded = whole[:, 6:].max(0, initial=0).tolist()
        return cls(
            rows=tuple((name, *pair.tolist()) for name, pair in sums.items()),
            given=amounts[0],
            given_absolute=amounts[1],
            reached=amounts[2],
            reached_absolute=amounts[3],
            at_layer=amounts[4],
            at_layer_absolute=amounts[5],
            inner=inner,
            module=next(
                (str(t["worst"][0]) for t in tables if (t["whole"][:, 6] == inner).any()), ""
            ),
            silent=silent,
            grid=grid,
            norms=int(norms),
            folded=int(folded),
            images=len(whole),
            unplaced=tuple(dict.fromkeys(name for t in tables for name in t["unplaced"].tolist())),
        )


KEPT = Key("kept", Kept)


@dataclass(frozen=True)
class Control(TwinSweep):
    """Conditional maps of the channels that shuffled networks rely on, on a few images."""

    name = "control"
    cost = "per shuffled network 1 forward + about 1 backward per class and channel, per image"
    labels = "optional"
    rows = Key("control scores", SampleTable)

    def wanted(self, known: Known) -> Collection[str]:
        chosen = known[CHOSEN_PAIRS]
        followed = kept_images(self.study.conserve_images, chosen)
        return compared_images(self.study, chosen) | followed

    def forwards(self, context: Context) -> float:
        study, classes = self.study, len(self.study.class_ids(context))
        images = min(len(context.manifest.samples), study.shuffled_images)
        return study.shuffled_networks * classes * images * (3.0 + 1.2 * study.concepts)

    def look(self, context: Context, one: One, known: Known) -> Tables:
        """Context score by network, class and channel; nan where a map has no positive part."""
        chosen, layer = known[CHOSEN_PAIRS], context.layer
        where = compared_regions(self.study, context, chosen, one)
        scores, on = {}, {}
        masks = torch.from_numpy(shown(known[MASKS], one.id, one.size)).to(one.image.device)
        for number in range(self.study.shuffled_networks if where else 0):
            if (twin := known[TWINS](number)) is None:
                continue
            run = twin.run(one.image, [layer])
            for class_id, region in where.items():
                units = known[RANKED].get((number, class_id), ())
                mask = object_mask(one.labels, class_id, region)
                relevance = shuffled_relevance(run, region, class_id, layer)
                if float(relevance.double().sum()) <= 0:
                    continue
                if len(masks):
                    whole = run.at_input(shuffled_start(run, region, class_id))
                    whole = whole * whole.double().sum().sign().to(whole)
                    on[number, class_id] = on_masks(enlarged(whole, one.size)[0], masks)
                maps = run.each(layer, (channel(relevance, k) for k in units), self.study.at_once)
                for k, small in zip(units, maps, strict=True):
                    scores[number, class_id, k] = _score(enlarged(small, one.size), mask)
        kept = one.id in kept_images(self.study.conserve_images, chosen)
        return {
            "key": np.array(list(scores), np.int64).reshape(-1, 3),
            "context": np.array(list(scores.values()), np.float64),
            "masked": np.array(list(on), np.int64).reshape(-1, 2),
            "on": np.array(list(on.values()), np.float64).reshape(len(on), len(masks)),
            **(self._kept(context, one, known) if kept else NOT_KEPT),
        }

    def _kept(self, context: Context, one: One, known: Known) -> Tables:
        """What each module received and handed on, for the image's largest class."""
        engine = known[ENGINES].of()
        run = engine.run(one.image, [context.layer])
        where = regions(label_map(run.logits)[0], known[CHOSEN_PAIRS].classes)
        class_id = max(where, key=lambda c: int(where[c].sum()))
        start = start_of(self.study, run, where[class_id], class_id)
        (at_layer,) = run.at_layers(start, [context.layer])
        (found, flow), canonical = run.followed(start), engine.canonical
        amounts = [flow.given, flow.reached, Amount.of(at_layer)]
        grid, _ = grid_energy(found[0], canonical.graph.periods())
        rows = [
            [m.received.signed, m.passed.signed, m.received.absolute, m.passed.absolute]
            for m in flow.modules
        ]
        whole = [
            *(part for one in amounts for part in (one.signed, one.absolute)),
            *(flow.inner_growth, flow.silent[0], grid, canonical.norms, canonical.folded),
        ]
        return {
            "names": np.array([one.name for one in flow.modules], np.str_),
            "flow": np.array(rows, np.float64).reshape(-1, 4),
            "whole": np.array([whole], np.float64),
            "worst": np.array([flow.worst[0]], np.str_),
            "unplaced": np.array(flow.unplaced, np.str_),
        }

    def gathered(self, table: SampleTable, known: Known) -> Known:
        """The scores by network and class, [channels, images]."""
        chosen = known[CHOSEN_PAIRS]
        score_of = {
            (sample_id, *key): score
            for sample_id, one in table.tables.items()
            for key, score in zip(one["key"].tolist(), one["context"].tolist(), strict=True)
        }
        images = {c: compared_of(self.study, chosen, c) for c in chosen.classes}
        scores = {
            (number, c): np.array(
                [[score_of.get((s, number, c, k), np.nan) for s in images[c]] for k in units],
                np.float64,
            )
            for (number, c), units in known[RANKED].items()
            if units
        }
        on = _on_masks(table, images, len(known[MASKS]))
        return SHUFFLES(Shuffles(scores, images)) | ON_MASKS(on) | KEPT(Kept.of(table))


ON_MASKS = Key("shares on masks of shuffled networks", Shuffles)
"""Of whole maps: what stands for a class there is a class's number times the masks, plus a mask's,
with one channel."""


def _on_masks(table: SampleTable, images: dict[int, tuple[str, ...]], masks: int) -> Shuffles:
    share_of = {
        (sample_id, *key): row
        for sample_id, one in table.tables.items()
        for key, row in zip(one["masked"].tolist(), one["on"], strict=True)
    }
    nothing = np.full(masks, np.nan)
    scores: dict[tuple[int, int], np.ndarray] = {}
    for number, c in sorted({key[1:] for key in share_of}):
        own = np.array([share_of.get((s, number, c), nothing) for s in images[c]]).T
        scores |= {(number, c * masks + q): own[q : q + 1] for q in range(masks)}
    return Shuffles(scores, {c * masks + q: images[c] for c in images for q in range(masks)})


NOT_KEPT: Tables = {
    "names": np.zeros(0, np.str_),
    "flow": np.zeros((0, 4)),
    "whole": np.zeros((0, 11)),
    "worst": np.zeros(0, np.str_),
    "unplaced": np.zeros(0, np.str_),
}


def _score(found: Tensor, mask: Tensor) -> float:
    """The context score of a map [1, h, w], nan without a positive part."""
    return float(context_score(found, mask)[0]) if float(found.clamp(min=0).sum()) > 0 else np.nan


def kept_images(count: int, chosen: Chosen) -> set[str]:
    """So many images on which the rules are judged, over the classes in turn."""
    found: list[str] = []
    for turn in range(count):
        for class_id in chosen.classes:
            mine = chosen.images[class_id]
            if turn < len(mine) and mine[turn] not in found:
                found.append(mine[turn])
    return set(found[:count])
