"""What recording, layers and fillings need to know of a network under study."""

from torch import nn

from conceptseg.config import Preprocessing


class Network(nn.Module):
    """Images [n, c, h, w] in [0, 1] -> logits [n, k, h, w], its preprocessing part of the pass.

    `module` is the user's network, whose layers are named as in `module.named_modules()`; `classes`
    are the names of its outputs, in their order.
    """

    module: nn.Module
    classes: tuple[str, ...]
    name: str
    channels: int
    preprocessing: Preprocessing
