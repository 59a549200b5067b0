"""Keys of a checkpoint that a network lacks: which may be left, which show another network."""

import re
from collections import Counter
from collections.abc import Sequence

from torch import Tensor, nn

COUNTERS = ("num_batches_tracked", "total_ops", "total_params", "n_averaged")
"""Endings of keys that evaluation never reads: they may be missing, and are not named."""

BUFFERS = re.compile(
    r"(^|_)(mean|std)$|position_ids$|relative_position_index$|relative_coords_table$|attn_mask$"
)
"""Names of constants, which carry nothing that was learnt."""

HEADS = {"fc", "classifier", "last_linear"}
"""Classification heads of backbones, which segmentation networks drop."""

NAMED = 3


def listed(keys: Sequence[str]) -> str:
    """The first of some keys; where they are many, of each part of a network how many."""
    if len(keys) > NAMED:
        parts = Counter(key.partition(".")[0] for key in keys)
        keys = [f"{part} ({count} tensors)" if count > 1 else part for part, count in parts.items()]
    return ", ".join(keys[:NAMED]) + (f", ... ({len(keys)})" if len(keys) > NAMED else "")


def is_foreign(key: str, tensor: Tensor, module: nn.Module) -> bool:
    """Whether a key that a network lacks shows that another network was saved."""
    parts = key.split(".")
    if not tensor.is_floating_point() or tensor.numel() <= 1 or BUFFERS.search(parts[-1]):
        return False
    if any(re.search(r"aux|deep_?sup", part) for part in parts):
        return False
    depth, holder = 0, module
    while depth < len(parts) - 1 and (inner := holder._modules.get(parts[depth])) is not None:
        depth, holder = depth + 1, inner
    if depth:
        return parts[depth] not in HEADS
    # Beside the network's own parts: conv3 or layer5 of a deeper one, or something else.
    stem = parts[0].rstrip("0123456789")
    return stem != parts[0] and any(
        name != stem and name.rstrip("0123456789") == stem for name, _ in module.named_children()
    )


def described(missing: list[str], extra: list[str], other: list[str]) -> str:
    """What keeps a state from filling a network, the first keys of each kind."""
    kinds = (("missing", missing), ("unexpected", extra), ("of another shape", other))
    words = [
        f"{len(keys)} {what} ({', '.join(keys[:NAMED])}{', ...' if len(keys) > NAMED else ''})"
        for what, keys in kinds
        if keys
    ]
    return "; ".join(words) or "its own loader leaves weights out"
