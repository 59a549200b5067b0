"""Weight normalisation in checkpoints: w = g v / |v|, stored in an old form, a new one, or as w.

`torch.nn.utils.weight_norm` stores `weight_g` and `weight_v`, its successor in
`torch.nn.utils.parametrizations` `parametrizations.weight.original0` and `original1`. Salimans and
Kingma, NeurIPS 2016, equation 2.
"""

import re
from collections.abc import Mapping

import torch
from torch import Tensor

_OLD = re.compile(r"(\w+)_([gv])")
_NEW = re.compile(r"(\w+)\.original([01])")

Factors = dict[tuple[str, str], dict[str, tuple[str, Tensor]]]
"""(prefix of a module, name of its weight) -> "g" and "v", each the key it has and the tensor."""


def renormed(state: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A state with its normalised weights in the form that a network of keys `wanted` has.

    Everything else stays. A network without the normalisation gets w itself.
    """
    result = dict(state)
    for (before, name), pair in _factors(state).items():
        if pair.keys() != {"g", "v"}:
            continue
        forms = {
            "g": (f"{before}{name}_g", f"{before}parametrizations.{name}.original0"),
            "v": (f"{before}{name}_v", f"{before}parametrizations.{name}.original1"),
        }
        if f"{before}{name}" in wanted and f"{before}{name}" not in state:
            for key, _ in pair.values():
                del result[key]
            result[f"{before}{name}"] = _product(pair["g"][1], pair["v"][1])
            continue
        for factor, names in forms.items():
            key, tensor = pair[factor]
            fitting = next((one for one in names if one in wanted), key)
            if fitting != key:
                del result[key]
                result[fitting] = tensor
    return result


def _factors(state: Mapping[str, Tensor]) -> Factors:
    found: Factors = {}
    for key, tensor in state.items():
        if (one := _factor(key)) is not None:
            before, name, factor = one
            found.setdefault((before, name), {})[factor] = (key, tensor)
    return found


def _factor(key: str) -> tuple[str, str, str] | None:
    """(prefix of its module, name of its weight, g or v) of a key that names a factor.

    The key is cut first: an expression that looks for its own start takes the square of its length.
    """
    before, dot, last = key.rpartition(".")
    if match := _OLD.fullmatch(last):
        return before + dot, match[1], match[2]
    before, mark, last = key.rpartition("parametrizations.")
    match = _NEW.fullmatch(last) if mark else None
    return None if match is None else (before, match[1], "gv"[int(match[2])])


def _product(g: Tensor, v: Tensor) -> Tensor:
    """g v / |v|, the norm over every dimension in which g has one entry for all of v."""
    if g.ndim != v.ndim:
        return v * (g / torch.linalg.vector_norm(v))
    shared = [i for i in range(v.ndim) if g.shape[i] == 1]
    return v * (g / torch.linalg.vector_norm(v, dim=shared, keepdim=True))
