"""Further files that a study reads, besides its network and its data set.

A run that broke off goes on only where these are what they were: their contents are in its key.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from conceptseg.data.manifest import Manifest
from conceptseg.data.pattern import Pattern
from conceptseg.data.readers._files import digest_file

RESULT = ("result.json", "arrays.npz")
"""What is read of a folder that a study's file names: an earlier result."""


def inputs(config: Mapping[str, Any], manifest: Manifest) -> dict[str, str]:
    """SHA-256 of each, by the key that names it: files, earlier results, and user's masks.

    `config` is a study's configuration as plain data, without its network and data set.
    """
    found = {}
    for key, text in _texts(config, ""):
        if told := [digest_file(one) for one in _named(Path(text))]:
            found[key] = hashlib.sha256("".join(told).encode()).hexdigest()
    for name, pattern in (config.get("masks") or {}).items():
        total, own = hashlib.sha256(), Pattern(pattern, manifest, f"masks.{name}")
        for sample in manifest.samples:
            file = own.file(sample)
            total.update(f"{sample.id}\0{file and digest_file(file)}\0".encode())
        found[f"masks.{name}"] = total.hexdigest()
    return found


def _texts(value: Any, key: str) -> Iterator[tuple[str, str]]:
    """Texts of a configuration that could name a file, with their keys."""
    if isinstance(value, str) and value and "\0" not in value:
        yield key, value
    elif isinstance(value, Mapping):
        for name, one in value.items():
            yield from _texts(one, f"{key}.{name}" if key else str(name))
    elif isinstance(value, Sequence) and not isinstance(value, str | bytes):
        for number, one in enumerate(value):
            yield from _texts(one, f"{key}[{number}]")


def _named(path: Path) -> list[Path]:
    """The files that a text names; none where it is no path, or too long for one."""
    try:
        files = [path / name for name in RESULT] if path.is_dir() else [path]
        return [one for one in files if one.is_file()]
    except OSError:
        return []
