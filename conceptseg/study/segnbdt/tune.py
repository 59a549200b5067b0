"""Tuning with tree supervision: each step of the optimiser is a pass, and so is each check.

A step's gradient is a sum over its images, so neither batches nor shards change it beyond
rounding, and a run that was stopped goes on after its last whole shard. Once a check has stopped
the tuning, the passes that are left visit nothing.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.func import functional_call
from torch.nn import functional

from conceptseg.data.batch import Batch
from conceptseg.data.draw import sample_priority
from conceptseg.data.labels import IGNORE
from conceptseg.data.manifest import Sample
from conceptseg.engine import contract
from conceptseg.engine.contract import Context, Pass
from conceptseg.engine.known import Key, Known
from conceptseg.errors import InputError
from conceptseg.network.blame import Backward
from conceptseg.network.record import undisturbed
from conceptseg.stats.mergeable.sums import Sums
from conceptseg.study.segnbdt.config import Segnbdt
from conceptseg.study.segnbdt.grown import GROWN, halves
from conceptseg.study.segnbdt.head import LAST
from conceptseg.study.segnbdt.rules import Rules

MOMENTUM, SPREAD, SMALL = 0.9, 0.999, 1e-6
CHECKED_SHARE = 0.2
Weights = dict[str, np.ndarray]
SUMS = Key("sums", Sums)


@dataclass(frozen=True)
class Tuning:
    """Where the tuning stands: weights by name, Adam's two moments, and the best that was checked.

    `history` has rows of (step, loss per pixel on images that are not trained on).
    """

    step: int
    weights: Weights
    first: Weights
    second: Weights
    best: Weights
    history: tuple[tuple[int, float], ...] = ()
    training: tuple[float, ...] = ()
    waited: int = 0
    stopped: bool = False

    def moved(self, gradient: Weights, rate: float, loss: float) -> Tuning:
        """One step of Adam (Kingma & Ba 2015, algorithm 1)."""
        step = self.step + 1
        first, second, weights = {}, {}, {}
        for name, g in gradient.items():
            first[name] = MOMENTUM * self.first[name] + (1 - MOMENTUM) * g
            second[name] = SPREAD * self.second[name] + (1 - SPREAD) * g**2
            mean = first[name] / (1 - MOMENTUM**step)
            size = np.sqrt(second[name] / (1 - SPREAD**step))
            weights[name] = self.weights[name] - rate * mean / (size + SMALL)
        return replace(
            self,
            step=step,
            weights=weights,
            first=first,
            second=second,
            training=(*self.training, loss),
        )

    def checked(self, loss: float, patience: int) -> Tuning:
        """The best so far is kept; after `patience` checks without a better one it stops."""
        better = not self.history or loss < min(value for _, value in self.history)
        waited = 0 if better else self.waited + 1
        return replace(
            self,
            best=self.weights if better else self.best,
            history=(*self.history, (self.step, loss)),
            waited=waited,
            stopped=waited >= patience,
        )


TUNING = Key("tuning", Tuning)


def start_tuning(study: Segnbdt, context: Context, known: Known) -> Known:
    """Where it begins: the network's own weights, of the head or all."""
    prefix = "" if study.tune == "full" or LAST not in known else known[LAST].name + "."
    own = {
        f"module.{name}": value.detach().cpu().numpy().astype(np.float64)
        for name, value in context.model.module.named_parameters()
        if name.startswith(prefix) and value.is_floating_point()
    }
    nothing = {name: np.zeros_like(value) for name, value in own.items()}
    return TUNING(Tuning(0, own, nothing, nothing, own))


def tensors(weights: Weights, context: Context, learn: bool = False) -> dict[str, Tensor]:
    """Weights as tensors on the network's device, in its precision."""
    own = dict(context.model.named_parameters())
    return {
        name: torch.from_numpy(value).to(own[name]).requires_grad_(learn)
        for name, value in weights.items()
    }


def run_with(context: Context, weights: dict[str, Tensor], images: Tensor) -> Tensor:
    """The network's logits with some of its weights replaced."""
    logits: Tensor = functional_call(context.model, weights, (images,))
    return logits


def parts(study: Segnbdt, context: Context) -> tuple[list[Sample], list[Sample]]:
    """Labelled images to train on and to check by; groups are kept together."""
    built, _ = halves(study, context)
    own = [s for s in context.manifest.named(built) if context.manifest.labelled(s)]
    groups = sorted({s.group for s in own}, key=lambda g: sample_priority(study.seed + 1, g))
    held = set(groups[: max(1, round(CHECKED_SHARE * len(groups)))])
    train = [s for s in own if s.group not in held]
    if not train:
        raise InputError(
            f"tune: {study.tune} needs labelled images of at least three groups (one to train on, "
            f"one to check, one to judge); {context.manifest.name} has too few"
        )
    check = [s for s in own if s.group in held]
    check.sort(key=lambda s: sample_priority(study.seed, s.id))
    return train, check[: study.check_images]


