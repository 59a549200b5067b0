"""What a study says of its own errors: `null.py` beside its `plan.py` holds a :class:`Selftest`.

A claim is measured where nothing is there: on the numbers of real passes of planted networks, of
which what a claim is about was drawn at random, by the study's own functions from those numbers to
its findings. Its rate is the share of such draws in which anything of a family is claimed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
import torch

from conceptseg.data.batch import Batch, batches
from conceptseg.engine.contract import Context, Named, Study
from conceptseg.engine.known import Known
from conceptseg.result.saved import Result

SCENES: Mapping[str, Any] = {"format": "planted", "context": "balanced", "pair_share": 0.2}
"""A planted manifest whose context says nothing of the digit."""
Kind = Literal["ours", "published"]


class Bench(Protocol):
    """What makes planted networks and runs a study's passes on them."""

    def ready(
        self,
        study: str,
        keys: Mapping[str, Any],
        *,
        network: str = "clean",
        scenes: Mapping[str, Any] = SCENES,
        n: int = 120,
        seed: int = 0,
        arguments: Mapping[str, Any] | None = None,
        classes: Sequence[str] = (),
    ) -> tuple[Study, Context]:
        """A study of a planted network on `n` fresh scenes, and what its passes may see."""

    def known_after(
        self, study: Study, context: Context, last: Named, but: Sequence[Named] = ()
    ) -> Known:
        """What is known after the study's steps up to the last, but for some
        (:func:`conceptseg.engine.run.known_after`)."""


Draws = Callable[[Bench, int, int], Iterator[Sequence[bool]]]
"""The bench, how many draws, and the seed -> of each draw whether each claim is made, in their
order."""


@dataclass(frozen=True)
class Claim:
    """A kind of claim: the `test` that it rests on, what is `null`, and the `family` in which one
    such claim makes a draw false.

    `published` ones are of the rule that a test of ours replaces. Draws are independent given the
    numbers that they are dealt from, unless only so many networks are `behind` them, which then
    count in the interval.
    """

    test: str
    null: str
    family: str
    kind: Kind = "ours"
    behind: int | None = None


@dataclass(frozen=True)
class Power:
    """How often a study names the stripes as what digit 3 of a constructed network relies on.

    `keys` make a short run of the study, `scenes` of the planted manifest; `found` says of its
    result whether it names them, which is the claim of `what`.
    """

    what: str
    keys: Mapping[str, Any]
    found: Callable[[Result], bool]
    scenes: int = 102
    classes: tuple[str, ...] = ()
    layer: str = "bottleneck"


@dataclass(frozen=True)
class Selftest:
    """The claims of a study with their draws, and its power, or why it has none.

    A study that claims nothing by any test says so in `untested`. `seconds` are about what 300
    draws take on one core: what takes longest is begun first.
    """

    claims: tuple[Claim, ...] = ()
    draws: Draws | None = None
    power: Power | str = ""
    untested: str = ""
    seconds: float = 20.0

    def __post_init__(self) -> None:
        if bool(self.claims) != (self.draws is not None) or bool(self.claims) == bool(
            self.untested
        ):
            raise ValueError("a study has claims and their draws, or says why it tests nothing")


def all_batches(context: Context) -> list[Batch]:
    """All images with their labels, in batches."""
    samples, size = context.manifest.samples, context.run.batch_size
    return list(batches(context.manifest, samples, size, "cpu", need_labels=True))


def noisy(images: torch.Tensor, spread: float, rng: np.random.Generator) -> torch.Tensor:
    """Images [n, c, h, w] with Gaussian noise, cut off at 0 and 1."""
    drawn = rng.normal(0, spread, tuple(images.shape)).astype(np.float32)
    return (images + torch.from_numpy(drawn)).clamp(0, 1)


def subset(rng: np.random.Generator, of: int, count: int) -> np.ndarray:
    """`count` places of `of`, in order."""
    return np.sort(rng.permutation(of)[:count])


def any_evidence(findings: Sequence[Any]) -> bool:
    """Whether any finding counts as evidence."""
    return any(one.standing == "evidence" for one in findings)
