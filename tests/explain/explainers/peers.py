"""Another library's maps, before it normalises them."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from conceptseg.explain.scene import Scene
from conceptseg.explain.target import Target
from conceptseg.network.model import SegmentationModel


def grad_cam_map(
    name: str, model: SegmentationModel, layer: str, images: Tensor, target: Target
) -> Tensor:
    """The signed map [n, y, x] of pytorch-grad-cam's class `name`, for a sum of logits."""
    library = pytest.importorskip("pytorch_grad_cam")
    if not hasattr(library, name):
        pytest.skip(f"this release of pytorch_grad_cam has no {name}")
    from pytorch_grad_cam.utils.model_targets import SemanticSegmentationTarget

    assert (target.score, target.reduce) == ("logit", "sum")
    masks = Scene(model, images).fix(target).mask.float().numpy()
    wanted = [SemanticSegmentationTarget(target.class_id, mask) for mask in masks]
    module = model.module.get_submodule(layer)
    # Not as a context: that would swallow an IndexError.
    cam = getattr(library, name)(model, [module])
    try:
        cam(images, wanted)
        taken = cam.activations_and_grads
        activation = taken.activations[0].numpy()
        gradient = taken.gradients[0].numpy() if cam.uses_gradients else None
        found = cam.get_cam_image(images, module, wanted, activation, gradient, False)
    finally:
        cam.activations_and_grads.release()
    return torch.from_numpy(found)
