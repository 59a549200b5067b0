"""Weights from files: read without running anything, fitted to a network or refused by key."""

import hashlib
import pickle
import re
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from conceptseg.errors import InputError

WRAPPERS = (
    "state_dict", "model_state_dict", "model_state", "model", "net", "network", "module",
    "weights", "ema", "model_ema", "state_dict_ema", "ema_state_dict",
)  # fmt: skip
"""Keys under which training code stores a network's weights beside other things."""

PREFIXES = ("module.", "model.", "net.", "network.", "_orig_mod.")
"""What DataParallel, Lightning, wrappers and torch.compile put before every key."""

UNUSED = "num_batches_tracked"
"""Batch norm's counter; evaluation never reads it, and old checkpoints lack it."""

NAMED = 3


def load_state(path: Path | str) -> dict[str, Tensor]:
    """Tensors of a checkpoint by key, on the CPU, taken out of any nesting of :data:`WRAPPERS`.

    `.safetensors` files are read as such; all others by torch's weights-only unpickler, which runs
    no code. Entries that are no tensors (epoch, optimiser) are left out.

    Raises :class:`~conceptseg.errors.InputError` for a file that is missing, damaged, holds Python
    objects or several networks.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such checkpoint; check model.weights")
    content = _safetensors(path) if path.suffix == ".safetensors" else _weights_only(path)
    state = _unwrap(content, path)
    if not state:
        raise InputError(
            f"{path}: holds no weights by name; save the network's state_dict() into it"
        )
    return state


def fit_state(module: nn.Module, state: Mapping[str, Tensor], source: str) -> None:
    """Load tensors into a network, all or none of them.

    Prefixes of :data:`PREFIXES` are taken off the keys, or put before them, when that makes more
    keys fit. Only `num_batches_tracked` may be missing or left over. `source` names the checkpoint
    in the message.

    Raises :class:`~conceptseg.errors.InputError` naming the first keys that are missing, left over
    or of another shape; the network is then as it was.
    """
    wanted = module.state_dict()
    state = _best_prefix(state, wanted)
    missing = [k for k in wanted if k not in state and not k.endswith(UNUSED)]
    extra = [k for k in state if k not in wanted and not k.endswith(UNUSED)]
    both = [key for key in wanted if key in state]
    other = [
        f"{key} is {list(state[key].shape)}, the network's {list(wanted[key].shape)}"
        for key in both
        if state[key].shape != wanted[key].shape
    ]
    problems = [
        f"{len(keys)} {what} ({_first(keys)})"
        for what, keys in (("missing", missing), ("unexpected", extra), ("of another shape", other))
        if keys
    ]
    if problems:
        raise InputError(
            f"{source}: does not fit the network: {'; '.join(problems)}; "
            f"check model.name, model.arguments and model.classes{_hint(extra)}"
        )
    module.load_state_dict({key: state[key] for key in both}, strict=False)


def load_weights(module: nn.Module, path: Path | str) -> None:
    """:func:`load_state`, then :func:`fit_state`."""
    fit_state(module, load_state(path), str(path))


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


def _safetensors(path: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path, device="cpu")
    except (SafetensorError, OSError, ValueError, KeyError) as error:
        raise InputError(f"{path}: damaged or no safetensors file ({_line(error)})") from error


def _weights_only(path: Path) -> Any:
    try:
        with warnings.catch_warnings():
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
                f"{path}: is a TorchScript program; load it with model.source torchscript"
            ) from error
        raise InputError(
            f"{path}: damaged or no torch checkpoint ({_line(error)}); copy or save it again"
        ) from error


def _unwrap(content: Any, path: Path) -> dict[str, Tensor]:
    if not isinstance(content, Mapping):
        return {}
    flat = {str(k): v for k, v in content.items() if isinstance(v, Tensor)}
    nested = {key: found for key in WRAPPERS if (found := _unwrap(content.get(key), path))}
    if flat and not nested:
        return flat
    if not nested:
        return {}
    distinct = {hash_tensors(state.items()) for state in nested.values()}
    if len(distinct) > 1:
        raise InputError(
            f"{path}: holds several networks ({', '.join(nested)}); save the one to study alone"
        )
    return next(iter(nested.values()))


def _best_prefix(state: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The renaming of keys under which most of them are the network's; the plainest of equals."""
    plain = dict(state)
    candidates = [plain]
    compiled = {key.replace("_orig_mod.", ""): value for key, value in plain.items()}
    for start in (plain, compiled) if compiled.keys() != plain.keys() else (plain,):
        stripped: dict[str, Tensor] | None = start
        while stripped is not None:
            candidates.append(stripped)
            stripped = _strip(stripped)
    candidates += [{prefix + key: value for key, value in plain.items()} for prefix in PREFIXES]
    return max(candidates, key=lambda renamed: len(renamed.keys() & wanted.keys()))


def _strip(state: Mapping[str, Tensor]) -> dict[str, Tensor] | None:
    """Keys without the prefix that most of them have; None when there is none, or keys would clash.

    Keys without the prefix stay as they are, to be named as left over.
    """
    for prefix in PREFIXES:
        if 2 * sum(key.startswith(prefix) for key in state) > len(state):
            stripped = {key.removeprefix(prefix): value for key, value in state.items()}
            return stripped if len(stripped) == len(state) else None
    return None


def _first(keys: list[str]) -> str:
    return ", ".join(keys[:NAMED]) + (", ..." if len(keys) > NAMED else "")


def _hint(extra: list[str]) -> str:
    if extra and all(key.startswith("aux_classifier.") for key in extra):
        return " (aux_classifier comes with model.arguments.aux_loss: true)"
    return ""


def _line(error: BaseException) -> str:
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0][:160]
