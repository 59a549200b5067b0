"""Search for noise that changes a method's map and leaves the prediction as it is.

The network and the method are taken as they are, and asked for maps alone: no softened copy whose
second derivatives would have to be followed, and no method that has to have any. What is found is
therefore a lower bound of what could be.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from conceptseg.explain.noise import channels_read, generator
from conceptseg.explain.target import pinned
from conceptseg.network.label_map import label_map

if TYPE_CHECKING:
    from torch import Tensor

    from conceptseg.explain.contract import Explainer
    from conceptseg.explain.scene import Scene
    from conceptseg.explain.target import Target

HALVINGS = 4
"""Times that noise is halved, at most, while no plain draw of it keeps the prediction."""
LARGEST, SMALLEST = 0.5, 0.1
"""Sides of the squares that are changed, as shares of the image's, at the first and last step."""


@dataclass(frozen=True)
class Search:
    """How noise is sought: uniform in its largest modulus, `epsilon`, in each pixel; of an image
    whose prediction no plain draw of that size keeps half of it, and half of that again, at most
    `HALVINGS` times: what changes the prediction by itself is not noise that nobody sees.

    `random` draws of signs begin; then in each of `steps` steps a square of the best noise so far
    gets new signs, later in smaller squares. A draw counts only where Dice of
    the class's prediction with the clean one is at least `agreement`. The draws are the same for
    every image, so that none hangs on its batch.
    """

    epsilon: float
    steps: int
    random: int
    agreement: float
    seed: int

    def run(
        self,
        scene: Scene,
        explainer: Explainer,
        target: Target,
        objective: Callable[[Tensor], Tensor],
    ) -> Found:
        """Noise that makes `objective` of the maps [n, h, w], numbers [n], as large as possible."""
        state = _State(self, scene, explainer, target, objective)
        draws = [self._signs(scene, draw) for draw in range(self.random)]
        state.settle(draws)
        for signs in draws:
            state.try_signs(signs)
        chance, curve = state.value.clone(), [state.value]
        for step in range(self.steps):
            state.try_signs(self._changed(scene, state.signs, step))
            curve.append(state.value)
        return Found(chance, torch.stack(curve, 1), state.images, state.maps, state.epsilon)

    def _signs(self, scene: Scene, draw: int) -> Tensor:
        """Signs [1, c, h, w] of one draw, in the channels that the network reads; 0 elsewhere."""
        images, read = scene.images, channels_read(scene)
        drawn = torch.rand(len(read), *scene.size, generator=generator(self.seed, "signs", draw))
        signs = torch.zeros_like(images[:1])
        signs[:, read] = torch.where(drawn < 0.5, -1.0, 1.0).to(images)
        return signs

    def _changed(self, scene: Scene, signs: Tensor, step: int) -> Tensor:
        """Signs [n, c, h, w] with new ones in one square."""
        (h, w), read = scene.size, channels_read(scene)
        source = generator(self.seed, "square", step)
        share = LARGEST * (SMALLEST / LARGEST) ** (step / max(self.steps - 1, 1))
        down, across = max(1, round(share * h)), max(1, round(share * w))
        place = torch.rand(2, generator=source)
        y, x = int(place[0] * (h - down + 1)), int(place[1] * (w - across + 1))
        drawn = torch.rand(len(read), down, across, generator=source)
        changed = signs.clone()
        changed[:, read, y : y + down, x : x + across] = torch.where(drawn < 0.5, -1.0, 1.0).to(
            signs
        )
        return changed


@dataclass(frozen=True)
class Found:
    """What was found for n images.

    `chance` [n] is the best value of the random draws, `curve` [n, steps + 1] the best value after
    each step, from that on; both -inf where no draw kept the prediction. `images` [n, c, h, w] and
    `maps` [n, h, w] are those of the last value, the clean ones where none counted. `epsilon` [n]
    is the size of the noise.
    """

    chance: Tensor
    curve: Tensor
    images: Tensor
    maps: Tensor
    epsilon: Tensor

    @property
    def value(self) -> Tensor:
        return self.curve[:, -1]


class _State:
    """The best noise so far of each image."""

    def __init__(
        self,
        search: Search,
        scene: Scene,
        explainer: Explainer,
        target: Target,
        objective: Callable[[Tensor], Tensor],
    ):
        self.search, self.scene, self.explainer = search, scene, explainer
        self.target = pinned(target, scene.fix(target).mask)
        self.objective, self.class_id = objective, target.class_id
        self.held = label_map(scene.logits) == target.class_id
        self.signs = torch.zeros_like(scene.images)
        self.images = scene.images
        self.maps = scene.images.new_zeros(len(scene), *scene.size, dtype=torch.float32)
        self.value = torch.full((len(scene),), -torch.inf, device=scene.images.device)
        self.epsilon = torch.full_like(self.value, search.epsilon)

    def settle(self, draws: Sequence[Tensor]) -> None:
        """Halve the noise of each image until one of the draws keeps its prediction."""
        rows = torch.arange(len(self.value), device=self.value.device)
        for _ in range(HALVINGS):
            kept = torch.zeros(len(rows), dtype=torch.bool, device=rows.device)
            for signs in draws:
                kept |= self._keeps(self._noisy(signs, rows), rows)
            rows = rows[~kept]
            if not len(rows):
                return
            self.epsilon[rows] /= 2

    def _noisy(self, signs: Tensor, rows: Tensor) -> Scene:
        """Some of the images under noise of these signs, [1 or n, c, h, w]."""
        own = signs.expand_as(self.scene.images)[rows] * self.epsilon[rows][:, None, None, None]
        return self.scene.beside((self.scene.images[rows] + own).clamp(0, 1), rows.tolist())

    def _keeps(self, other: Scene, rows: Tensor) -> Tensor:
        """Whether these of the images have the prediction that they had, [m]."""
        held, before = label_map(other.logits) == self.class_id, self.held[rows]
        both = (held & before).sum((1, 2))
        dice = 2 * both / (held.sum((1, 2)) + before.sum((1, 2))).clamp(min=1)
        return dice >= self.search.agreement

    def try_signs(self, signs: Tensor) -> None:
        """Take the signs over for the images whose objective they raise."""
        rows = torch.arange(len(self.value), device=self.value.device)
        other = self._noisy(signs, rows)
        kept = self._keeps(other, rows)
        if not bool(kept.any()):
            return
        images, maps = other.images, self.explainer.on(other, [self.target])[0]
        value = self.objective(maps).to(self.value)
        better = kept & (value > self.value)
        self.value = self.value.where(~better, value)
        self.maps = torch.where(better[:, None, None], maps, self.maps)
        wide = better[:, None, None, None]
        self.signs = torch.where(wide, signs.expand_as(self.signs), self.signs)
        self.images = torch.where(wide, images, self.images)
