"""Local methods, made from the entries of a study's file, and which of them suit a network."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

from conceptseg.catalogue import Choice, Unsuited, choice_labels, parse
from conceptseg.errors import GradientError, InputError
from conceptseg.explain.contract import Explainer
from conceptseg.explain.scene import Read, Scene, Vary
from conceptseg.explain.target import FixedTarget, Target
from conceptseg.network.blame import escaped
from conceptseg.network.influence import sloping
from conceptseg.network.label_map import label_map
from conceptseg.network.model import SegmentationModel
from conceptseg.network.record import undisturbed


def explainers(entries: Sequence[Choice], layer: str) -> dict[str, Explainer]:
    """The methods by label, at a study's layer where they have one and name none themselves."""
    made = {}
    for label, entry in zip(choice_labels(entries), entries, strict=True):
        method: Explainer = parse("explainers", entry)
        made[label] = method.at(layer)
    return made


def unsuited(
    entries: Sequence[Choice], model: SegmentationModel, image: Tensor, layer: str = "auto"
) -> tuple[Unsuited, ...]:
    """The methods that cannot explain an image [1, c, h, w] of the network, each with the reason.

    Each is checked and then tried on the class that most of the image is predicted as, with few
    passes (:class:`Rehearsal`). Raises InputError, for all methods at once, where one names a layer
    that the network lacks, or one without a map: that is a mistake, and no matter of the method.
    """
    methods = explainers(entries, layer)
    wrong = []
    for label, method in methods.items():
        for name in sorted(method.layers_named - {"auto", layer}):
            try:
                model.layer_name(name, image)
            except InputError as error:
                wrong.append(f"{label}: {error}")
    if wrong:
        raise InputError("; ".join(dict.fromkeys(wrong)))
    found: list[Unsuited] = []
    clean = Scene(model, image).logits if methods else None  # one pass, not one for each method
    broken: GradientError | None = None
    for entry, (label, method) in zip(entries, methods.items(), strict=True):
        elsewhere = method.own_rules or method.layers_named - {"auto", layer}
        with _without_gradients(None if elsewhere else broken):
            reason = _tried(method, model, image, clean)
        if reason is None:
            continue
        found.append(Unsuited(entry, label, str(reason)))
        if broken is None and isinstance(reason, GradientError):
            # One that fails from the image on may hold from the layer on, unless it leads nowhere.
            known = layer != "auto" and sloping(model, image, [layer])
            broken = None if known else reason
    return tuple(found)


@contextmanager
def _without_gradients(broken: GradientError | None) -> Iterator[None]:
    """Inside, what would keep a graph for a gradient that is known to fail fails at once.

    A pass whose gradient fails takes as long as any, and may never give back its memory.
    """

    def refuse(tensor: Tensor) -> Tensor:
        assert broken is not None
        raise broken

    if broken is None:
        yield
        return
    with torch.autograd.graph.saved_tensors_hooks(refuse, lambda tensor: tensor):
        yield


def attempted(
    method: Explainer, scene: Scene, targets: Sequence[Target]
) -> tuple[Tensor, str | None]:
    """A method's maps [t, n, h, w], or nan in place of all and why the method cannot make them."""
    try:
        return method.on(scene, targets), None
    except Exception as error:
        reason = failing(error)
        if reason is None:
            raise
    nothing = scene.images.new_full((len(targets), len(scene), *scene.size), float("nan"))
    return nothing.float(), reason


def failing(error: Exception) -> str | None:
    """Why a method failed, where the network or the image is to blame; else None."""
    theirs = error if isinstance(error, InputError) else escaped(error)
    return None if theirs is None else str(theirs)


def _tried(
    method: Explainer, model: SegmentationModel, image: Tensor, clean: Tensor | None
) -> InputError | None:
    """Why a method cannot explain an image with logits `clean`, None where it can."""
    try:
        with undisturbed(model):
            method.check(Scene(model, image, clean=clean))
        scene = Rehearsal(model, image, clean=clean)
        most = int(label_map(scene.logits).flatten().mode().values)
        method.reduced(scene).on(scene, [Target(most)])
    except InputError as error:
        return error
    except Exception as error:
        reason = failing(error)
        if reason is None:
            raise
        return InputError(reason)
    return None


class Rehearsal(Scene):
    """A scene of one image in which only the first of many variants goes through the network.

    The others are given its numbers, however they are cut, so a map made in it means nothing: it
    only tells whether the method can make one.
    """

    _found: Tensor | None = None
    """Gradients at the first variant."""

    def respond(self, count: int, vary: Vary, read: Read) -> Tensor:
        if not count:
            return super().respond(count, vary, read)
        numbers = super().respond(1, vary, read)
        return numbers.expand(*numbers.shape[:-1], count).clone()

    def input_gradients(self, images: Tensor, scores: Sequence[FixedTarget]) -> Tensor:
        shape = (len(scores), len(self), *images.shape[1:])
        if self._found is None or self._found.shape != shape:
            self._found = super().input_gradients(images[: len(self)], scores)
        return torch.cat([self._found] * (len(images) // len(self)), 1)
