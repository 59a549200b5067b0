"""Whether a network's classes are one of many at each pixel, or each a yes or no of its own.

The user says so by `model.values`. Where he does not, what is known speaks: a background of the
data for which there is no output, or the logits themselves.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from conceptseg.config import StudyKeys
from conceptseg.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

    from conceptseg.data.manifest import Manifest
    from conceptseg.network.model import SegmentationModel

NO_CLASS = ("background", "void", "other", "unlabelled", "unlabeled", "none", "rest")
SHARED = 0.3
"""What classes share of their logits, as a ratio (:func:`shared`), from which they may be
independent. Of trained networks with a softmax it is 0.00 to 0.2, of independent ones 0.5 to 3."""
MANY = 0.02
"""Share of pixels with no positive logit or with several, above which the readings differ."""
CURE = (
    "if each class is a yes or no of its own, give model.values: independent; if each pixel is of "
    "the one class with the largest logit, model.values: logits"
)


def check_background(study: StudyKeys, manifest: Manifest, model: SegmentationModel) -> None:
    """Refuse a network whose classes may be independent, where the data have a background for
    which it has no output: some class wins there, or all say no.

    Raises :class:`~conceptseg.errors.InputError` with the key that settles it.
    """
    from conceptseg.data.labels import places

    given, outputs = manifest.background, model.interpretation.outputs
    if given is None or study.model.values is not None or len(outputs) < 3:
        return
    if places([given], outputs)[0] is None:
        raise InputError(
            f"{manifest.where} has the background {given!r}, and model {model.name!r} no output "
            f"for it ({', '.join(outputs[:4])}): {CURE}"
        )


def shared(logits: Tensor) -> float:
    """What the classes share of their logits z [n, k, h, w]: E[m^2] / E[(z - m)^2], m = mean_k z.

    A softmax does not see what is added to all logits, and so its loss has no gradient along it:
    the mean over classes stays about where training began, near 0, while differences grow. Of
    independent classes each has its own zero, and the mean follows how many of them say yes.
    """
    mean = logits.double().mean(1, keepdim=True)
    return float((mean**2).mean() / ((logits - mean) ** 2).mean().clamp(min=1e-12))


def look_independent(model: SegmentationModel, logits: Tensor) -> str | None:
    """Why the classes of a network may be independent, by its logits, if nobody has said; or None.

    That is so where they share much of their logits, and a reading by the largest logit would
    differ: at some pixels none is positive, or several are.
    """
    from conceptseg.network.outputs import FOLDED

    own = model.interpretation
    said = own.reading.values is not None or own.reading.merge or own.reading.drop
    plain = own.numbers is not None and own.numbers.values == "logits"
    folded = own.taken is not None and own.taken.rule in FOLDED
    if said or not plain or folded or len(own.outputs) < 3:
        return None
    positive = (logits > 0).sum(1)
    none, several = (float(one.float().mean()) for one in (positive == 0, positive > 1))
    alike = shared(logits)
    if alike <= SHARED or none + several <= MANY:
        return None
    return (
        f"no logit is positive at {none:.0%} of pixels and several are at {several:.0%}, and the "
        f"classes rise and fall together (ratio {alike:.2f}; by a softmax it stays below {SHARED})"
    )


def is_told(model: SegmentationModel, manifest: Manifest) -> bool:
    """Whether anything says that each pixel has one class: a background, or masks."""
    outputs = model.interpretation.outputs
    named = any(name.lower().strip("_ ") in NO_CLASS for name in outputs)
    return named or manifest.background is not None or any(map(manifest.labelled, manifest.samples))
