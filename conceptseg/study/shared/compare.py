"""Local saliency maps on chosen images, shown beside any study's own result."""

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from conceptseg.catalogue import Choice
from conceptseg.engine.contract import Context, left_out
from conceptseg.engine.known import Key, Known
from conceptseg.engine.reading import first_images
from conceptseg.explain.contract import Explainer
from conceptseg.explain.methods import attempted, explainers
from conceptseg.explain.regions import Predicted
from conceptseg.explain.scene import Scene
from conceptseg.explain.target import FixedTarget, Target
from conceptseg.network.label_map import label_map
from conceptseg.report.thumbnails import outlined, overlay, shared_limit
from conceptseg.stats.mergeable.sample_table import SampleTable, Tables
from conceptseg.study.shared.sweep import One, Sweep

Chosen = tuple[tuple[str, int], ...]
"""Which images and classes are explained, as (sample id, class id)."""

CHOSEN: Key[Chosen] = Key("chosen to compare", tuple)
METHODS: Key[dict[str, Explainer]] = Key("methods", dict)
MAPS = Key("compare", SampleTable)


@dataclass(frozen=True)
class Comparison:
    """Maps [h, w] by method, in the order of `chosen`, and their pictures.

    `plain` are the images with the class's region outlined; all pictures of a method share the
    scale -`limit`..`limit` of that method.
    """

    chosen: tuple[tuple[str, int], ...]
    methods: tuple[str, ...]
    maps: dict[str, list[np.ndarray]]
    limits: dict[str, float]
    plain: list[bytes]
    pictures: dict[str, list[bytes]]

    @property
    def blank(self) -> dict[str, list[bool]]:
        """Whether each map is zero everywhere, by method."""
        return {method: [not one.any() for one in own] for method, own in self.maps.items()}

    @classmethod
    def of(
        cls,
        chosen: Chosen,
        maps: dict[str, list[np.ndarray]],
        images: Sequence[np.ndarray],
        regions: Sequence[np.ndarray],
        side: int,
    ) -> "Comparison":
        """Draw the maps on images [c, h, w] in colour, with regions [h, w] outlined."""
        limits = {method: shared_limit(own) for method, own in maps.items()}
        plain = [outlined(image, mask, side) for image, mask in zip(images, regions, strict=True)]
        pictures = {
            method: [
                overlay(image, one, -limits[method], limits[method], mask=mask, side=side)
                for image, one, mask in zip(images, own, regions, strict=True)
            ]
            for method, own in maps.items()
        }
        return cls(chosen, tuple(maps), maps, limits, plain, pictures)


def passes_of(context: Context, entries: Sequence[Choice]) -> dict[str, float]:
    """About how many passes a map takes of each method that suits, by label: on the first image."""
    scene = Scene(context.model, first_images(context.manifest, context.run)[:1])
    methods = explainers(context.suiting(entries), context.single)
    return {label: method.passes(scene) for label, method in methods.items()}


def score_of(logits: Tensor) -> Tensor:
    """What a method reads in each pass, of logits [n, k, h, w]: a score in a quarter of the image.

    Of hundreds of classes that may take as long as the pass itself.
    """
    n, _, h, w = logits.shape
    mask = torch.zeros((n, h, w), dtype=torch.bool, device=logits.device)
    mask[:, : (h + 1) // 2, : (w + 1) // 2] = True
    return FixedTarget(0, mask, "probability")(logits)


COMPARISON = Key("comparison", Comparison)


@dataclass(frozen=True)
class Compare(Sweep):
    """Each method that suits the network on each image and class that `CHOSEN` names.

    One that fails on any of these images is left out.
    """

    entries: tuple[Choice, ...]
    picture_px: int = 256

    name = "compare"
    cost = "each method's own passes, on a few images"
    labels = "none"
    rows = MAPS

    def wanted(self, known: Known) -> Collection[str]:
        return {sample_id for sample_id, _ in known[CHOSEN]}

    def forwards(self, context: Context) -> float:
        """Of a few images, each method by the passes of one map."""
        return 4.0 * (1 + sum(passes_of(context, self.entries).values()))

    def beside(self, context: Context, logits: Tensor) -> object:
        return score_of(logits)

    @contextmanager
    def open(self, context: Context, known: Known) -> Iterator[Known]:
        yield METHODS(explainers(context.suiting(self.entries), context.single))

    def look(self, context: Context, one: One, known: Known) -> Tables:
        scene = Scene(context.model, one.image, batch_size=context.run.batch_size)
        classes = [c for s, c in known[CHOSEN] if s == one.id]
        targets = [Target(c, Predicted(c)) for c in classes]
        made = [attempted(each, scene, targets) for each in known[METHODS].values()]
        return {
            "image": one.image[0].float().cpu().numpy(),
            "class": np.array(classes, dtype=np.int64),
            **{f"map-{number}": maps[:, 0].cpu().numpy() for number, (maps, _) in enumerate(made)},
            "failed": np.array([why or "" for _, why in made], np.str_),
            "prediction": label_map(scene.logits)[0].cpu().numpy().astype(np.int32),
        }

    def gathered(self, table: SampleTable, known: Known) -> Known:
        chosen, methods = known[CHOSEN], known[METHODS]
        labels = tuple(methods)
        failed = [
            {"kind": "method", "method": label, "sample": sample_id, "reason": why}
            for sample_id in table.ids
            for label, why in zip(labels, table.tables[sample_id]["failed"].tolist(), strict=True)
            if why
        ]
        bad = {row["method"] for row in failed}
        maps: dict[str, list[np.ndarray]] = {name: [] for name in labels if name not in bad}
        masks = []
        for sample_id, class_id in chosen:
            one = table.tables[sample_id]
            masks.append(one["prediction"] == class_id)
            row = int(np.flatnonzero(one["class"] == class_id)[0])
            for name, own in maps.items():
                own.append(one[f"map-{labels.index(name)}"][row])
        images = [table.tables[sample_id]["image"] for sample_id, _ in chosen]
        made = Comparison.of(chosen, maps, images, masks, self.picture_px)
        return COMPARISON(made) | left_out(self.name)(tuple(failed))
