"""Which rule of Zennit a network's layers follow."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from conceptseg.explain.lrp.places import Place
from conceptseg.explain.lrp.shares import Way

CompositeName = Literal[
    "epsilon_plus",
    "epsilon_plus_flat",
    "plus",
    "gamma",
    "epsilon",
    "attention",
    "flat",
    "gradient_x_input",
    "rescale",
]
"""See :func:`rules`."""


@dataclass(frozen=True)
class Rules:
    """Rules (hooks of Zennit) by kind of layer.

    `plain`: no rule at all, the plain gradient times the input. `way`: how operations without
    weights share relevance out (:mod:`conceptseg.explain.lrp.shares`). `compares`: what is shared
    out is the difference from a reference image (:mod:`conceptseg.explain.lrp.rescale`).
    """

    convolution: Any
    linear: Any
    first: Any
    last: Any
    zero_bias: bool
    way: Way = "proportion"
    plain: bool = False
    compares: bool = False

    @property
    def multiplies(self) -> bool:
        """Whether what flows back is a multiplier of values, not their relevance."""
        return self.plain or self.compares

    def of(self, name: str, place: Place) -> Any:
        """The rule of a weighted operation, by its name and its place in the network."""
        if place == "between":
            return self.linear if name == "linear" else self.convolution
        return self.last if place == "last" else self.first

    @property
    def by_place(self) -> bool:
        """Whether the rule of any operation depends on its place."""
        between = (self.convolution, self.linear)
        return any(place is not rule for place in (self.first, self.last) for rule in between)


def rules(name: CompositeName, zero_bias: bool = True, gamma: float = 0.25) -> Rules:
    """The rules of a composite.

    ==================  ===========  ========  ===========  =======
    name                convolution  linear    first layer  last
    ==================  ===========  ========  ===========  =======
    epsilon_plus        z+           epsilon   z+           epsilon
    epsilon_plus_flat   z+           epsilon   flat         epsilon
    plus                z+           z+        z+           epsilon
    gamma               gamma        epsilon   gamma        epsilon
    epsilon             epsilon      epsilon   epsilon      epsilon
    attention           gamma        gamma     gamma        epsilon
    flat                flat         flat      flat         flat
    the other two       none         none      none         none
    ==================  ===========  ========  ===========  =======

    First is every layer that reads the image itself, last every layer whose sums are the logits. z+
    in the last layer would drop whatever speaks against the class, and erase a class whose weights
    on the active units are all negative. `attention` is for transformers, whose activations have
    both signs; `plus`, for them too, makes no relevance in their many linear layers, where epsilon
    and gamma do. `flat` spreads relevance evenly over receptive fields and knows nothing of the
    image. With `zero_bias` a bias takes no share of relevance, but the last layer's does, where the
    rule is epsilon: relevance starts as its sums with it, and over the sums without it that is a
    quotient without bound (32 times the logits' relevance in one network, whose map agrees with
    occlusion by 0.92 with the share, by -0.41 without). What that bias takes is lost to the image.
    `rescale` is DeepLIFT (Shrikumar et al. 2017): it shares out what the image changes against a
    reference, and so sees what speaks by silencing units that are active there, as no other does.

    Sums, means and resizing share out by positive parts under the composites of z+, a departure
    from Zennit, whose Norm shares in proportion; evenly under `flat`; else in proportion. On what
    is rectified they agree.

    z+ makes none and loses some where a sum has no positive part; epsilon and gamma lose none, but
    can magnify it without bound where inputs cancel.
    """
    from zennit.rules import Epsilon, Flat, Gamma, ZPlus

    zero, last = ["bias"] if zero_bias else None, Epsilon()
    plus, epsilon, flat = ZPlus(zero_params=zero), Epsilon(zero_params=zero), Flat()
    softened = Gamma(gamma, zero_params=zero)
    table: dict[str, tuple[Any, Any, Any, Any]] = {
        "epsilon_plus": (plus, epsilon, plus, last),
        "epsilon_plus_flat": (plus, epsilon, flat, last),
        "plus": (plus, plus, plus, last),
        "gamma": (softened, epsilon, softened, last),
        "epsilon": (epsilon, epsilon, epsilon, last),
        "attention": (softened, softened, softened, last),
        "flat": (flat,) * 4,
        "gradient_x_input": (epsilon,) * 4,
        "rescale": (epsilon,) * 4,
    }
    ways: dict[str, Way] = {"flat": "evenly"}
    ways |= dict.fromkeys(("epsilon_plus", "epsilon_plus_flat", "plus"), "positive")
    return Rules(
        *table[name],
        zero_bias,
        way=ways.get(name, "proportion"),
        plain=name == "gradient_x_input",
        compares=name == "rescale",
    )
