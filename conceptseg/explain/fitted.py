"""Fitted methods: what was fitted to one network, kept as numbers alone and refused to any other.

A file of safetensors holds the tensors; its header says of which kind of method they are, and the
fingerprint of the network that they were fitted to (weights, structure, preprocessing, classes).
Reading one runs no code of whoever wrote it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from conceptseg.errors import InputError
from conceptseg.result.saved import UNREADABLE

if TYPE_CHECKING:
    from torch import Tensor

    from conceptseg.network.model import SegmentationModel

VERSION = 1
HEAD = "conceptseg-fitted"
"""Entry of a file's header."""
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

    def save(self, path: Path | str) -> Path:
        """Write a file of safetensors. Raises InputError where it cannot be written."""
        from safetensors.torch import save

        head = {"kind": self.kind, "version": VERSION, "network": self.network, "facts": self.facts}
        plain = {name: value.detach().cpu().contiguous() for name, value in self.tensors.items()}
        # One entry, for their order in the file is not the same each time.
        data = save(plain, {HEAD: json.dumps(head, sort_keys=True)})
        try:
            Path(path).write_bytes(data)
        except OSError as error:
            raise InputError(f"{path}: cannot be written ({error.strerror})") from None
        return Path(path)

    @classmethod
    def load(cls, path: Path | str, kind: str, model: SegmentationModel, cure: str) -> Fitted:
        """What was saved, for the same network; `cure` says how to have it made.

        Raises InputError for a file that is missing, of another kind, or fitted to other weights.
        """
        from safetensors import SafetensorError, safe_open

        try:
            if not Path(path).is_file() or Path(path).stat().st_size > MOST_BYTES:
                raise InputError(f"weights: {path} is no file of fitted numbers; {cure}")
            with safe_open(str(path), "pt") as file:
                head = json.loads((file.metadata() or {}).get(HEAD, "{}"))
                if (head.get("kind"), head.get("version")) != (kind, VERSION):
                    raise InputError(f"weights: {path} holds no {kind}; {cure}")
                names = list(file.keys())
                tensors = {name: file.get_tensor(name) for name in names}
            made = cls(kind, head["network"], tensors, dict(head["facts"]))
        except (OSError, SafetensorError, *UNREADABLE) as error:
            raise InputError(f"weights: {path} cannot be read ({error}); {cure}") from None
        check_bound(made.network, model, f"weights: {path}", cure)
        return made


def check_bound(fingerprint: str, model: SegmentationModel, where: str, cure: str) -> None:
    """Refuse a network that something was not fitted to: its numbers mean nothing there."""
    if model.fingerprint() != fingerprint:
        raise InputError(
            f"{where} was made for other weights (or another preprocessing) than those of model "
            f"{model.name!r}; {cure}"
        )
