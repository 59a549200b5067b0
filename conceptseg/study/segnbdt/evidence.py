"""Third sweep: what in the image a node's decision rests on, and what it loses without it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor

from conceptseg.data.batch import Batch
from conceptseg.data.draw import sample_priority
from conceptseg.data.manifest import Sample
from conceptseg.engine.contract import Context, Pass
from conceptseg.engine.known import Key, Known
from conceptseg.explain.fill import filling
from conceptseg.explain.methods import attempted, explainers
from conceptseg.explain.scene import Scene
from conceptseg.network.label_map import label_map
from conceptseg.report.thumbnails import outlined, overlay, photo, shared_limit
from conceptseg.stats.mergeable.sample_table import SampleTable
from conceptseg.study.segnbdt.config import Segnbdt
from conceptseg.study.segnbdt.grown import GROWN
from conceptseg.study.segnbdt.judge import JUDGED
from conceptseg.study.segnbdt.parts import moved_margins
from conceptseg.study.segnbdt.rules import Rules, entropy
from conceptseg.study.segnbdt.target import Decision, decision
from conceptseg.study.segnbdt.views import chosen_images, view
from conceptseg.study.shared.user_masks import MASKS
from conceptseg.study.shared.user_masks import shown as shown_in

NAN = float("nan")
CONTEXT, CONCEPTS = -1, -2
"""Stand, among the parts that are removed, for the known context, and for the user's concepts: the
first is -2, the second -3."""
SHOWN = 8
"""Classes that an image is taken to show, where the cost is estimated."""
ROUNDING = 1e-6
"""Share of the largest logit that the evidence of a whole map must exceed to be more than what
rounding leaves where a decision depends on nothing."""
EVIDENCE, VIEWS = Key("evidence", SampleTable), Key("views", SampleTable)


@dataclass(frozen=True)
class Evidence(Pass):
    """Per image: evidence maps of the decisions taken in it; margins with parts of it removed."""

    study: Segnbdt

    name = "evidence"
    cost = (
        "per image 1 forward, an explanation per decision, a forward per removed part and control"
    )
    labels = "optional"
    keeps = True

    def samples(self, context: Context, known: Known) -> Sequence[Sample]:
        study, judged = self.study, known[JUDGED]
        wanted = {
            *counted_images(study, judged.ids),
            *chosen_images(study, judged, known[GROWN].tree.classes),
        }
        return context.manifest.named(wanted)

    def forwards(self, context: Context) -> float:
        """An explanation taken for eight passes, of images that show :data:`SHOWN` classes."""
        study, k = self.study, len(context.model.classes)
        images = min(study.evidence_images + study.inspected, len(context.manifest.samples))
        decisions, parts = self.decisions(context), min(k, SHOWN, study.most_parts)
        each = 8 * len(study.evidence) + 1 + study.controls * (1 + parts)
        return images * (1 + decisions * each + parts)

    def decisions(self, context: Context) -> int:
        """Of an image that shows :data:`SHOWN` classes, about how many are explained."""
        k = len(context.model.classes)
        taken = math.ceil(min(k, SHOWN) * math.log2(k))
        return min(2 * (k - 1), taken, self.study.most_decisions)

    def map(self, context: Context, batch: Batch, known: Known) -> Known:
        tree = known[GROWN].tree
        shown = chosen_images(self.study, known[JUDGED], tree.classes)
        tables, views = {}, {}
        for i, sample_id in enumerate(batch.ids):
            image = batch.images[i : i + 1]
            scene = Scene(context.model, image, batch_size=context.run.batch_size)
            rules = Rules(tree, scene.logits)
            concepts = shown_in(known[MASKS], sample_id, scene.size)
            tables[sample_id] = self._image(context, scene, sample_id, rules, concepts)
            if sample_id in shown:
                given = batch.labels
                labels = torch.full(image.shape[2:], -1) if given is None else given[i]
                taken = photo(image[0].float().cpu().numpy(), self.study.picture_px)
                views[sample_id] = view(self.study, rules, scene.logits, labels)
                views[sample_id]["photo"] = np.frombuffer(taken, np.uint8)
        return EVIDENCE(SampleTable.each(tables)) | VIEWS(SampleTable.each(views))

    def _image(
        self,
        context: Context,
        scene: Scene,
        sample_id: str,
        rules: Rules,
        concepts: np.ndarray,
    ) -> dict[str, np.ndarray]:
        study, tree, hard = self.study, rules.tree, rules.hard(scene.logits)[0]
        counts = np.bincount(hard.flatten().cpu().numpy(), minlength=tree.classes)
        least = max(1.0, study.min_region_fraction * hard.numel())
        taken = np.flatnonzero(counts @ tree.paths >= least)  # by enough pixels
        edges = drawn(taken, study.most_decisions, context.seed, sample_id, 3)
        leaves = torch.from_numpy(tree.paths > 0).to(hard.device)
        masks = [leaves[:, edge][hard] for edge in edges]
        targets = [decision(tree, edge, m[None]) for edge, m in zip(edges, masks, strict=True)]
        methods = explainers(context.suiting(study.evidence), context.layer) if edges else {}
        made = [attempted(method, scene, targets)[0] for method in methods.values()]
        maps = [one[:, 0].float().cpu().numpy() for one in made]
        pictures = self._pictures(scene, rules, edges, masks, maps)
        parts = self._parts(context, scene, sample_id, concepts)
        shown = maps[0] if edges else ()
        return {
            "edge": np.array(edges, np.int64),
            "pixels": np.array([int(mask.sum()) for mask in masks], np.int64),
            "picture": np.frombuffer(b"".join(pictures), np.uint8),
            "picture_size": np.array([len(p) for p in pictures], np.int64),
            **self._removed(context, scene, sample_id, edges, targets, shown, parts),
        }

    def _pictures(
        self,
        scene: Scene,
        rules: Rules,
        edges: Sequence[int],
        masks: Sequence[Tensor],
        maps: Sequence[np.ndarray],
    ) -> list[bytes]:
        """Of each edge: the pixels that take it, its node's doubt, and each method's map."""
        side, array = self.study.picture_px, scene.images[0].float().cpu().numpy()
        doubts = doubt(rules, scene.logits)[0].cpu().numpy()
        pictures: list[bytes] = []
        for number, (edge, mask) in enumerate(zip(edges, masks, strict=True)):
            region = mask.cpu().numpy()
            own = doubts[rules.tree.edges[edge][0]]
            pictures.append(outlined(array, region, side))
            pictures.append(overlay(array, own, 0, 1, scale="cividis", mask=region, side=side))
            for one in maps:
                bound = shared_limit([one[number]])
                pictures.append(overlay(array, one[number], -bound, bound, mask=region, side=side))
        return pictures

    def _removed(
        self,
        context: Context,
        scene: Scene,
        sample_id: str,
        edges: Sequence[int],
        targets: Sequence[Decision],
        maps: np.ndarray | tuple[()],
        parts: Sequence[tuple[int, Tensor]],
    ) -> dict[str, np.ndarray]:
        """`margin` [e] of each target, and its changes: `removed` [e, 1 + controls] without the
        evidence of its map and without the same shape elsewhere; `part` [p] the parts' numbers and
        `parts` [p, 2, e] what :func:`moved_margins` says of them."""
        study = self.study
        fill = filling(context.model, scene.images, study.fill)
        # Each decision has draws of its own: they must not depend on which others have evidence.
        key = [sample_priority(context.seed, sample_id) % 2**63, 2]
        rngs = [np.random.default_rng([*key, edge]) for edge in edges]
        least = ROUNDING * float((scene.logits - scene.logits.mean(1, keepdim=True)).abs().max())
        fixed = [target.on(scene.logits) for target in targets]
        margins = np.array([float(target(scene.logits)[0]) for target in fixed])
        removed = np.full((len(fixed), 1 + study.controls), NAN)
        for own, target, margin, one, rng in zip(removed, fixed, margins, maps, rngs, strict=True):
            if one.clip(min=0).sum() > least:
                top = torch.from_numpy(strongest(one, study.removed_share))
                masks = [top, *(moved(top, rng) for _ in range(study.controls))]
                own[:] = [float(target(z[None])[0]) for z in logits_without(scene, fill, masks)]
                own -= margin
        without = partial(logits_without, scene, fill)
        last = rngs[-1] if rngs else np.random.default_rng(key)
        rows = moved_margins(without, scene.logits, fixed, parts, study.controls, last)
        numbers = np.array([part for part, _ in parts], np.int64)
        return {"margin": margins, "removed": removed, "part": numbers, "parts": rows}

    def _parts(
        self, context: Context, scene: Scene, sample_id: str, concepts: np.ndarray
    ) -> list[tuple[int, Tensor]]:
        """The predicted region of each class, the context that the data set knows to matter, and
        the user's concepts, bool [q, h, w]."""
        predicted = label_map(scene.logits[0])
        least = max(1.0, self.study.min_region_fraction * predicted.numel())
        counts = np.bincount(predicted.flatten().cpu().numpy(), minlength=scene.logits.shape[1])
        large = np.flatnonzero(counts >= least)
        shown = drawn(large, self.study.most_parts, context.seed, sample_id, 4)
        parts = [(c, predicted == c) for c in shown]
        known = context.manifest.context(context.manifest.sample(sample_id))
        if known is not None:
            parts.append((CONTEXT, torch.from_numpy(np.asarray(known, bool))))
        own = enumerate(torch.from_numpy(concepts))
        parts += [(CONCEPTS - q, mask) for q, mask in own if int(mask.sum()) >= least]
        return parts


