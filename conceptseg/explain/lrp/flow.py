"""What reaches each operation of a network, and what it hands on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from torch import Tensor


@dataclass(frozen=True)
class Amount:
    """Relevance that flows at a tensor: its signed sum and the sum of its moduli."""

    signed: float = 0.0
    absolute: float = 0.0

    @classmethod
    def of(cls, relevance: Tensor) -> Amount:
        return cls(float(relevance.sum()), float(relevance.abs().sum()))

    def __add__(self, other: Amount) -> Amount:
        return Amount(self.signed + other.signed, self.absolute + other.absolute)


@dataclass(frozen=True)
class Flow:
    """Relevance that one operation received and handed on, summed over the batch.

    `inactive` is the absolute relevance that a rectifier received on units that it puts out as 0
    (under `rescale`: that it puts out as in the reference); None for what is no rectifier.
    """

    owner: str
    name: str
    received: Amount
    passed: Amount
    inactive: float | None = None


@dataclass
class Ledger:
    """Flows of one backward, kept while `open`."""

    open: bool = False
    flows: list[Flow] = field(default_factory=list)


@dataclass(frozen=True)
class Module:
    """What all operations of one module received and handed on."""

    name: str
    received: Amount
    passed: Amount


@dataclass(frozen=True)
class Retained:
    """What became of relevance between the logits, where it was `given`, and the image.

    `modules`: what each module's operations received and handed on. `worst`: the operation (its
    module's name) that handed on the most, and that absolute amount. `silent`: of the absolute
    relevance at rectifiers' outputs, the largest share of any one on units that put out nothing,
    and that of all. `unplaced`: modules whose rules are not known to be those of their place.
    """

    given: Amount
    reached: Amount
    modules: tuple[Module, ...]
    worst: tuple[str, float]
    silent: tuple[float, float]
    unplaced: tuple[str, ...] = ()

    @classmethod
    def of(
        cls,
        given: Amount,
        reached: Amount,
        flows: Sequence[Flow],
        unplaced: tuple[str, ...] = (),
    ) -> Retained:
        rows: dict[str, Module] = {}
        for flow in flows:
            known = rows.get(flow.owner, Module(flow.owner, Amount(), Amount()))
            rows[flow.owner] = Module(
                flow.owner, known.received + flow.received, known.passed + flow.passed
            )
        worst = max(flows, key=lambda flow: flow.passed.absolute, default=None)
        rectifiers = [
            (flow.inactive, flow.received.absolute) for flow in flows if flow.inactive is not None
        ]
        shares = [i / r for i, r in rectifiers if r > 1e-4 * given.absolute]
        whole = sum(r for _, r in rectifiers)
        return cls(
            given,
            reached,
            tuple(rows.values()),
            ("", given.absolute) if worst is None else (worst.owner, worst.passed.absolute),
            (max(shares, default=0.0), sum(i for i, _ in rectifiers) / whole if whole else 0.0),
            unplaced,
        )

    @property
    def share(self) -> float:
        """The part of the signed sum that reached the image."""
        return self.reached.signed / self.given.signed if self.given.signed else float("nan")

    @property
    def growth(self) -> float:
        """Absolute relevance at the image over that at the logits."""
        return self._over(self.reached.absolute)

    @property
    def inner_growth(self) -> float:
        """The same of the operation that handed on the most."""
        return self._over(self.worst[1])

    def _over(self, absolute: float) -> float:
        return absolute / self.given.absolute if self.given.absolute else float("nan")
