"""How many images go through the network at once, by the memory that one of them takes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from conceptseg.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

    from conceptseg.network.model import SegmentationModel

ROOM = 2**30
"""Bytes of activations that a batch may hold in main memory."""
SHARE = 0.4
"""Share of a CUDA device's free memory that a batch may hold: as much again is in passing."""
MOST, MOST_ON_DEVICE = 8, 32
"""Images at once, at most: on a CPU more of them are hardly faster."""


def batch_size(model: SegmentationModel, image: Tensor) -> int:
    """Images [1, c, h, w] that may go through the network at once where nobody has said.

    As many as keep their activations, with the graph that gradients need, within `ROOM`, or within
    a share of what is free on a CUDA device; at least 1.
    """
    import torch

    try:
        each = activation_bytes(model, image)
    except InputError:
        return MOST  # what is wrong with the network is told where it is examined
    if image.device.type != "cuda":
        return max(1, min(MOST, ROOM // max(each, 1)))
    free, _ = torch.cuda.mem_get_info(image.device)
    return max(1, min(MOST_ON_DEVICE, int(SHARE * free) // max(each, 1)))


def activation_bytes(model: SegmentationModel, image: Tensor) -> int:
    """Bytes that a pass of an image [1, c, h, w] keeps for its gradient, weights not counted.

    Storages are counted once, whatever keeps them; by tensors, and so the same on every machine.
    """
    import torch

    weights = {
        tensor.untyped_storage().data_ptr() for tensor in (*model.parameters(), *model.buffers())
    }
    held: dict[int, Tensor] = {}  # as long as one is held its address is nobody else's

    def keep(tensor: Tensor) -> Tensor:
        place = tensor.untyped_storage().data_ptr()
        if place not in weights:
            held.setdefault(place, tensor.detach())
        return tensor

    with torch.inference_mode(False), torch.enable_grad():
        entered = image.detach().clone().requires_grad_()
        model.settle(entered)
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            model(entered)
    return sum(tensor.untyped_storage().nbytes() for tensor in held.values())
