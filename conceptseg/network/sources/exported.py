"""A `torch.export` program (.pt2): `name` is its file. Its modules are layers as they were.

Export it in evaluation mode with a dynamic batch; where height and width are fixed, images are
resized to them. A program is code: load only what you trust. Pickles inside the file that hold
more than tensors are refused unread, and so are compiled parts.
"""

import io
import json
import pickle
import zipfile
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import torch
from torch.export import ExportedProgram, unflatten

from conceptseg.config import ModelConfig, Preprocessing
from conceptseg.errors import InputError
from conceptseg.network.model import SegmentationModel
from conceptseg.network.sources._common import (
    class_names,
    existing,
    finish,
    no_arguments,
    no_weights,
)

PICKLES = ("data/sample_inputs/", "data/weights/", "data/constants/")
REFUSED = ("data/aotinductor/", "custom_obj", "opaque_obj")


def load(config: ModelConfig, classes: Sequence[str]) -> SegmentationModel:
    """The program of the file `config.name`."""
    path = existing(config.name, "exported program")
    no_weights(config, "an exported program")
    no_arguments(config, "an exported program")
    check_archive(path)
    try:
        program = torch.export.load(path)
    except Exception as error:
        text = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise InputError(
            f"model.name: {path}: damaged or not saved by torch.export.save ({text[:160]})"
        ) from error
    channels, size = _input(program, path)
    own = Preprocessing(size=size) if size else None
    names = class_names(config, classes)
    module = unflatten(program)
    return finish(config, module, names, own=own, channels=channels, origin=path.name)


def check_archive(path: Path) -> None:
    """Refuse a file in which torch would open a pickle that is not tensors only.

    torch.export.load falls back to full unpickling, which runs code, where weights-only loading
    fails; so each of its pickles is opened weights-only first.

    Raises :class:`~conceptseg.errors.InputError` naming the entry.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            if len(set(names)) != len(names):
                raise InputError(f"model.name: {path}: has two entries of one name; save it again")
            for name in names:
                inner = PurePosixPath(*PurePosixPath(name).parts[1:]).as_posix()
                if any(part in inner for part in REFUSED):
                    raise InputError(f"model.name: {path}: holds {inner}, which is not opened; "
                                     "export the plain network")  # fmt: skip
                if inner.startswith(PICKLES) and _is_pickled(inner, archive, name):
                    torch.load(io.BytesIO(archive.read(name)), weights_only=True)
    except zipfile.BadZipFile as error:
        raise InputError(
            f"model.name: {path}: damaged or not saved by torch.export.save"
        ) from error
    except (pickle.UnpicklingError, RuntimeError, EOFError, LookupError, OSError) as error:
        raise InputError(
            f"model.name: {path}: holds a pickle with more than tensors, which could run code, so "
            "it was not opened; export the plain network"
        ) from error


def _is_pickled(inner: str, archive: zipfile.ZipFile, name: str) -> bool:
    """Whether torch would unpickle an entry: .pt files, and payloads marked so beside them."""
    if inner.endswith(".pt"):
        return True
    if inner.endswith(".json"):
        return False
    folder = name.rpartition("/")[0]
    tables = [n for n in archive.namelist() if n.startswith(folder) and n.endswith(".json")]
    entries: list[dict[str, Any]] = []
    for table in tables:
        entries += json.loads(archive.read(table)).get("config", {}).values()
    marked = {entry["path_name"]: entry.get("use_pickle", True) for entry in entries}
    return bool(marked.get(inner.rpartition("/")[2], True))


def _input(program: ExportedProgram, path: Path) -> tuple[int, tuple[int, int] | None]:
    """Channels of the one input, and its height and width where they are fixed."""
    wanted = program.graph_signature.user_inputs
    nodes = [n for n in program.graph.nodes if n.op == "placeholder" and n.name in wanted]
    shapes: list[Any] = [getattr(node.meta.get("val"), "shape", ()) for node in nodes]
    if len(shapes) != 1 or len(shapes[0]) != 4:
        raise InputError(f"model.name: {path}: must take one input, images [n, c, h, w]")
    n, c, h, w = shapes[0]
    if isinstance(n, int):
        raise InputError(
            f"model.name: {path}: was exported for batches of exactly {n}; export it with "
            "dynamic_shapes=({0: torch.export.Dim.DYNAMIC},)"
        )
    return int(c), (h, w) if isinstance(h, int) and isinstance(w, int) else None
