"""What recording, layers and fillings need to know of a network under study."""

from torch import Tensor, nn

from conceptseg.config import Preprocessing
from conceptseg.network.layout import Window


class Enough(BaseException):
    """Ends a pass early. Not an Exception, so that no `except Exception` in a network eats it."""


class Network(nn.Module):
    """Images [n, c, h, w] in [0, 1] -> logits [n, k, h, w], its preprocessing part of the pass.

    `module` is the user's network, whose layers are named as in `module.named_modules()`; `classes`
    are the names of its outputs, in their order. `spacing` is a pixel's height and width in mm in
    training, where the network's files tell.
    """

    module: nn.Module
    classes: tuple[str, ...]
    name: str
    channels: int
    preprocessing: Preprocessing
    spacing: tuple[float, float] | None = None

    def settle(self, images: Tensor) -> None:
        """Do now, outside of any recording, what has to be tried out before a first pass."""

    def reads(self) -> tuple[int, str]:
        """How many class maps the module itself puts out, and a key of how they are read."""
        return len(self.classes), ""

    def window(self, size: tuple[int, int]) -> Window | None:
        """Corner and size of the image on the network's input of `size`, if it is not all of it."""
        return None
