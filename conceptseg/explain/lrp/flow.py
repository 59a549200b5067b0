"""What reaches each operation of a network, and what it hands on."""

from dataclasses import dataclass, field


@dataclass
class Flow:
    """Relevance that one operation received and handed on, summed over the batch."""

    owner: str
    name: str
    received: float
    passed: float


@dataclass
class Ledger:
    """Flows of one backward, kept while `open`."""

    open: bool = False
    flows: list[Flow] = field(default_factory=list)