def tree_loss(
    logits: Tensor, labels: Tensor, rules: Rules, weight: float, published: bool = False
) -> Tensor:
    """Sum over labelled pixels of cross entropy plus `weight` times that of the tree, in nats.

    The tree's term at a pixel of class y is -log of the product of the probabilities on y's path.
    `published` hands these products to a criterion that takes a softmax of them again, as the
    reference code does: with k classes its minimum is log(1 + (k - 1) / e) where the product is 1,
    2.03 for 19 classes, and its gradient is squashed. Logits [n, k, h, w], labels [n, h, w] with -1
    for ignored.

    Source: Wan et al., NBDT, arXiv:2004.00221, eq. 3 (soft tree supervision loss).
    """
    own = functional.cross_entropy(logits, labels, ignore_index=IGNORE, reduction="sum")
    soft = rules.soft(logits)
    if published:
        tree = functional.cross_entropy(soft.exp(), labels, ignore_index=IGNORE, reduction="sum")
    else:
        tree = functional.nll_loss(soft, labels, ignore_index=IGNORE, reduction="sum")
    return own + weight * tree


@dataclass(frozen=True)
class _Supervised(Pass):
    """A sweep over labelled images for the loss of the weights so far; none once it is stopped."""

    study: Segnbdt

    labels = "required"
    learns: ClassVar[bool]
    """Whether the sweep ends in a step along the loss's gradient; else the loss is a check."""

    def samples(self, context: Context, known: Known) -> Sequence[Sample]:
        return () if known[TUNING].stopped else self.of_parts(*parts(self.study, context))

    @abstractmethod
    def of_parts(self, train: list[Sample], check: list[Sample]) -> Sequence[Sample]:
        """The images of this sweep, of those to train on and those to check by."""

    def map(self, context: Context, batch: Batch, known: Known) -> Known:
        """Sums over labelled pixels: their number, the loss, and its gradient where it is asked."""
        study, labels = self.study, batch.labels
        assert labels is not None  # they are required
        with undisturbed(context.model), torch.set_grad_enabled(self.learns):
            weights = tensors(known[TUNING].weights, context, self.learns)
            logits = run_with(context, weights, batch.images)
            context.model.check_finite(logits.detach(), batch.ids)
            rules = Rules(known[GROWN].tree, logits)
            loss = tree_loss(logits, labels, rules, study.tree_weight, study.published_loss)
            sums = {"loss": loss.detach(), "pixels": (labels >= 0).sum()}
            if self.learns:
                with Backward(context.model.name):
                    slopes = torch.autograd.grad(
                        loss, list(weights.values()), materialize_grads=True
                    )
                sums |= zip(weights, slopes, strict=True)
        return SUMS(Sums({name: one.double().cpu().numpy() for name, one in sums.items()}))

    def finish(self, context: Context, state: Known, known: Known) -> Known:
        if SUMS not in state:
            return Known()
        total, tuning = dict(state[SUMS].values), known[TUNING]
        pixels = max(float(total.pop("pixels")), 1.0)
        loss = float(total.pop("loss")) / pixels
        if not self.learns:
            return TUNING(tuning.checked(loss, self.study.patience))
        gradient = {name: value / pixels for name, value in total.items()}
        return TUNING(tuning.moved(gradient, self.study.rate, loss))


@dataclass(frozen=True)
class Step(_Supervised):
    """The gradient of the tree supervision loss over some images, and one step along it."""

    number: int
    name: str = field(default="tune")

    cost = "1 forward and 1 backward per image of a step"
    learns = True

    def of_parts(self, train: list[Sample], check: list[Sample]) -> Sequence[Sample]:
        ranked = sorted(train, key=lambda s: sample_priority(self.study.seed, s.id))
        # Epochs of their own random order, so that every image has its turn.
        size = min(self.study.step_images, len(ranked))
        per_epoch = max(1, len(ranked) // size)
        epoch, place = divmod(self.number, per_epoch)
        order = np.random.default_rng([self.study.seed, 13, epoch]).permutation(len(ranked))
        return [ranked[i] for i in order[place * size : (place + 1) * size].tolist()]

    def forwards(self, context: Context) -> float:
        return float(self.study.step_images) * (3.0 if self.study.tune == "full" else 1.2)


@dataclass(frozen=True)
class Check(_Supervised):
    """The loss on images that are not trained on; keeps the best weights, and stops."""

    name: str = field(default="check")

    cost = "1 forward per image to check by"
    learns = False

    def of_parts(self, train: list[Sample], check: list[Sample]) -> Sequence[Sample]:
        return check

    def forwards(self, context: Context) -> float:
        return float(self.study.check_images)


def tuning_steps(study: Segnbdt) -> list[contract.Step]:
    """Passes along the gradient, with a check before the first, after every few and at the end."""
    if study.tune == "none":
        return []
    steps: list[contract.Step] = [start_tuning, Check(study, "check-000")]
    for number in range(study.steps):
        steps.append(Step(study, number, f"tune-{number + 1:03d}"))
        if (number + 1) % study.check_every == 0 or number + 1 == study.steps:
            steps.append(Check(study, f"check-{number + 1:03d}"))
    return steps
