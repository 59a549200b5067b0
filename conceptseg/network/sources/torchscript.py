"""A TorchScript program: `name` is its file. It has no layers to look into.

torch forbids hooks on script modules, so studies of a layer need the network's code
(source `factory`) or a `torch.export` program (source `exported`). A program is code: load only
what you trust.
"""

import warnings
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from conceptseg.config import ModelConfig
from conceptseg.errors import InputError
from conceptseg.network.model import SegmentationModel
from conceptseg.network.sources._common import (
    class_names,
    existing,
    finish,
    no_arguments,
    no_weights,
)


class Program(nn.Module):
    """A script module within an ordinary one, which takes hooks at least around the whole."""

    def __init__(self, program: torch.jit.ScriptModule):
        super().__init__()
        self.program = program

    @property
    def code(self) -> str:
        """The program's text, which is part of a network's fingerprint."""
        return str(self.program.code)

    def forward(self, images: Tensor) -> object:
        __tracebackhide__ = True
        return self.program(images)


def load(config: ModelConfig, classes: Sequence[str]) -> SegmentationModel:
    """The program of the file `config.name`, in evaluation mode."""
    path = existing(config.name, "TorchScript")
    no_weights(config, "a TorchScript program")
    no_arguments(config, "a TorchScript program")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            program = torch.jit.load(path, map_location="cpu")
    except (RuntimeError, ValueError, OSError) as error:
        raise InputError(
            f"model.name: {path}: damaged or no TorchScript program; save it by torch.jit.save "
            "(weights alone go to model.weights of another source)"
        ) from error
    return finish(config, Program(program), class_names(config, classes), origin=path.name)
