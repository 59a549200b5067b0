"""Further files that a study reads, besides its network and its data set.

A run that broke off goes on only where these are what they were: in its key are the contents of
files, and of masks that lie beside the images their names, sizes and times of modification.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from conceptseg.data.hashed import digest_file
from conceptseg.data.manifest import Manifest
from conceptseg.data.pattern import Pattern

RESULT = ("result.json", "arrays.npz")
"""What is read of a folder that a study's file names: an earlier result."""


def inputs(config: Mapping[str, Any]) -> dict[str, str]:
    """SHA-256 of files and earlier results, by the key that names them; without user's masks.

    `config` is a study's configuration as plain data, without its network and data set.
    """
    found = {}
    for key, text in _texts(config, ""):
        if told := [digest_file(one) for one in _named(Path(text))]:
            found[key] = hashlib.sha256("".join(told).encode()).hexdigest()
    return found


def masks(config: Mapping[str, Any], manifest: Manifest) -> dict[str, Pattern]:
    """The user's masks that lie beside the images, by the key that names them."""
    patterns = (config.get("masks") or {}).items()
    return {f"masks.{name}": Pattern(one, manifest, f"masks.{name}") for name, one in patterns}


def stamps(patterns: Mapping[str, Pattern], manifest: Manifest) -> dict[str, str]:
    """SHA-256 over the stamps of such files, which are hashed when they are read."""
    found = {}
    for key, pattern in patterns.items():
        total = hashlib.sha256()
        for sample in manifest.samples:
            total.update(f"{sample.id}\0{pattern.stamp(sample)}\0".encode())
        found[key] = total.hexdigest()
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
