"""Which layers are looked at, in the order in which they run."""

import numpy as np
import torch

from conceptseg.config import Layers
from conceptseg.engine.contract import Context
from conceptseg.errors import InputError
from conceptseg.network.layers import LayerInfo


def chosen(context: Context, wanted: Layers, most: int) -> tuple[str, ...]:
    """The wanted layers, or stages of the network, as many as `most` allows; in running order.

    Stages: starting from the outermost modules with a spatial map, the one that holds the most
    parameters is replaced by its own parts while the parts have maps and there is room.
    """
    first = context.manifest.samples[0]
    image = torch.from_numpy(context.manifest.image(first))[None].to(context.run.device)
    infos = [info for info in context.model.layers(image) if info.spatial]
    if wanted == "auto":
        return context.levels.names
    if wanted:
        for name in wanted:
            context.model.layer_name(name, image)
        order = {info.name: place for place, info in enumerate(infos)}
        return tuple(sorted(wanted, key=lambda name: order.get(name.partition("#")[0], 0)))
    found = stages(infos, most)
    if not found:
        raise InputError(
            f"model {context.model.name!r} has no layer with a spatial map; name some in layers"
        )
    return found


def stages(infos: list[LayerInfo], most: int) -> tuple[str, ...]:
    """Names of at most `most` modules that cover the network, in running order."""
    by_name = {info.name: info for info in infos}

    def parts(name: str) -> list[str]:
        inner = [other for other in by_name if other.startswith(f"{name}.")]
        return [one for one in inner if not any(one.startswith(f"{o}.") for o in inner)]

    current = [n for n in by_name if not any(n.startswith(f"{o}.") for o in by_name)]
    settled: set[str] = set()
    while open_ones := [n for n in current if n not in settled and len(parts(n)) > 1]:
        widest = max(open_ones, key=lambda name: (by_name[name].parameters, name))
        if len(current) - 1 + len(parts(widest)) > most:
            settled.add(widest)
        else:
            current = [n for n in current if n != widest] + parts(widest)
    order = [info.name for info in infos if info.name in set(current)]
    return tuple(order[place] for place in evenly(len(order), most))


def evenly(count: int, most: int) -> np.ndarray:
    """Places 0 to count - 1: all of them, or `most` evenly spread."""
    return np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(np.int64))
