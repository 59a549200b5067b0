"""U-Noise: how little noise a pixel bears, by a small network that was fitted to say so."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from pydantic import Field
from torch import Tensor

from conceptseg.catalogue import technique
from conceptseg.errors import InputError
from conceptseg.explain.contract import Explainer
from conceptseg.explain.explainers._paths import portions
from conceptseg.explain.fitted import Fitted
from conceptseg.explain.noise_model import CURE, KIND, log_levels, read_channels, restored
from conceptseg.explain.scene import Scene
from conceptseg.explain.target import Target


@technique(family="learnt", source="Koker et al. 2021, arXiv:2101.05791")
class UNoise(Explainer):
    """1 - B, where B is how much noise a fitted network lets each pixel have for the class.

    A small U-Net h was trained on images beforehand, the segmentation network f being frozen: for
    a class c and B = sigmoid(h_c(x)) [h, w] (with `smooth`, under a bilateral filter guided by the
    image),

        x' = x + e (low + (high - low) B),  e ~ N(0, 1) in each channel,
        cost = BCE(f_c(x'), [f(x) predicts c]) - price mean log B.

    So B grows wherever noise costs the class's prediction nothing, and 1 - B is what has to stay.
    In [0, 1], without a sign, for the class wherever it is: the target's region and score are not
    looked at. One pass of h; that of f is taken only to see whether the region is empty.

    It is amortised: h says of an image what held of the images that it was fitted on, and may be
    wrong of others. `weights` is a run of `conceptseg noise`, or a file that
    :func:`conceptseg.notebook.fit_noise` wrote; what was fitted to another network is refused. The
    least cost trades importance against noise by `price`, so only the order of pixels means
    something, not the level.

    Departures: the noise is drawn for each channel, begins at 0 (the published 1 of normalised
    units never leaves a pixel clean), and what is kept is the network's own prediction, not the
    label. The bilateral form is our reading of Okamoto et al. 2023 (GCCE), of which we know that
    there is such a filter and no more.

    Source: Koker, Mireshghallah, Titcombe and Kaissis, "U-Noise: learnable noise masks for
    interpretable image segmentation", ICIP 2021, arXiv:2101.05791.
    """

    weights: Path | None = Field(
        None,
        description="Run of `conceptseg noise`, or file of a noise network, fitted to this one.",
    )

    @property
    def classes_only(self) -> bool:
        return True

    @property
    def fitted(self) -> bool:
        return True

    def check(self, scene: Scene) -> None:
        self._load(scene)

    def attribute(self, scene: Scene, targets: Sequence[Target]) -> Tensor:
        net, classes, noise = restored(self._load(scene), scene.images)
        for target in targets:
            if scene.fix(target).class_id not in classes:
                names = ", ".join(scene.model.classes[c] for c in classes)
                raise InputError(
                    f"weights: {self.weights} was fitted to {names}, and not to "
                    f"{scene.model.classes[target.class_id]}; {CURE}"
                )
        which = [classes.index(target.class_id) for target in targets]
        parts = []
        with torch.no_grad():
            for rows in portions(scene):
                seen = read_channels(scene.model, scene.images[rows])
                parts.append(1 - log_levels(net, seen, noise)[:, which].exp())
        return torch.cat(parts).transpose(0, 1)

    def _load(self, scene: Scene) -> Fitted:
        if self.weights is None:
            raise InputError(f"weights: none are given; {CURE}")
        return Fitted.load(self.weights, KIND, scene.model, CURE)
