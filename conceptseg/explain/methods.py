"""Local methods, made from the entries of a study's file."""

from collections.abc import Sequence

from torch import Tensor

from conceptseg.catalogue import Choice, choice_labels, parse
from conceptseg.errors import InputError
from conceptseg.explain.contract import Explainer
from conceptseg.explain.scene import Scene
from conceptseg.network.model import SegmentationModel
from conceptseg.network.record import undisturbed


def explainers(entries: Sequence[Choice], layer: str) -> dict[str, Explainer]:
    """The methods by label, at a study's layer where they have one and name none themselves."""
    made = {}
    for label, entry in zip(choice_labels(entries), entries, strict=True):
        method: Explainer = parse("explainers", entry)
        if getattr(method, "layer", None) == "auto":
            method = method.model_copy(update={"layer": layer})
        made[label] = method
    return made


def check_methods(
    entries: Sequence[Choice], model: SegmentationModel, image: Tensor, layer: str = "auto"
) -> None:
    """InputError for a method that does not suit the network or an image [1, c, h, w].

    So it is for one that names a layer which the network lacks, or one without a map.
    """
    methods = explainers(entries, layer)
    named = {
        name
        for method in methods.values()
        for wanted in (getattr(method, "layer", "auto"), getattr(method, "layers", "auto"))
        for name in ((wanted,) if isinstance(wanted, str) else wanted)
    }
    for name in sorted(named - {"auto", layer}):
        model.layer_name(name, image)
    for label, method in methods.items():
        try:
            with undisturbed(model):
                method.check(Scene(model, image))
        except InputError as error:
            raise InputError(f"{label}: {error}") from None
