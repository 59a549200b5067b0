"""Local methods, made from the entries of a study's file."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from conceptseg.catalogue import Choice, choice_labels, parse
from conceptseg.explain.contract import Explainer
from conceptseg.network.model import SegmentationModel


def explainers(entries: Sequence[Choice], layer: str) -> dict[str, Explainer]:
    """The methods by label, at a study's layer where they have one and name none themselves."""
    made = {}
    for label, entry in zip(choice_labels(entries), entries, strict=True):
        method: Explainer = parse("explainers", entry)
        if getattr(method, "layer", None) == "auto":
            method = method.model_copy(update={"layer": layer})
        made[label] = method
    return made


def check_methods(entries: Sequence[Choice], model: SegmentationModel, image: Tensor) -> None:
    """InputError for a method that names a layer which the network lacks, or without a map."""
    named = {
        layer
        for method in explainers(entries, "auto").values()
        for wanted in (getattr(method, "layer", "auto"), getattr(method, "layers", "auto"))
        for layer in ((wanted,) if isinstance(wanted, str) else wanted)
    }
    for layer in sorted(named - {"auto"}):
        model.layer_name(layer, image)
