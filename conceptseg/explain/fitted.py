"""Fitted methods: what was fitted to one network, kept as numbers alone and refused to any other.

A file of safetensors holds the tensors; its header says of which kind of method they are, and the
fingerprint of the network that they were fitted to (weights, structure, preprocessing, classes).
Reading one runs no code of whoever wrote it. A finished run that fitted such a method holds the
same in its result, so its folder serves as the file.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from conceptseg.errors import InputError
from conceptseg.result.saved import UNREADABLE, Result

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from conceptseg.network.model import SegmentationModel

VERSION = 1
HEAD = "conceptseg-fitted"
"""Entry of a file's header."""
IN_RESULT = "fitted-"
"""Before the tensors' names among the arrays of a result."""
MOST_BYTES = 2**30
"""Larger files are none of ours."""


@dataclass(frozen=True)
class Fitted:
    """Tensors of a method of some `kind`, the fingerprint of their `network`, and further `facts`
    as JSON has them."""

    kind: str
    network: str
    tensors: Mapping[str, Tensor]
    facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def head(self) -> dict[str, Any]:
        """What a file's header says; and what a result notes as `fitted`."""
        return {"kind": self.kind, "version": VERSION, "network": self.network, "facts": self.facts}

    @property
    def arrays(self) -> dict[str, np.ndarray]:
        """The tensors as a result holds them."""
        return {f"{IN_RESULT}{name}": one.cpu().numpy() for name, one in self.tensors.items()}

    def save(self, path: Path | str) -> Path:
        """Write a file of safetensors. Raises InputError where it cannot be written."""
        from safetensors.torch import save

        plain = {name: value.detach().cpu().contiguous() for name, value in self.tensors.items()}
        # One entry, for their order in the file is not the same each time.
        data = save(plain, {HEAD: json.dumps(self.head, sort_keys=True)})
        try:
            Path(path).write_bytes(data)
        except OSError as error:
            raise InputError(f"{path}: cannot be written ({error.strerror})") from None
        return Path(path)

    @classmethod
    def load(cls, path: Path | str, kind: str, model: SegmentationModel, cure: str) -> Fitted:
        """What was saved, for the same network; `cure` says how to have it made.

        `path` is a file, or the folder of a run. Raises InputError for one that is missing, of
        another kind, or fitted to other weights.
        """
        try:
            head, tensors = _of_run(Path(path)) if Path(path).is_dir() else _of_file(Path(path))
            if (head.get("kind"), head.get("version")) != (kind, VERSION):
                raise InputError(f"weights: {path} holds no {kind}; {cure}")
            made = cls(kind, head["network"], tensors, dict(head["facts"]))
        except InputError as error:
            text = str(error)
            raise (error if cure in text else InputError(f"weights: {text}; {cure}")) from None
        except UNREADABLE as error:
            raise InputError(f"weights: {path} cannot be read ({error}); {cure}") from None
        check_bound(made.network, model, f"weights: {path}", cure)
        return made


def _of_file(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    from safetensors import SafetensorError, safe_open

    try:
        if not path.is_file() or path.stat().st_size > MOST_BYTES:
            raise InputError(f"{path} is no file of fitted numbers")
        with safe_open(str(path), "pt") as file:
            head = json.loads((file.metadata() or {}).get(HEAD, "{}"))
            return dict(head), {name: file.get_tensor(name) for name in list(file.keys())}
    except (OSError, SafetensorError) as error:
        raise InputError(f"{path} cannot be read ({error})") from None


def _of_run(folder: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """What a finished run fitted: nothing of it is taken that was changed since."""
    import torch

    result = Result.load(folder)
    tensors = {
        name.removeprefix(IN_RESULT): torch.from_numpy(one)
        for name, one in result.arrays.items()
        if name.startswith(IN_RESULT)
    }
    return dict(result.notes.get("fitted", {})), tensors


def check_bound(fingerprint: str, model: SegmentationModel, where: str, cure: str) -> None:
    """Refuse a network that something was not fitted to: its numbers mean nothing there."""
    if model.fingerprint() != fingerprint:
        raise InputError(
            f"{where} was made for other weights (or another preprocessing) than those of model "
            f"{model.name!r}; {cure}"
        )
