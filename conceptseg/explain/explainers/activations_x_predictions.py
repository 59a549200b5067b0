"""Activations x predictions: a layer's activation where the class is predicted."""

from collections.abc import Sequence
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from conceptseg.catalogue import technique
from conceptseg.explain.contract import Explainer
from conceptseg.explain.explainers._units import probability
from conceptseg.explain.scene import Scene
from conceptseg.explain.target import Target

AT_ONCE = 64
"""Units that are brought to an image's size together: all of a wide layer would not fit."""


@technique(family="CAM", source="our reading of Saleem et al. 2021, Comput. Biol. Med.")
class ActivationsXPredictions(Explainer):
    """A layer's activation times the class's probability, by pixel or as a weight of units.

    With a layer's activation A [u, y, x], brought to image size by up(), and P the class's
    probability in the target's region (0 elsewhere):

    - `pixel`: L = P sum_k |up(A_k)|, at image size;
    - `unit`: L = relu(sum_k w_k A_k) with w_k = mean over pixels of up(A_k) P, on the layer's
      grid; units that are active where the class is predicted count, wherever they are active.

    >= 0 (`unit` is signed with `relu` off); in units of the activation, or of its square. No
    gradients: one forward pass.

    By `pixel` the map is 0 wherever the class is not predicted, by construction: it cannot show
    context, and it has the prediction's outline whatever the network does. Both forms take a
    unit that is active there for a cause of the prediction, also one that the rest of the network
    ignores; both want activations that are not negative.

    This is our reading, not a reproduction: the paper's full text was not to be had, its abstract
    says that a gradient-free technique was extended to a 3D network for tumours, and the survey
    of Hasany et al. 2024 gives the name alone. Of the target the class and the region count, its
    score does not; `Everything()` takes the probability of all pixels, not cut off anywhere.

    Source: Saleem, Shahid and Raza, "Visual interpretability in 3D brain tumor segmentation
    network", Computers in Biology and Medicine 2021.
    """

    layer: str = Field(
        "auto", description="Layer whose units are read; auto: where the decision passes."
    )
    form: Literal["pixel", "unit"] = Field(
        "pixel", description="Multiply pixel by pixel, or weigh whole units by their overlap."
    )
    relu: bool = Field(
        True, description="Keep only what speaks for the target; matters to `unit` alone."
    )

    @property
    def classes_only(self) -> bool:
        return True

    def attribute(self, scene: Scene, targets: Sequence[Target]) -> Tensor:
        tail = scene.tail(self.layer)
        activation = tail.activation.detach()
        predicted = torch.stack([probability(scene.logits, scene.fix(t)) for t in targets])
        predicted = predicted.to(activation.dtype)
        if self.form == "pixel":
            return predicted * _total(activation, scene.size)
        weights = torch.stack([_overlap(activation, one) for one in predicted])
        found = torch.einsum("tnu,nuyx->tnyx", weights, activation)
        return found.relu() if self.relu else found


def _total(activation: Tensor, size: tuple[int, int]) -> Tensor:
    """Sum over units of |up(A_k)|, [n, h, w]."""
    total = activation.new_zeros((activation.shape[0], *size))
    for units in activation.split(AT_ONCE, 1):
        total += functional.interpolate(units, size=size, mode="bilinear").abs().sum(1)
    return total


def _overlap(activation: Tensor, predicted: Tensor) -> Tensor:
    """Mean over pixels of up(A_k) P, [n, u].

    up() is linear, so P is brought to the layer's grid by its transpose instead of each unit to
    the image's size: the same number for the price of one unit.
    """
    with torch.enable_grad():
        grid = torch.zeros_like(activation[:, :1]).requires_grad_()
        wide = functional.interpolate(grid, size=predicted.shape[1:], mode="bilinear")
        (share,) = torch.autograd.grad((wide[:, 0] * predicted).mean((1, 2)).sum(), grid)
    return (activation * share).sum((2, 3))
