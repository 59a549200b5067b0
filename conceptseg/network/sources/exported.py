"""A `torch.export` program (.pt2): `name` is its file. Its modules are layers as they were.

Export it in evaluation mode with a dynamic batch; where height and width are fixed, images are
resized to them. torch saves such files since 2.8. No code of the file is run: it may hold tensors
and steps that are torch's own operators on them, and anything else is refused
(:mod:`conceptseg.network.sources._archive`).
"""

import tempfile
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.export import ExportedProgram, unflatten

from conceptseg.config import ModelConfig, Preprocessing
from conceptseg.errors import InputError
from conceptseg.network.blame import out_of_memory
from conceptseg.network.model import SegmentationModel
from conceptseg.network.sources._archive import copy_checked
from conceptseg.network.sources._common import (
    class_names,
    existing,
    finish,
    no_arguments,
    no_weights,
)


def load(config: ModelConfig, classes: Sequence[str]) -> SegmentationModel:
    """The program of the file `config.name`."""
    path = existing(config.name, "exported program")
    no_weights(config, "an exported program")
    no_arguments(config, "an exported program")
    module, channels, size = _opened(path)
    own = Preprocessing(size=size) if size else None
    names = class_names(config, classes)
    return finish(config, module, names, own=own, channels=channels, origin=path.name)


def _opened(path: Path) -> tuple[nn.Module, int, tuple[int, int] | None]:
    """The program's modules, channels of its input, and its height and width where these are fixed.

    Raises :class:`~conceptseg.errors.InputError` for a file that is damaged or holds anything that
    is not opened.
    """
    with tempfile.TemporaryFile() as copy:
        with _told(path, cure="export the plain network"):
            copy_checked(path, copy)
        copy.seek(0)
        with _told(path), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a format that torch may change
            program = torch.export.load(copy)
            module = unflatten(program)
            shape = _input(program)
    n, c, h, w = shape
    if isinstance(n, int):
        raise InputError(
            f"model.name: {path}: was exported for batches of exactly {n}; export it with "
            "dynamic_shapes=({0: torch.export.Dim.DYNAMIC},)"
        )
    return module, int(c), (h, w) if isinstance(h, int) and isinstance(w, int) else None


@contextmanager
def _told(path: Path, cure: str = "") -> Iterator[None]:
    """Within it, whatever goes wrong is the file's fault: its content decides what torch does."""
    try:
        yield
    except InputError as error:
        end = f"; {cure}" if cure else ""
        raise InputError(f"model.name: {path}: {error}{end}") from error
    except Exception as error:
        if out_of_memory(error):
            raise
        text = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise InputError(
            f"model.name: {path}: damaged or not saved by torch.export.save ({text[:160]})"
        ) from error


def _input(program: ExportedProgram) -> Sequence[Any]:
    """Images, channels, height and width of the one input; symbols where any number will do."""
    wanted = program.graph_signature.user_inputs
    nodes = [n for n in program.graph.nodes if n.op == "placeholder" and n.name in wanted]
    shapes: list[Any] = [getattr(node.meta.get("val"), "shape", ()) for node in nodes]
    if len(shapes) != 1 or len(shapes[0]) != 4:
        raise InputError("must take one input, images [n, c, h, w]")
    return tuple(shapes[0])
