"""A network whose logits are powers of linear forms at each pixel, so that integrals are known."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from conceptseg.network.model import SegmentationModel
from tests.small_models import wrapped


class Powers(nn.Module):
    """Logits sum_r (A_kr x)^power at each pixel, without bias."""

    def __init__(self, power: int, classes: int = 2, forms: int = 4):
        super().__init__()
        draws = torch.Generator().manual_seed(7)
        self.forms = nn.Parameter(torch.randn(classes, forms, 3, generator=draws) / 2)
        self.power = power

    def forward(self, x: Tensor) -> Tensor:
        return torch.einsum("krc,nchw->nkrhw", self.forms, x).pow(self.power).sum(2)


def powers(power: int) -> SegmentationModel:
    return wrapped(Powers(power).eval(), 2)


def hessian(model: SegmentationModel, class_id: int) -> Tensor:
    """Q [3, 3] of the quadratic form x'Qx / 2 that a network of squares has at each pixel."""
    forms = model.module.forms.detach()[class_id]
    return 2 * forms.T @ forms
