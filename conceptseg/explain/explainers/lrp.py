"""LRP: the class's score, shared out layer by layer down to the pixels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor

from conceptseg.catalogue import technique
from conceptseg.concepts.directions import load_directions
from conceptseg.errors import InputError
from conceptseg.explain.contract import Explainer
from conceptseg.explain.explainers._engines import engine_of, relevance_maps
from conceptseg.explain.fill import Fill
from conceptseg.explain.lrp.composites import CompositeName
from conceptseg.explain.lrp.engine import Engine, Run
from conceptseg.explain.lrp.parts import channel, direction, within
from conceptseg.explain.lrp.start import (
    relevance_of_change,
    relevance_of_logits,
    relevance_of_target,
)
from conceptseg.explain.regions import Box
from conceptseg.explain.scene import Scene
from conceptseg.explain.target import FixedTarget, Target
from conceptseg.network.record import find


@technique(family="propagation", source="Bach et al. 2015, doi 10.1371/journal.pone.0130140")
class Lrp(Explainer):
    """Relevance of each pixel: the score shared out by what each input adds to each sum.

    R_i = sum_j R_j (a_i w_ij)+ / sum_i (a_i w_ij)+ through convolutions, sums and pooling (z+
    rule), R_j a_i w_ij / sum_i a_i w_ij through linear layers and the last layer (epsilon rule),
    evenly through the first layer (flat rule); summed over colours. R at the logits is the class's
    logit in the region over the number of its pixels (their sum with `reduce="sum"`), so the map
    sums to about the mean logit less the last layer's bias. Unbounded, signed, in units of logits.
    One forward pass of about twice the cost, and one backward for each target.

    z+ is blind to what speaks against the class, and barely tells classes apart: maps of two
    classes in one region are alike. Relevance is lost where sums have no positive part, to the
    last layer's bias and, with `zero_bias` off, to all others. It shows neither what is missing nor
    what speaks by silencing units. The latter `composite: rescale` shows, which is `deep_lift`,
    with the parts below.

    What of it lies in terms that cancel, or on units that say nothing, is remarked in the scene.

    Departures: BatchNorm, its eps included, is folded into the layer before it, or counts as a part
    of the layer that reads it; the last layer follows the epsilon rule, since z+ can erase a class;
    sums, means and resizing share out by positive parts, where Zennit shares in proportion to what
    is added, which magnifies what cancels; gates of squeeze-and-excitation and attention weights
    are taken as constants. With `channel`, `direction` or `box` only that part of a layer's
    relevance goes on to the image (Achtibat et al. 2023, arXiv:2206.03208), along paths through the
    layer alone; of a direction v it is v (A . v) R / A. `start: centred` shares out the logit less
    the mean of all classes': the same decision, without what all logits have in common, which may
    be most of each and cancel. `start: target` begins with z dT/dz, to first order what each logit
    adds to the target, so that a margin's rivals count against it; so does a target that is no
    class's, whatever `start` says.

    Source: Bach et al., "On Pixel-Wise Explanations for Non-Linear Classifier Decisions by
    Layer-Wise Relevance Propagation", PLOS ONE 10(7), 2015; composite: Kohlbrenner et al. 2020,
    arXiv:1910.09840; segmentation: Dreyer et al. 2023, arXiv:2211.11426. Rules are those of
    Zennit (Anders et al. 2021, arXiv:2106.13200).
    """

    composite: CompositeName = Field(
        "epsilon_plus_flat", description="Which rules the layers follow."
    )
    zero_bias: bool = Field(
        True, description="Whether biases are kept from taking relevance (but the last layer's)."
    )
    gamma: float = Field(0.25, gt=0, description="Weight of what speaks for, in gamma rules.")
    reference: Fill = Field(
        "mean", description="What an image's changes are counted from, under rescale."
    )
    start: Literal["logit", "centred", "probability", "target"] = Field(
        "logit",
        description="What is shared out: the class's logit; centred: that less the mean of all "
        "classes'; its probability; or the target.",
    )
    sign: Literal["signed", "positive"] = Field(
        "signed",
        description="Whether negative logits (under rescale, changes) count, or are clipped, as "
        "L-CRP has it.",
    )
    layer: str = Field(
        "auto",
        description="Layer of `channel`, `direction` and `box`; auto: where the decision passes.",
    )
    channel: int | None = Field(
        None, ge=0, description="Only what goes through this channel of the layer."
    )
    direction: int | None = Field(
        None, ge=0, description="Only what goes along this row of `directions`."
    )
    directions: str | None = Field(
        None, description="For `direction`: .npy file [q, units], or a finished ace run's folder."
    )
    box: tuple[int, int, int, int] | None = Field(
        None,
        description="Only what goes through the layer's positions within y0, x0, y1, x1 of the "
        "image (the ends excluded).",
    )

    @property
    def own_rules(self) -> bool:
        return True

    @model_validator(mode="after")
    def _changes_of_logits(self) -> Self:
        if self.composite == "rescale" and self.start == "probability":
            raise ValueError("start: rescale shares out changes of logits; give logit or target")
        return self

    @model_validator(mode="after")
    def _one_concept(self) -> Self:
        if self.channel is not None and self.direction is not None:
            raise ValueError("channel and direction exclude each other")
        if self.directions is not None and self.direction is None:
            raise ValueError("directions: direction says which of its rows; give it")
        return self

    def check(self, scene: Scene) -> None:
        self._part(self._engine(scene), scene)

    def _engine(self, scene: Scene) -> Engine:
        return engine_of(
            scene.model, scene.images, self.composite, self.zero_bias, self.gamma, self.reference
        )

    def attribute(self, scene: Scene, targets: Sequence[Target]) -> Tensor:
        engine = self._engine(scene)
        part = self._part(engine, scene)
        if part is None:
            return relevance_maps(engine, scene, targets, self._start)
        return relevance_maps(engine, scene, targets, self._start, part.map, [part.layer])

    def _part(self, engine: Engine, scene: Scene) -> Part | None:
        """The part of a layer's relevance that goes on, if it is not all."""
        if self.layer != "auto":
            find(
                engine.model, self.layer
            )  # a name that stands for nothing is a mistake, used or not
        if self.channel is None and self.direction is None and self.box is None:
            return None
        layer = scene.layer(self.layer)
        engine.check_layer(layer)
        vector = None
        if self.direction is not None:
            rows = load_directions(self.directions, layer, scene.model.fingerprint)
            if self.direction >= len(rows):
                raise InputError(f"direction: {self.direction} is not among the {len(rows)} rows")
            vector = torch.from_numpy(rows[self.direction])
        mask = None if self.box is None else Box(*self.box).mask(scene.logits[:1])
        return Part(layer, self.channel, vector, mask)

    def _start(self, run: Run, target: FixedTarget) -> Tensor:
        if self.start == "target" or not target.of_class:
            if run.compares:
                return relevance_of_change(run.logits, run.evidence, target)
            return relevance_of_target(run.logits, target)
        relevance = relevance_of_logits(
            run.evidence, target.mask, target.class_id, self.start, self.sign, normalise=False
        )
        if target.reduce == "sum":
            relevance = relevance * target.pixels[:, None, None, None]
        return relevance


@dataclass(frozen=True)
class Part:
    """A part of a layer's relevance: of a channel or a `vector` [u], within a `mask` [1, h, w]."""

    layer: str
    channel: int | None
    vector: Tensor | None
    mask: Tensor | None

    def map(self, run: Run, start: Tensor) -> Tensor:
        """The map [n, y, x] that this part of the relevance of the logits makes."""
        (relevance,) = run.at_layers(start, [self.layer])
        units = relevance.shape[1]
        if self.channel is not None:
            if self.channel >= units:
                raise InputError(
                    f"channel: {self.channel} is not among the {units} of {self.layer!r}"
                )
            relevance = channel(relevance, self.channel)
        if self.vector is not None:
            if len(self.vector) != units:
                raise InputError(
                    f"directions: they have {len(self.vector)} entries, layer {self.layer!r} has "
                    f"{units} units; take the layer they were learnt on"
                )
            relevance = direction(relevance, run.worth(self.layer), self.vector)
        if self.mask is not None:
            relevance = within(relevance, self.mask)
        return run.conditional(self.layer, relevance[None])[0]
