"""The engine that propagates relevance, kept from one explanation to the next, and its maps."""

from collections.abc import Callable, Sequence
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from conceptseg.explain.fill import Fill
from conceptseg.explain.grids import grid_energy
from conceptseg.explain.lrp.composites import CompositeName
from conceptseg.explain.lrp.doubts import doubts
from conceptseg.explain.lrp.engine import Engine, Run
from conceptseg.explain.scene import Scene
from conceptseg.explain.target import FixedTarget, Target
from conceptseg.network.model import SegmentationModel

_Key = tuple[object, ...]
_ENGINES: WeakKeyDictionary[nn.Module, tuple[_Key, Engine]] = WeakKeyDictionary()
"""The last engine of each network, with the state and settings that it was made for."""


def engine_of(
    model: SegmentationModel,
    images: Tensor,
    composite: CompositeName,
    zero_bias: bool = True,
    gamma: float = 0.25,
    reference: Fill = "mean",
) -> Engine:
    """The engine of a network, made again when the network or the settings have changed."""
    key = (composite, zero_bias, gamma, reference, tuple(images.shape[1:]), *_state(model))
    known = _ENGINES.get(model.module)
    if known is None or known[0] != key:
        made = Engine(
            model, images, composite, zero_bias=zero_bias, gamma=gamma, reference=reference
        )
        _ENGINES[model.module] = known = (key, made)
    return known[1]


def relevance_maps(
    engine: Engine,
    scene: Scene,
    targets: Sequence[Target],
    start: Callable[[Run, FixedTarget], Tensor],
    finish: Callable[[Run, Tensor], Tensor] | None = None,
    layers: Sequence[str] = (),
) -> Tensor:
    """Maps [t, n, h, w] of what `start` gives the logits for each target, handed on by `finish`.

    The scene counts a forward pass of each image, and of its reference where changes are shared
    out, and a backward pass for each target; making the engine, once for a network, is not counted.
    Without a `finish` of its own the relevance is followed on its way to the image, and what speaks
    against the maps is remarked in the scene.
    """
    fixed = [scene.fix(target) for target in targets]
    parts = []
    for i in range(len(scene)):
        # One by one: sums near zero magnify the rounding by which batches differ.
        run = engine.run(scene.images[i : i + 1], layers)
        scene.count({"forward": 2 if run.compares else 1})
        starts = [start(run, target.image(i)) for target in fixed]
        if finish is not None:
            parts.append(torch.cat([finish(run, one) for one in starts]))
        else:
            parts.append(torch.cat([_followed(engine, scene, run, one) for one in starts]))
        scene.count({"backward": len(fixed)})
    return torch.stack(parts, 1)


def _followed(engine: Engine, scene: Scene, run: Run, start: Tensor) -> Tensor:
    """The map [1, h, w]; what speaks against it is remarked in the scene."""
    found, told = run.followed(start)
    if told.given.absolute:
        grid, _ = grid_energy(found[0], engine.canonical.graph.periods())
        for kind, doubt in doubts(told, engine.composite, grid).items():
            scene.remark(doubt, kind)
    return found


def _state(model: nn.Module) -> _Key:
    """What tells a network from itself after a change: versions, devices and sums of tensors."""
    tensors = [*model.parameters(), *model.buffers()]
    marks = tuple((t.data_ptr(), t._version, t.dtype, t.device) for t in tensors)
    with torch.no_grad():
        sums = [t.double().sum() for t in tensors if t.is_floating_point()]
        return (*marks, *(torch.stack(sums).tolist() if sums else ()))
