"""What a sweep sees of a batch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from conceptseg.engine.contract import Context
from conceptseg.network.record import Recorder, encode
from conceptseg.study.dissect.pilot import check_activation

if TYPE_CHECKING:
    from torch import Tensor

    from conceptseg.data.batch import Batch


def observe(context: Context, batch: Batch, predicts: bool) -> tuple[Tensor, Tensor | None]:
    """The layer's maps [n, u, y, x] and, where it is wanted, the predicted classes [n, h, w]."""
    if not predicts:
        activation = encode(context.model, batch.images, context.layer)
        check_activation(activation, batch.ids, context.layer)
        return activation, None
    with Recorder(context.model, [context.layer]) as recorder:
        logits = recorder(batch.images)
    assert logits is not None
    context.model.check_finite(logits, batch.ids)
    activation = recorder.activations[context.layer]
    check_activation(activation, batch.ids, context.layer)
    return activation, logits.argmax(1)
