"""A batch of images to be explained, and what its explanations share.

Most explanations of the same images begin alike: with the clean prediction, which fixes regions,
with a layer's activation, and with gradients at that layer. A scene makes each of these once, when
first asked for, so that several targets and several methods cost one forward pass between them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from conceptseg.errors import InputError
from conceptseg.explain.target import FixedTarget, Target
from conceptseg.network.blame import Backward
from conceptseg.network.record import Tail, undisturbed

if TYPE_CHECKING:
    from conceptseg.network.model import SegmentationModel

Vary = Callable[[Tensor, int, int], Tensor]
"""Images [n, c, h, w] and a range start..stop of variants -> [n, stop - start, c, h, w]."""
Read = Callable[[Tensor], Tensor]
"""Logits [n r, k, h, w], r variants of each image in turn -> numbers [..., n r]."""


class Scene:
    """Images [n, c, h, w] in [0, 1] under one network, with labels [n, h, w] where there are any.

    `batch_size` bounds how many images go through the network at once when variants of them are
    made, and thereby memory; it changes no result beyond rounding. `memory_gib` bounds the maps
    that one call may ask for. `clean` are the images' logits [n, k, h, w], where they are known.
    `passes` counts what was run, in images: "forward" and "backward" through the whole network,
    "tail" and "tail backward" through the part after a layer.

    Raises InputError for images that are not floating point [n, c, h, w] of the network's
    channels, in [0, 1] and on its device.
    """

    def __init__(
        self,
        model: SegmentationModel,
        images: Tensor,
        labels: Tensor | None = None,
        *,
        batch_size: int = 8,
        memory_gib: float = 4.0,
        clean: Tensor | None = None,
    ):
        check_images(model, images)
        self.model = model
        self.images = images.detach()
        self.labels = labels
        self.batch_size = max(1, batch_size)
        self.memory_gib = memory_gib
        self._tails: dict[str, Tail] = {}
        self._fixed: dict[Target, FixedTarget] = {}
        self._gradients: dict[tuple[str, FixedTarget], Tensor] = {}
        self._clean = clean
        self._own: Counter[str] = Counter()
        self.remarked: dict[str, str] = {}

    def __len__(self) -> int:
        return self.images.shape[0]

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the images."""
        return (self.images.shape[2], self.images.shape[3])

    @property
    def passes(self) -> dict[str, int]:
        """How many images went through what since the scene was made."""
        return dict(sum((tail.passes for tail in self._tails.values()), self._own.copy()))

    def count(self, passes: Mapping[str, int]) -> None:
        """Add passes that were run outside of the scene, in images."""
        self._own.update(passes)

    def remark(self, text: str, kind: str) -> None:
        """Say something of the explanations made here that their readers must know; once.

        What is of one `kind` ("dots on a grid") is counted together over images.
        """
        self.remarked.setdefault(text, kind)

    @property
    def remarks(self) -> list[str]:
        """All that was said, in order."""
        return list(self.remarked)

    @property
    def logits(self) -> Tensor:
        """The clean images' logits [n, k, h, w], without a graph."""
        if self._clean is None:
            tail = next(iter(self._tails.values()), None)
            self._clean = self.forward(self.images) if tail is None else tail.logits.detach()
        return self._clean

    def fix(self, target: Target) -> FixedTarget:
        """The target with its region fixed by the clean images; the same object each time."""
        if target not in self._fixed:
            self._fixed[target] = target.on(self.logits, self.labels)
        return self._fixed[target]

    def check_room(self, targets: int) -> None:
        """Raise InputError where the maps of so many targets would not fit into `memory_gib`."""
        height, width = self.size
        needed = 4 * targets * len(self) * height * width / 2**30
        if needed > self.memory_gib:
            fits = int(self.memory_gib * 2**30 / (4 * max(len(self), 1) * height * width))
            raise InputError(
                f"the maps of {targets} regions in {len(self)} images of {height} x {width} need "
                f"{needed:.1f} GiB, and {self.memory_gib:g} are allowed: explain at most {fits} at "
                "a time, or raise memory_gib"
            )

    def beside(self, images: Tensor, rows: Sequence[int]) -> Scene:
        """A scene of other images [m, c, h, w], such as noisy copies of `rows` [m] of these.

        Labels and bounds are theirs; its passes and remarks are added here by :meth:`take_over`.
        """
        labels = None if self.labels is None else self.labels[list(rows)]
        size, room = self.batch_size, self.memory_gib
        return type(self)(self.model, images, labels, batch_size=size, memory_gib=room)

    def take_over(self, other: Scene) -> None:
        """Count another scene's passes here, and say here what was said there."""
        self.count(other.passes)
        for text, kind in other.remarked.items():
            self.remark(text, kind)

    def layer(self, name: str) -> str:
        """The layer's own name: itself, or for "auto" the one chosen by its worth."""
        return self.model.layer_name(name, self.images) if name == "auto" else name

    def tail(self, layer: str, graph: bool = False) -> Tail:
        """The network from a layer on; with `graph`, its logits hang on the layer's activation.

        Raises InputError if the layer does not exist, does not run, or has no spatial output.
        """
        layer = self.layer(layer)
        held = self._tails.get(layer)
        if held is None or (graph and not held.activation.requires_grad):
            made = Tail.of(self.model, self.images, layer, graph=graph)
            if held is not None:
                made.passes.update(held.passes)
            self._tails[layer] = made
        return self._tails[layer]

    def gradient(self, layer: str, score: FixedTarget) -> Tensor:
        """d score / d activation of a layer, [n, u, y, x]; one backward pass of the tail."""
        key = (self.layer(layer), score)
        if key not in self._gradients:
            self._gradients[key] = self.tail(layer, graph=True).gradient(score)
        return self._gradients[key]

    def forward(self, images: Tensor) -> Tensor:
        """Logits of any images [m, c, h, w], without a graph, `batch_size` at a time."""
        self._own["forward"] += images.shape[0]
        with undisturbed(self.model), torch.no_grad():
            parts = [self.model(part) for part in images.split(self.batch_size)]
        return torch.cat(parts) if len(parts) != 1 else parts[0]

    def input_gradients(self, images: Tensor, scores: Sequence[FixedTarget]) -> Tensor:
        """d score / d image for variants [n r, c, h, w] of the images: [t, n r, c, h, w].

        One forward and a backward for each of t scores. All rows run at once.
        """
        return self._gradients_at(images, lambda logits: scores)

    def value_and_gradient(
        self, images: Tensor, score: Callable[[Tensor], Tensor]
    ) -> tuple[Tensor, Tensor]:
        """score(logits) [m] of any images [m, c, h, w], and its gradient at them, from one pass.

        An image's score hangs on its own logits alone. All rows run at once.
        """
        read: list[Tensor] = []

        def scored(logits: Tensor) -> Tensor:
            read.append(score(logits))
            return read[0]

        found = self._gradients_at(images, lambda logits: [scored])
        return read[0].detach(), found[0]

    def image_gradients(self, targets: Sequence[Target]) -> Tensor:
        """d target / d image at the images themselves, [t, n, c, h, w].

        If nothing has been run yet, and the images are no more than `batch_size`, their clean pass
        and the one that carries the graph are one.
        """
        if self._clean is None and not self._tails and len(self) <= self.batch_size:

            def fixed(logits: Tensor) -> Sequence[FixedTarget]:
                self._clean = logits.detach()
                return [self.fix(target) for target in targets]

            return self._gradients_at(self.images, fixed)
        scores = [self.fix(target) for target in targets]
        parts = []
        for rows in torch.arange(len(self)).split(self.batch_size):
            own = [replace(score, mask=score.mask[rows]) for score in scores]
            parts.append(self.input_gradients(self.images[rows], own))
        return torch.cat(parts, 1)

    def _gradients_at(
        self, images: Tensor, scored: Callable[[Tensor], Sequence[Callable[[Tensor], Tensor]]]
    ) -> Tensor:
        """Gradients at images of the scores that `scored` makes of their logits."""
        self._own["forward"] += images.shape[0]
        with undisturbed(self.model), torch.inference_mode(False), torch.enable_grad():
            # A copy: images that were made in inference mode cannot take part in a graph.
            entered = images.detach().clone().requires_grad_()
            logits = self.model(entered)
            scores = scored(logits)
            self._own["backward"] += images.shape[0] * len(scores)
            found = []
            for t, score in enumerate(scores):
                last = t == len(scores) - 1
                value = score(logits).sum()
                if not value.requires_grad:
                    found.append(torch.zeros_like(entered))
                    continue
                with Backward(self.model.name):
                    found += torch.autograd.grad(
                        value, entered, retain_graph=not last, materialize_grads=True
                    )
        return torch.stack(found)

    def respond(self, count: int, vary: Vary, read: Read) -> Tensor:
        """What the network says to `count` variants of each image: read(logits), [..., n, count].

        `vary` makes the variants from `start` to `stop`, at most `batch_size` images at a time,
        and must not depend on how the range is cut.
        """
        n = len(self)
        step = max(1, self.batch_size // max(n, 1))
        parts = []
        for start in range(0, count, step):
            stop = min(start + step, count)
            variants = vary(self.images, start, stop)
            numbers = read(self.forward(variants.flatten(0, 1)))
            parts.append(numbers.unflatten(-1, (n, stop - start)))
        return torch.cat(parts, -1)

    def scores_of(self, count: int, vary: Vary, scores: Sequence[FixedTarget]) -> Tensor:
        """:meth:`respond` with each of t scores: [t, n, count]; all from the same passes."""
        return self.respond(count, vary, lambda logits: torch.stack([s(logits) for s in scores]))


def check_images(model: SegmentationModel, images: Tensor) -> None:
    """Raise InputError unless images are what the network takes."""
    if images.dim() != 4 or not images.is_floating_point():
        raise InputError(
            f"images are floating point [n, c, h, w], got {images.dtype} {list(images.shape)}"
        )
    model.check_images(images)
    parameter = next(model.parameters(), None)
    if parameter is not None and parameter.device != images.device:
        raise InputError(f"images are on {images.device}, the network on {parameter.device}")
    if images.numel() and not (images.min() >= -1e-3 and images.max() <= 1 + 1e-3):
        raise InputError(
            f"images are in [0, 1], got {images.min():.4g} to {images.max():.4g}; the network's "
            "own scaling belongs to its preprocessing"
        )
