"""What a sweep over all images sees of a batch: maps of live units, and what concepts lie where."""

import torch
from torch import Tensor

from conceptseg.data.batch import Batch
from conceptseg.engine.contract import Context
from conceptseg.network.record import Recorder, encode
from conceptseg.study.dissect.pilot import Plan, check_activation, count_grid
from conceptseg.study.dissect.sources import View, slot_maps


def observe(context: Context, batch: Batch, plan: Plan, label_px: int) -> tuple[Tensor, Tensor]:
    """Maps of live units [n, v, y, x], and slots int64 [g, n, *grid] on the grid of counting.

    The whole network is run only where a concept needs its prediction.
    """
    prediction = None
    with torch.no_grad():
        if plan.predicts:
            with Recorder(context.model, [context.layer]) as recorder:
                logits = recorder(batch.images)
            assert logits is not None
            context.model.check_finite(logits, batch.ids)
            activation, prediction = recorder.activations[context.layer], logits.argmax(1)
        else:
            activation = encode(context.model, batch.images, context.layer)
        check_activation(activation, batch.ids, context.layer)
        grid = count_grid(activation, batch.images, label_px)
        slots = slot_maps(plan.sources, View.of(batch, prediction), grid)
        return activation[:, torch.from_numpy(plan.live).to(activation.device)], slots
