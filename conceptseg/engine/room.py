"""How many images go through the network at once, by the memory that one of them takes."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from conceptseg.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

    from conceptseg.network.model import SegmentationModel

ROOM = 2**30
"""Bytes of activations that a batch may hold in main memory."""
SHARE = 0.4
"""Share of a CUDA device's free memory that a batch may hold: as much again is in passing."""
LARGE, PROBE = 2**21, 512
"""Pixels from which on an image is not run before its need is known, and the side of what tells."""
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


def check_image(model: SegmentationModel, image: Tensor) -> None:
    """Refuse an image [1, c, h, w] of which one pass would not fit into this machine's memory.

    Told from a pass of a part of it, before the whole is run: a process that asks for more than
    there is is ended from outside, without a word. Devices tell that by themselves.

    Raises :class:`~conceptseg.errors.InputError`.
    """
    height, width = image.shape[2:]
    scaled = model.preprocessing.size is not None
    if scaled or image.device.type == "cuda" or height * width <= LARGE:
        return
    part = image[:, :, :PROBE, :PROBE]
    try:
        each = activation_bytes(model, part) / (part.shape[2] * part.shape[3])
    except InputError:
        return  # it takes images of one size, or is in disorder, which is told elsewhere
    needed, free = each * height * width, available()
    if free is not None and needed > free:
        raise InputError(
            f"one pass of an image of {height} x {width} pixels would keep about "
            f"{needed / 2**30:.1f} GiB of activations, and {free / 2**30:.1f} GiB are free: cut "
            "the images into tiles, or have them scaled (model.preprocessing.size)"
        )


def available() -> int | None:
    """Bytes of main memory that this process may still take, where the system says so."""
    found = []
    with suppress(OSError, ValueError, StopIteration):
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        found.append(next(int(one.split()[1]) for one in lines if one.startswith("MemAvail")) << 10)
    with suppress(OSError, ValueError):  # in a container
        limit, used = (
            int(Path(f"/sys/fs/cgroup/memory.{name}").read_text(encoding="ascii"))
            for name in ("max", "current")
        )
        found.append(max(0, limit - used))
    return min(found, default=None)


def activation_bytes(model: SegmentationModel, image: Tensor) -> int:
    """Bytes that a pass of an image [1, c, h, w] keeps for its gradient, weights not counted.

    Storages are counted once, whatever keeps them; by tensors, and so the same on every machine.
    """
    import torch

    weights: set[int] = set()
    held: dict[int, Tensor] = {}  # as long as one is held its address is nobody else's

    def keep(tensor: Tensor) -> Tensor:
        place = tensor.untyped_storage().data_ptr()
        if place not in weights:
            held.setdefault(place, tensor.detach())
        return tensor

    with torch.inference_mode(False), torch.enable_grad():
        entered = image.detach().clone().requires_grad_()
        model.settle(entered)  # before weights are looked at: some are made in the first pass
        weights |= {
            tensor.untyped_storage().data_ptr()
            for tensor in (*model.parameters(), *model.buffers())
            if not torch.nn.parameter.is_lazy(tensor)
        }
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            model(entered)
    return sum(tensor.untyped_storage().nbytes() for tensor in held.values())
