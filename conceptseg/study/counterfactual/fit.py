"""The pass that fits a generator which learns, and refuses one that draws other things."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from conceptseg.data.batch import Batch
from conceptseg.data.manifest import Sample
from conceptseg.engine.contract import Context, Pass
from conceptseg.engine.known import Key, Known
from conceptseg.errors import InputError
from conceptseg.explain.generate import Subject
from conceptseg.explain.scene import Scene
from conceptseg.network.label_map import label_map
from conceptseg.study.counterfactual.config import Counterfactual
from conceptseg.study.counterfactual.survey import PLAN

FITTED: Key[dict[str, Tensor]] = Key("generator fitted", dict)
TRIED = 24
"""Cases on which a learnt generator is tried: means of twelve were 0.91 to 0.99."""


@dataclass(frozen=True)
class Fit(Pass):
    """A generator that learns is fitted to the images; of others nothing is read."""

    study: Counterfactual

    name = "fit"
    cost = "none of the network; the generator's own"

    def samples(self, context: Context, known: Known) -> Sequence[Sample]:
        return ()

    def forwards(self, context: Context) -> float:
        return 0.0

    def map(self, context: Context, batch: Batch, known: Known) -> Known:
        return Known()

    def finish(self, context: Context, state: Known, known: Known) -> Known:
        study = self.study
        if not study.editor.fitted:
            return FITTED({})
        edited = {name for name, *_ in known[PLAN].cases}
        manifest = context.manifest
        others = [s for s in manifest.samples if s.id not in edited][: study.reference]
        images = [torch.from_numpy(manifest.image(sample)) for sample in others]
        if len({tuple(one.shape) for one in images}) != 1 or len(images) < 2:
            raise InputError(
                f"{manifest.where}: generator: {study.editor.about.family} ones are fitted to "
                f"images of one size that are not edited themselves, and there are {len(images)} "
                "of these; give more images, or take generator: layers"
            )
        device = context.run.device
        made = study.editor.fit([one.to(device) for one in images], context.seed)
        self._check(context, known, made)
        return FITTED(made)

    def _check(self, context: Context, known: Known, made: dict[str, Tensor]) -> None:
        """Refuse a generator that draws images in which the network sees something else."""
        found, study = list[float](), self.study
        for name, was, _ in known[PLAN].cases[:TRIED]:
            pixels = torch.from_numpy(context.manifest.image(context.manifest.sample(name)))
            image = pixels[None].to(context.run.device)
            drawn = study.editor.encode(Subject(image, {}), made).recovered()
            if drawn is None:
                return
            scene = Scene(context.model, image)
            before = label_map(scene.logits[0]) == was
            after = label_map(scene.forward(drawn)[0]) == was
            found.append(float(2 * (before & after).sum() / (before.sum() + after.sum())))
        if (mean := float(np.mean(found))) < study.recovered:
            raise InputError(
                "generator: on what it recovers of images, predictions keep a Dice of "
                f"{mean:.2f}, below recovered: {study.recovered:g}; edits of what it cannot draw "
                "mean nothing: fit it longer, or take generator: layers"
            )
