"""Weights from files: read without running anything."""

import hashlib
import pickle
import re
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from conceptseg.errors import InputError

States = dict[str, dict[str, Tensor]]
"""Of each mapping in a checkpoint that holds tensors: its path in dots ("" for the file itself,
"ema.module" for one within another) -> its tensors by key."""

DEEPEST = 6

RECORDS = {
    "numpy": "dtype ndarray",
    "numpy.core.multiarray": "scalar _reconstruct",
    "numpy._core.multiarray": "scalar _reconstruct",
    "argparse": "Namespace",
    "pathlib": "Path PosixPath PurePath PurePosixPath PureWindowsPath WindowsPath",
    "pathlib._local": "Path PosixPath PurePath PurePosixPath PureWindowsPath WindowsPath",
    "datetime": "date datetime time timedelta timezone",
    "builtins": "bool complex dict float frozenset int list range slice str tuple",
    "typing": "Any",
    "mmengine.logging.history_buffer": "HistoryBuffer",
    "omegaconf.base": "ContainerMetadata Metadata",
    "omegaconf.dictconfig": "DictConfig",
    "omegaconf.listconfig": "ListConfig",
    "omegaconf.nodes": "AnyNode BooleanNode FloatNode IntegerNode StringNode",
}
"""Objects that training code stores beside weights, by module: records, which are not needed."""

DICTIONARIES = {
    "collections": "defaultdict",
    "addict.addict": "Dict",
    "easydict": "EasyDict",
    "mmengine.config.config": "ConfigDict",
    "pytorch_lightning.utilities.parsing": "AttributeDict",
    "lightning.pytorch.utilities.parsing": "AttributeDict",
    "lightning.fabric.utilities.data": "AttributeDict",
    "lightning_fabric.utilities.data": "AttributeDict",
    "yacs.config": "CfgNode",
}
"""The like for kinds of dictionaries."""


def load_state(path: Path | str) -> States:
    """Tensors of a checkpoint, on the CPU.

    `.safetensors` files are read as such; all others by torch's weights-only unpickler, which runs
    no code: where a file names an object of :data:`RECORDS` or :data:`DICTIONARIES`, an empty
    stand-in takes its place. Entries that are no tensors (epoch, history) are left out.

    Raises :class:`~conceptseg.errors.InputError` for a file that is missing, damaged, or holds
    other Python objects.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such checkpoint; check model.weights")
    content = _safetensors(path) if path.suffix == ".safetensors" else _weights_only(path)
    states: States = {}
    _collect(content, (), states)
    if not states:
        raise InputError(
            f"{path}: holds no weights by name; save the network's state_dict() into it"
        )
    return states


def hash_tensors(named: Iterable[tuple[str, Tensor]]) -> str:
    """sha256 (hexadecimal) over names, dtypes, shapes and bytes, in order of name.

    The same on every device and for every memory format; another one when any bit changes.
    """
    digest = hashlib.sha256()
    for name, tensor in sorted(named, key=lambda pair: pair[0]):
        digest.update(f"{name}\0{tensor.dtype}\0{tuple(tensor.shape)}\0".encode())
        plain = tensor.detach().cpu().contiguous().reshape(-1)
        digest.update(plain.view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _collect(content: Any, path: tuple[str, ...], states: States) -> None:
    if not isinstance(content, Mapping) or len(path) > DEEPEST:
        return
    here = {str(key): value for key, value in content.items() if isinstance(value, Tensor)}
    if here:
        states[".".join(path)] = here
    for key, value in content.items():
        _collect(value, (*path, str(key)), states)


def _safetensors(path: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path, device="cpu")
    except (SafetensorError, OSError, ValueError, KeyError) as error:
        raise InputError(f"{path}: damaged or no safetensors file ({_line(error)})") from error


class _Record:
    """Stands for an object that is not needed: takes everything, keeps nothing, does nothing."""

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        return object.__new__(cls)

    def __init__(self, *args: Any, **kwargs: Any):
        pass

    def __setstate__(self, state: Any) -> None:
        pass


class _Dictionary(_Record):
    """Stands for a kind of dictionary: torch lets entries be set in a plain one only."""

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        return {}


def _stand_ins() -> list[Any]:
    """Classes that go by the names in a pickle; the objects of these names are never imported."""
    return [
        type(name, (base,), {"__module__": module, "__qualname__": name})
        for base, known in ((_Record, RECORDS), (_Dictionary, DICTIONARIES))
        for module, names in known.items()
        for name in names.split()
    ]


def _weights_only(path: Path) -> Any:
    try:
        with warnings.catch_warnings(), torch.serialization.safe_globals(_stand_ins()):
            warnings.simplefilter("ignore")  # torch warns of what the errors below say
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        named = re.search(r"GLOBAL (\S+)", str(error))
        raise InputError(
            f"{path}: is a pickle that holds more than tensors"
            f"{f' ({named[1]})' if named else ''} and could run code, so it was not opened; "
            "save the network's state_dict() alone, best as .safetensors"
        ) from error
    # A file that is something else altogether makes the unpickler fail in almost any way.
    except (RuntimeError, EOFError, OSError, ValueError, LookupError, AttributeError, TypeError,
            AssertionError) as error:  # fmt: skip
        if "TorchScript" in str(error):
            raise InputError(
                f"{path}: is a TorchScript program, into which torch lets no one look; save the "
                "network's state_dict(), or export its code by torch.export (source: exported)"
            ) from error
        raise InputError(
            f"{path}: damaged or no torch checkpoint ({_line(error)}); copy or save it again"
        ) from error


def _line(error: BaseException) -> str:
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0][:160]
