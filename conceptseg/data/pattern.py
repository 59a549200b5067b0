"""Files beside the samples, one for each, named by a pattern."""

import os
from pathlib import Path

from conceptseg.data.manifest import Manifest, Sample
from conceptseg.data.readers._files import is_file, relative, resolve, stamp_file
from conceptseg.data.readers._folders import fill


class Pattern:
    """A path relative to a manifest's root in which {id}, {split}, {group} and the names of
    metadata columns stand for the sample's own; so a column can hold the path itself.

    `where` names the pattern in messages.
    """

    def __init__(self, text: str, manifest: Manifest, where: str) -> None:
        self._text, self._where, self._root = text, where, manifest.root
        self._columns = manifest.metadata

    def file(self, sample: Sample) -> Path | None:
        """The sample's file; None where there is none, the cell is empty or there is no root.

        Raises :class:`~conceptseg.errors.InputError` for a path that leads out of the root.
        """
        path = self._path(sample)
        if path is None or self._root is None:
            return None
        full = resolve(self._root, path)
        return full if os.path.isfile(full) else None

    def stamp(self, sample: Sample) -> tuple[str, int, int | str] | None:
        """Its name, size and time of modification (ns), without opening it; None without a file."""
        path = self._path(sample)
        if path is None or self._root is None:
            return None
        return stamp_file(self._root, path) if is_file(self._root, path) else None

    def _path(self, sample: Sample) -> Path | None:
        words = {name: sample.metadata.get(name, "") for name in self._columns}
        words |= {"id": sample.id, "split": sample.split or "", "group": sample.group}
        text = fill(self._text, words, self._where)
        return relative(text, self._where) if text.strip() else None
