"""Tuning with tree supervision: each step of the optimiser is a pass, and so is each check.

A step's gradient is a sum over its images, so neither batches nor shards change it beyond
rounding, and a run that was stopped goes on after its last whole shard. Once a check has stopped
the tuning, the passes that are left visit nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from conceptseg.data.draw import sample_priority
from conceptseg.engine.contract import Carry, Context, Pass, State
from conceptseg.errors import InputError
from conceptseg.stats.mergeable.sums import Sums
from conceptseg.study.segnbdt.grown import Plan, halves
from conceptseg.study.segnbdt.losses import tree_loss
from conceptseg.study.segnbdt.rules import Rules

if TYPE_CHECKING:
    from torch import Tensor

    from conceptseg.data.batch import Batch
    from conceptseg.data.manifest import Sample
    from conceptseg.study.segnbdt.config import Segnbdt

MOMENTUM, SPREAD, SMALL = 0.9, 0.999, 1e-6
CHECKED_SHARE = 0.2
Weights = dict[str, np.ndarray]


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

    @classmethod
    def start(cls, study: Segnbdt, context: Context, plan: Plan) -> Tuning:
        """The network's own weights of the head, or all."""
        prefix = "" if study.tune == "full" or plan.head is None else plan.head.name + "."
        own = {
            f"module.{name}": value.detach().cpu().numpy().astype(np.float64)
            for name, value in context.model.module.named_parameters()
            if name.startswith(prefix) and value.is_floating_point()
        }
        nothing = {name: np.zeros_like(value) for name, value in own.items()}
        return cls(0, own, nothing, nothing, own)

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


def tensors(weights: Weights, context: Context, learn: bool = False) -> dict[str, Tensor]:
    """Weights as tensors on the network's device, in its precision."""
    import torch

    own = dict(context.model.named_parameters())
    return {
        name: torch.from_numpy(value).to(own[name]).requires_grad_(learn)
        for name, value in weights.items()
    }


def run_with(context: Context, weights: dict[str, Tensor], images: Tensor) -> Tensor:
    """The network's logits with some of its weights replaced."""
    from torch.func import functional_call

    found: Tensor = functional_call(context.model, weights, (images,))
    return found


def parts(study: Segnbdt, context: Context) -> tuple[list[Sample], list[Sample]]:
    """Labelled images to train on and to check by; groups are kept together."""
    built, _ = halves(study, context)
    own = [s for s in context.manifest.samples if s.id in built and context.manifest.labelled(s)]
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


@dataclass(frozen=True)
class Step(Pass):
    """The gradient of the tree supervision loss over some images, and one step along it."""

    study: Segnbdt
    number: int
    name: str = field(default="tune")  # type: ignore[misc]

    cost = "1 forward and 1 backward per image of a step"
    labels = "required"

    def samples(self, context: Context, carry: Carry) -> Sequence[Sample]:
        tuning = carry.get("tuning")
        if tuning is not None and tuning.stopped:
            return ()
        train, _ = parts(self.study, context)
        ranked = sorted(train, key=lambda s: sample_priority(self.study.seed, s.id))
        # Epochs of their own random order, so that every image has its turn.
        size = min(self.study.step_images, len(ranked))
        per_epoch = max(1, len(ranked) // size)
        epoch, place = divmod(self.number, per_epoch)
        order = np.random.default_rng([self.study.seed, 13, epoch]).permutation(len(ranked))
        return [ranked[i] for i in order[place * size : (place + 1) * size].tolist()]

    def forwards(self, context: Context) -> float:
        return float(self.study.step_images) * (3.0 if self.study.tune == "full" else 1.2)

    def map(self, context: Context, batch: Batch, carry: Carry) -> State:
        import torch

        from conceptseg.network.record import undisturbed

        study, plan = self.study, carry["plan"]
        tuning = carry.get("tuning") or Tuning.start(study, context, plan)
        with undisturbed(context.model), torch.enable_grad():
            weights = tensors(tuning.weights, context, learn=True)
            logits = run_with(context, weights, batch.images)
            context.model.check_finite(logits.detach(), batch.ids)
            rules = Rules(plan.tree, logits)
            assert batch.labels is not None
            loss = tree_loss(logits, batch.labels, rules, study.tree_weight, study.published_loss)
            found = torch.autograd.grad(loss, list(weights.values()), materialize_grads=True)
        sums = {name: g.double().cpu().numpy() for name, g in zip(weights, found, strict=True)}
        sums["loss"] = np.array(float(loss.detach()))
        sums["pixels"] = np.array(float((batch.labels >= 0).sum()))
        return {"gradient": Sums(sums)}

    def finish(self, context: Context, state: State, carry: Carry) -> Carry:
        if not state:
            return {}
        tuning = carry.get("tuning") or Tuning.start(self.study, context, carry["plan"])
        sums = state["gradient"]
        assert isinstance(sums, Sums)
        total = dict(sums.values)
        pixels, loss = max(float(total.pop("pixels")), 1.0), float(total.pop("loss"))
        gradient = {name: value / pixels for name, value in total.items()}
        return {"tuning": tuning.moved(gradient, self.study.rate, loss / pixels)}


@dataclass(frozen=True)
class Check(Pass):
    """The loss on images that are not trained on; keeps the best weights, and stops."""

    study: Segnbdt
    name: str = field(default="check")  # type: ignore[misc]

    cost = "1 forward per image to check by"
    labels = "required"

    def samples(self, context: Context, carry: Carry) -> Sequence[Sample]:
        tuning = carry.get("tuning")
        return () if tuning is not None and tuning.stopped else parts(self.study, context)[1]

    def forwards(self, context: Context) -> float:
        return float(self.study.check_images)

    def map(self, context: Context, batch: Batch, carry: Carry) -> State:
        import torch

        study, plan = self.study, carry["plan"]
        tuning = carry.get("tuning") or Tuning.start(study, context, plan)
        with torch.no_grad():
            logits = run_with(context, tensors(tuning.weights, context), batch.images)
            assert batch.labels is not None
            rules = Rules(plan.tree, logits)
            loss = tree_loss(logits, batch.labels, rules, study.tree_weight, study.published_loss)
        pixels = float((batch.labels >= 0).sum())
        return {"loss": Sums({"loss": np.array(float(loss)), "pixels": np.array(pixels)})}

    def finish(self, context: Context, state: State, carry: Carry) -> Carry:
        if not state:
            return {}
        tuning = carry.get("tuning") or Tuning.start(self.study, context, carry["plan"])
        sums = state["loss"]
        assert isinstance(sums, Sums)
        loss = float(sums.values["loss"]) / max(float(sums.values["pixels"]), 1.0)
        return {"tuning": tuning.checked(loss, self.study.patience)}


def tuning_passes(study: Segnbdt) -> list[Pass]:
    """Steps, with a check before the first, after every few, and after the last."""
    if study.tune == "none":
        return []
    found: list[Pass] = [Check(study, "check-000")]
    for number in range(study.steps):
        found.append(Step(study, number, f"tune-{number + 1:03d}"))
        if (number + 1) % study.check_every == 0 or number + 1 == study.steps:
            found.append(Check(study, f"check-{number + 1:03d}"))
    return found
