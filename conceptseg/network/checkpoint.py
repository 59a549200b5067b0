"""Weights from files: read without running anything."""

import hashlib
import os
import pickle
import re
import warnings
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from conceptseg.errors import InputError, check_regular

States = dict[str, dict[str, Tensor]]
"""Of each mapping in a checkpoint that holds tensors: its path in dots ("" for the file itself,
"ema.module" for one within another) -> its tensors by key."""

DEEPEST, MOST, LONGEST = 6, 100_000, 1000
"""Mappings within mappings, mappings in all, and characters of a key, beyond which nothing is read:
an optimiser's are some for each weight."""
SPREAD = 1 << 28
"""Bytes that views may come to, in all, which show more than the file holds."""

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

    What is read takes no more memory than the file has bytes.

    Raises :class:`~conceptseg.errors.InputError` for a file that is missing, damaged, packed, or
    holds other Python objects or tensors that are not plain numbers side by side.
    """
    path = Path(path)
    check_regular(path)
    if not os.path.isfile(path):
        raise InputError(f"{path}: no such checkpoint; check model.weights")
    content = _safetensors(path) if path.suffix == ".safetensors" else _weights_only(path)
    states: States = {}
    _collect(content, states, str(path))
    _check_bytes(states, path)
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


def _collect(content: Any, states: States, source: str) -> None:
    waiting: list[tuple[tuple[str, ...], Any]] = [((), content)]
    for path, mapping in waiting:  # which grows meanwhile
        if not isinstance(mapping, Mapping):
            continue
        if len(waiting) > MOST:
            raise InputError(f"{source}: more than {MOST} mappings; save the state_dict() alone")
        named = {str(key): value for key, value in mapping.items()}
        if max(map(len, named), default=0) > LONGEST:
            raise InputError(f"{source}: damaged: a key of more than {LONGEST} characters")
        here = {
            key: _plain(value, key, source)
            for key, value in named.items()
            if isinstance(value, Tensor)
        }
        if here:
            states[".".join(path)] = here
        if len(path) < DEEPEST:
            waiting += [
                ((*path, key), value) for key, value in named.items() if isinstance(value, Mapping)
            ]


def _plain(tensor: Tensor, key: str, source: str) -> Tensor:
    """A tensor whose numbers lie in memory as they are."""
    kinds = {
        "sparse": tensor.layout not in (torch.strided, torch.jagged),
        "nested": tensor.is_nested,
        "quantised": tensor.is_quantized,
        "without values (meta)": tensor.is_meta,
    }
    for kind, found in kinds.items():
        if found:
            raise InputError(f"{source}: {key} is {kind}; save plain tensors of numbers")
    return tensor.resolve_conj().resolve_neg()


def _check_bytes(states: States, path: Path) -> None:
    """Refuse tensors that show, or have allocated, more than there is in the file."""
    tensors = [tensor for state in states.values() for tensor in state.values()]
    storages = {tensor.untyped_storage().data_ptr(): tensor for tensor in tensors}
    held = sum(tensor.untyped_storage().nbytes() for tensor in storages.values())
    spread = sum(
        size
        for tensor in tensors
        if (size := tensor.numel() * tensor.element_size()) > tensor.untyped_storage().nbytes()
    )
    if held > path.stat().st_size or spread > SPREAD:
        raise InputError(
            f"{path}: its tensors would take more memory than the file has bytes; save the "
            "network's state_dict() again"
        )


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


def _check_archive(path: Path) -> None:
    """Refuse an archive that is packed, which torch's own are not: a small one could fill memory;
    and one that does not fit its checksums, at which torch does not look.

    What is no archive, or a program, is left to torch, which refuses it.
    """
    try:
        archive = zipfile.ZipFile(path)
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
        return
    with archive:
        entries = archive.infolist()
        if any(entry.filename.endswith("constants.pkl") for entry in entries):
            return
        size = sum(entry.file_size for entry in entries)
        if size > path.stat().st_size or any(entry.compress_type for entry in entries):
            raise InputError(
                f"{path}: is packed, {size} bytes in {path.stat().st_size}, which torch's "
                "checkpoints are not; unpack it and save it by torch.save or as .safetensors"
            )
        for entry in entries:
            if entry.CRC:  # torch can be told to leave them out, and writes 0 then
                _check_sum(path, archive, entry)


def _check_sum(path: Path, archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> None:
    try:
        with archive.open(entry) as file:
            while file.read(1 << 20):
                pass
    except Exception as error:  # what zipfile raises of damaged bytes has no end
        raise InputError(f"{path}: damaged ({_line(error)}); copy or save it again") from error


def _weights_only(path: Path) -> Any:
    _check_archive(path)
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
    # A file that is something else altogether makes the unpickler fail in any way.
    except Exception as error:
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
