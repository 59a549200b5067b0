"""Independent classes: one network that answers several questions, each a yes or no of its own.

What follows in this package takes a network whose classes are one of many at each pixel. A network
of independent classes is several such: of each class, against all that it is not
(:func:`conceptseg.network.values.paired`). They share the module and what was found out about it.
"""

from __future__ import annotations

from copy import copy

from torch import Tensor

from conceptseg.network.interpret import Interpretation
from conceptseg.network.model import SegmentationModel
from conceptseg.network.values import paired


def only(model: SegmentationModel, name: str) -> SegmentationModel:
    """The network of another independent class: its weights shared, its logits (0, z) of `name`.

    Raises :class:`~conceptseg.errors.InputError` for a class that the network lacks.
    """
    own = model.interpretation
    interpretation = Interpretation(own.outputs, own.reading, name)
    interpretation.taken, interpretation.numbers = own.taken, own.numbers
    return _read_by(model, interpretation)


def every(model: SegmentationModel) -> SegmentationModel:
    """The network that puts out the logits z [n, k, h, w] of all its outputs, as they are.

    Of independent classes these are k decisions, each at 0, and none wins over another: for
    :func:`pair`. Of one-of-many classes it is the network itself.
    """
    own = model.interpretation
    if not _several(own):
        return model
    interpretation = copy(own)
    interpretation.every = True
    return _read_by(model, interpretation)


def pair(model: SegmentationModel, logits: Tensor) -> Tensor:
    """What `model` makes of the logits of :func:`every`: [n, 2, h, w] of its own class."""
    own = model.interpretation
    if not _several(own):
        return logits
    place = own.outputs.index(own.classes[1])
    return paired(logits[:, place : place + 1])


def _several(own: Interpretation) -> bool:
    """Whether there is a map for each of several independent classes; known once it has run."""
    assert own.taken is not None, "a pass has been made"
    return own.independent and own.taken.maps.shape[1] > 1


def _read_by(model: SegmentationModel, interpretation: Interpretation) -> SegmentationModel:
    other = copy(model)
    other.interpretation = interpretation
    other.classes = interpretation.classes
    return other
