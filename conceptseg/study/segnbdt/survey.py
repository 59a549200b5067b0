"""First sweep: a few pixels' logits of each image, by which trees are made and compared."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from conceptseg.data.batch import batches
from conceptseg.data.draw import sample_priority
from conceptseg.engine.contract import Carry, Context, Pass, State
from conceptseg.errors import InputError
from conceptseg.stats.mergeable.sample_table import SampleTable
from conceptseg.study.segnbdt.head import Head, find_head

if TYPE_CHECKING:
    from torch import Tensor

    from conceptseg.data.batch import Batch
    from conceptseg.data.manifest import Sample
    from conceptseg.study.segnbdt.config import Segnbdt

FEWEST = 4


@dataclass(frozen=True)
class Survey(Pass):
    """One forward per image; of each kept image the logits, labels and features of a few pixels."""

    study: Segnbdt
    _heads: dict[int, Head | None] = field(default_factory=dict, compare=False, repr=False)

    name = "survey"
    cost = "1 forward per image"
    labels = "optional"

    def samples(self, context: Context, carry: Carry) -> Sequence[Sample]:
        """All; here, before any pass, networks without a head that is needed are refused."""
        self.head(context)
        return context.manifest.samples

    def head(self, context: Context) -> Head | None:
        """The network's last layer, None where there is none and none is needed."""
        import torch

        if id(context) not in self._heads:
            first = context.manifest.samples[:1]
            batch = next(iter(batches(context.manifest, first, 1, context.run.device, False)))
            found = find_head(context.model, batch.images, self.study.head)
            needed = self.study.hierarchy in ("weights", "features") or self.study.tune == "head"
            if found is None and needed:
                with torch.no_grad():  # logits that are no numbers are nobody's output
                    context.model.check_finite(context.model(batch.images), batch.ids)
                what = "tune: head" if self.study.tune == "head" else "hierarchy"
                raise InputError(
                    f"{what}: no layer of {context.model.name!r} puts out its logits (a query or "
                    "multi-branch head?); take hierarchy: confusion or given, or name a layer by "
                    "head"
                )
            self._heads[id(context)] = found
        return self._heads[id(context)]

    def map(self, context: Context, batch: Batch, carry: Carry) -> State:
        import torch

        head = self.head(context)
        with torch.no_grad():
            logits, features = _with_features(context, batch.images, head)
        context.model.check_finite(logits, batch.ids)
        table = SampleTable.empty(self.study.kept_images)
        for i, sample_id in enumerate(batch.ids):
            labels = None if batch.labels is None else batch.labels[i]
            one = SampleTable.of(
                sample_id,
                self._tables(
                    logits[i], labels, None if features is None else features[i], sample_id, context
                ),
                priority=sample_priority(context.seed, sample_id),
                classes=[0],
                capacity=self.study.kept_images,
            )
            table = table.merge(one)
        return {"kept": table}

    def _tables(
        self,
        logits: Tensor,
        labels: Tensor | None,
        features: Tensor | None,
        sample_id: str,
        context: Context,
    ) -> dict[str, np.ndarray]:
        height, width = logits.shape[1:]
        seed = sample_priority(context.seed, sample_id) % 2**63
        rng = np.random.default_rng([seed, 1])
        count = min(self.study.kept_pixels, height * width)
        places = np.sort(rng.choice(height * width, count, replace=False))
        drawn = logits.flatten(1)[:, places].T.float().cpu().numpy()
        truth = np.full(count, -1, np.int64)
        if labels is not None:
            truth = labels.flatten()[places].cpu().numpy()
        found = {"logits": drawn, "truth": truth.astype(np.int32)}
        if features is not None:
            rows = (places // width * features.shape[1] // height) * features.shape[2]
            cells = rows + places % width * features.shape[2] // width
            own = features.flatten(1)[:, cells].T.double().cpu().numpy()
            reference = np.where(truth >= 0, truth, drawn.argmax(1))
            sums = np.zeros((drawn.shape[1], own.shape[1]))
            np.add.at(sums, reference, own)
            counts = np.bincount(reference, minlength=drawn.shape[1])
            found |= {"sums": sums[None], "counts": counts[None]}
        return found

    def finish(self, context: Context, state: State, carry: Carry) -> Carry:
        from conceptseg.study.segnbdt.grown import make_plan

        table = state["kept"]
        assert isinstance(table, SampleTable)
        return {"plan": make_plan(self.study, context, table, self.head(context))}


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
