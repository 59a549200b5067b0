"""First sweep: a few pixels' logits of each image, by which trees are made and compared."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from conceptseg.data.batch import Batch
from conceptseg.data.draw import sample_priority
from conceptseg.engine.contract import Context, Pass
from conceptseg.engine.known import Key, Known
from conceptseg.stats.mergeable.sample_table import SampleTable
from conceptseg.study.segnbdt.config import Segnbdt
from conceptseg.study.segnbdt.head import LAST, Head

KEPT = Key("kept", SampleTable)


@dataclass(frozen=True)
class Survey(Pass):
    """One forward per image; of each kept image the logits, labels and features of a few pixels."""

    study: Segnbdt

    name = "survey"
    cost = "1 forward per image"
    labels = "optional"

    def map(self, context: Context, batch: Batch, known: Known) -> Known:
        with torch.no_grad():
            logits, features = _with_features(context, batch.images, known.get(LAST))
        table = SampleTable.empty(self.study.kept_images)
        for i, sample_id in enumerate(batch.ids):
            truth = torch.full(logits.shape[2:], -1) if batch.labels is None else batch.labels[i]
            priority = sample_priority(context.seed, sample_id)
            one = SampleTable.of(
                sample_id,
                self._kept(logits[i], truth, None if features is None else features[i], priority),
                priority=priority,
                classes=[0],
                capacity=self.study.kept_images,
            )
            table = table.merge(one)
        return KEPT(table)

    def _kept(
        self, logits: Tensor, labels: Tensor, features: Tensor | None, priority: int
    ) -> dict[str, np.ndarray]:
        """Logits and labels of pixels drawn at random; sums of features [1, k, d] by class."""
        height, width = labels.shape
        rng = np.random.default_rng([priority % 2**63, 1])
        count = min(self.study.kept_pixels, height * width)
        places = np.sort(rng.choice(height * width, count, replace=False))
        drawn = logits.flatten(1)[:, places].T.float().cpu().numpy()
        truth = labels.flatten()[places].cpu().numpy()
        kept = {"logits": drawn, "truth": truth.astype(np.int32)}
        if features is not None:
            rows = (places // width * features.shape[1] // height) * features.shape[2]
            cells = rows + places % width * features.shape[2] // width
            own = features.flatten(1)[:, cells].T.double().cpu().numpy()
            reference = np.where(truth >= 0, truth, drawn.argmax(1))
            sums = np.zeros((drawn.shape[1], own.shape[1]))
            np.add.at(sums, reference, own)
            counts = np.bincount(reference, minlength=drawn.shape[1])
            kept |= {"sums": sums[None], "counts": counts[None]}
        return kept


def _with_features(
    context: Context, images: Tensor, head: Head | None
) -> tuple[Tensor, Tensor | None]:
    """Logits, and what enters the head where it is a map."""
    if head is None:
        return context.model(images), None
    seen: list[Tensor] = []
    module = context.model.module.get_submodule(head.name)
    hook = module.register_forward_pre_hook(lambda layer, args: seen.append(args[0].detach()))
    try:
        logits = context.model(images)
    finally:
        hook.remove()
    entered = seen[-1]
    usable = entered.dim() == 4 and entered.shape[0] == images.shape[0]
    return logits, entered if usable and entered.shape[1] == head.inputs else None