def counted_images(study: Segnbdt, ids: Sequence[str]) -> list[str]:
    """The images over which means are taken: those of lowest hash.

    Images that are looked at because much is wrong in them have evidence, too, but no part in
    means: they are no sample of the data.
    """
    return sorted(ids, key=lambda i: sample_priority(study.seed, i))[: study.evidence_images]


def drawn(numbers: np.ndarray, most: int, seed: int, sample_id: str, kind: int) -> list[int]:
    """The numbers in their order; where there are more than `most`, so many of them, by hash."""
    if len(numbers) > most:
        rng = np.random.default_rng([sample_priority(seed, sample_id) % 2**63, kind])
        numbers = np.sort(rng.choice(numbers, most, replace=False))
    return [int(number) for number in numbers]


def doubt(rules: Rules, logits: Tensor) -> Tensor:
    """Entropy of each node's decision at each pixel, as a share of the largest: [n, nodes, h, w]
    in [0, 1], from logits [n, k, h, w]."""
    nats = entropy(rules.log_edges(rules.scores(logits)), rules.tree)
    most = torch.tensor([np.log(len(node.branches)) for node in rules.tree.nodes]).to(nats)
    shares = nats / most[:, None]
    return shares.clamp(0, 1).view(len(logits), -1, *logits.shape[2:])


def strongest(attribution: np.ndarray, share: float) -> np.ndarray:
    """Booleans [h, w]: that share of the pixels with the largest positive attribution."""
    top = np.zeros(attribution.shape, bool)
    count = max(1, round(share * attribution.size))
    top.flat[np.argsort(-attribution.ravel(), kind="stable")[:count]] = True
    return top & (attribution > 0)


def moved(mask: Tensor, rng: np.random.Generator) -> Tensor:
    """The same shape at another place: rolled around the image by a random distance."""
    down, right = (int(rng.integers(1, max(2, side))) for side in mask.shape)
    return torch.roll(mask, (down, right), (0, 1))


def logits_without(scene: Scene, fill: Tensor, masks: list[Tensor]) -> Tensor:
    """Logits [m, k, h, w] with each of m masks [h, w] filled."""
    stacked = torch.stack([m.to(scene.images.device) for m in masks])[:, None]
    return scene.forward(torch.where(stacked, fill, scene.images))
