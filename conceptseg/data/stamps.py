"""The rows of a data set: what is known of its samples before any of them is read."""

import dataclasses
import hashlib
import json
from typing import Any

from conceptseg.data.manifest import Manifest


def rows_digest(manifest: Manifest, labelled: bool = True) -> str:
    """SHA-256 over how images are read, the label block, and the samples' rows, in order.

    Without files of labels, which need not be there, if not `labelled`.

    A row is a sample's id, split, group and metadata, and its stamp
    (:meth:`conceptseg.data.manifest.Source.stamp`). No file is opened, but each is looked for.
    Where files lie does not matter, nor do their bytes: these are hashed as they are read
    (:mod:`conceptseg.data.reads`).

    Raises :class:`~conceptseg.errors.InputError` for a file that is missing or outside the root.
    """
    rules = dataclasses.asdict(manifest.block) | {
        "remap": sorted(manifest.block.remap.items()),
        "channels": manifest.channels,
        "source": manifest.source.settings(),
    }
    total = hashlib.sha256(_json(rules))
    for sample in manifest.samples:
        row = [sample.id, sample.split, sample.group, dict(sample.metadata)]
        if not labelled:
            sample = dataclasses.replace(sample, mask=None, masks=())
        total.update(_json([*row, manifest.source.stamp(sample)]))
    return total.hexdigest()


_ENCODER = json.JSONEncoder(sort_keys=True, ensure_ascii=False, default=str)


def _json(content: Any) -> bytes:
    return _ENCODER.encode(content).encode(errors="surrogatepass")
