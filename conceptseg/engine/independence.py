"""Whether a network's classes are one of many at each pixel, or each a yes or no of its own.

The user says so by `model.values`. Where he does not, what is known speaks: a background of the
data for which there is no output, or the logits themselves.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from conceptseg.config import StudyKeys
from conceptseg.errors import InputError, few
from conceptseg.network.label_map import label_map

if TYPE_CHECKING:
    from torch import Tensor

    from conceptseg.data.manifest import Manifest
    from conceptseg.network.model import SegmentationModel

NO_CLASS = ("background", "void", "other", "unlabelled", "unlabeled", "none", "rest")
SHARED = 0.3
"""What classes share of their logits, as a ratio (:func:`shared`), from which they may be
independent. Of fifteen trained networks with a softmax it was 0.00 to 0.46, of networks trained
class by class 0.5 to 8; so it is asked for beside the signs, which in those fifteen spoke against
it."""
NONE = 0.1
"""Share of pixels at which all say no: no softmax has reason to make all logits negative."""
EITHER = 0.95
"""Share of pixels at which either the background says yes or a class does."""
SEVERAL = 0.02
"""Share of pixels at which several classes besides the background say yes."""
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
            f"for it ({few(outputs, 4)}): {CURE}"
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

    That is so where they share much of their logits and the signs are those of yes and no: at many
    pixels all say no, or, beside an output for the background, either that says yes or classes do,
    and sometimes several.
    """
    import torch

    from conceptseg.network.outputs import FOLDED

    own = model.interpretation
    said = own.reading.values is not None or own.reading.merge or own.reading.drop
    plain = own.numbers is not None and own.numbers.values == "logits"
    folded = own.taken is not None and own.taken.rule in FOLDED
    if said or not plain or folded or len(own.outputs) < 3:
        return None
    alike, yes = shared(logits), logits > 0
    ground = _background(own.outputs)
    if ground is None:
        none = float((~yes.any(1)).float().mean())
        signs, found = f"no logit is positive at {none:.0%} of pixels", none > NONE
    else:
        classes = torch.cat([yes[:, :ground], yes[:, ground + 1 :]], 1)
        either = float((yes[:, ground] ^ classes.any(1)).float().mean())
        several = float((classes.sum(1) > 1).float().mean())
        found = either > EITHER and several > SEVERAL
        signs = (
            f"either {own.outputs[ground]} or a class is positive at {either:.0%} of pixels, and "
            f"several classes are at {several:.0%}"
        )
    if not found or alike <= SHARED:
        return None
    return (
        f"{signs}, and the classes rise and fall together (ratio {alike:.2f}; by a softmax near 0)"
    )


def by_masks(parts: Iterable[tuple[Tensor, Tensor]]) -> tuple[float, float]:
    """Mean IoU, over the classes that the masks hold, of the class of the largest logit at each
    pixel, and of where each class's own logit is positive.

    Parts are logits [n, k, h, w] and labels int [n, h, w]; pixels whose label is no class are left
    out.
    """
    import torch

    counts = torch.stack([_counted(logits, labels) for logits, labels in parts]).sum(0).double()
    both, either, drawn = counts.unbind(1)  # [2, k] each
    held = drawn[0] > 0
    largest, signs = (both[:, held] / either[:, held]).mean(1).tolist()
    return largest, signs


def _counted(logits: Tensor, labels: Tensor) -> Tensor:
    """Pixels [2, 3, k] of each class, by the largest logit and by signs: in both the prediction and
    the mask, in either, and in the mask."""
    import torch

    k = logits.shape[1]
    known = (labels >= 0) & (labels < k)
    drawn = torch.stack([(labels == c) & known for c in range(k)], 1)
    largest = torch.stack([label_map(logits) == c for c in range(k)], 1)
    shown = [each & known[:, None] for each in (largest, logits > 0)]
    found = [torch.stack((each & drawn, each | drawn, drawn)).sum((1, 3, 4)) for each in shown]
    return torch.stack(found).cpu()


def _background(outputs: Sequence[str]) -> int | None:
    """The place of the output that stands for no class, if there is one."""
    named = [place for place, name in enumerate(outputs) if name.lower().strip("_ ") in NO_CLASS]
    return named[0] if named else None


def is_told(model: SegmentationModel, manifest: Manifest) -> bool:
    """Whether anything says that each pixel has one class: a background, or masks."""
    named = _background(model.interpretation.outputs) is not None
    return named or manifest.background is not None or manifest.any_labelled
