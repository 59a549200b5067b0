"""The folder that a run writes to: fit for it, nobody else's, and in order."""

import json
import os
import re
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from conceptseg.engine.lease import leased
from conceptseg.engine.provenance import tidy_config
from conceptseg.engine.shelf import Folder, Shelf, of_run
from conceptseg.errors import InputError, few
from conceptseg.result.encoding import plain
from conceptseg.result.folder import check_elsewhere, check_length, tidy
from conceptseg.result.lock import locked
from conceptseg.result.saved import MARKER, OWN, STATE
from conceptseg.settings import digest, without_run

CURE = "choose another folder with --out"
_URL = re.compile(r"[a-z][a-z0-9+]+:/")  # of two slashes paths keep one


@contextmanager
def taken(
    out: Path,
    study: str,
    recorded: Mapping[str, Any],
    *,
    fresh: bool = False,
    store: str | None = None,
) -> Iterator[list[str]]:
    """The output folder, locked while this is open, and what there is to say of it.

    What a killed run has left there is put in order. Raises InputError for a folder that cannot be
    written, that another run is writing, or that holds the finished result of another study or
    configuration (`recorded`), unless `fresh`; and for what the run's `store` is no good for or
    holds of this name, and where another run has this name there, on whatever machine.
    """
    check_out(out)
    with locked(out) as alone, ExitStack() as held:
        said = tidy(out, marker=MARKER, own=OWN, spent=(STATE,))
        if not alone:
            said.append(f"this disk has no locks: see that no other run writes to {out}")
        shelves: list[Shelf] = [Folder(out)]
        if store is not None:
            shelves.append(of_run(out.absolute(), store))
            shelves[-1].tried()
            said += held.enter_context(leased(shelves[-1]))
        for shelf in () if fresh else shelves:
            check_earlier(shelf, study, recorded)
        yield said


def check_out(out: Path) -> None:
    """Make sure that the output folder can be written, before anything is computed.

    Raises :class:`~conceptseg.errors.InputError` otherwise, and leaves no folder behind.
    """
    if _URL.match(str(out)):
        raise InputError(
            f"--out {out}: give a folder of this machine; a bucket's URL is that of run.store"
        )
    check_elsewhere(out)
    made: list[Path] = []
    try:
        if out.is_symlink() and not out.exists():
            raise InputError(f"{out}: a link that leads to no folder; {CURE}")
        if out.exists() and not out.is_dir():
            raise InputError(f"{out}: a file has this name; {CURE}")
        for folder in (*reversed(out.absolute().parents), out):
            if not folder.exists():
                folder.mkdir()
                made.append(folder)
        # The result is written beside the folder and then takes its name: both must be writable.
        for folder in (out, Path(os.path.realpath(out)).parent):
            tempfile.TemporaryFile(dir=folder).close()
        check_length(out)
    except OSError as error:
        reason = error.strerror or error
        raise InputError(f"{out}: cannot be written ({reason}); {CURE}") from None
    finally:
        for folder in reversed(made):
            folder.rmdir()
    if os.path.ismount(out):
        raise InputError(f"{out}: a mount point; give a folder inside it")
    others = [name for name in OWN if (out / name).exists()]
    if others and not (out / MARKER).is_file():
        raise InputError(
            f"{out}: holds {others[0]!r} but no {MARKER}, so it is not an earlier result; {CURE}"
        )


def check_earlier(shelf: Shelf, study: str, recorded: Mapping[str, Any]) -> None:
    """Refuse a folder that holds the finished result of another study or configuration.

    Raises :class:`~conceptseg.errors.InputError`.
    """
    content = shelf.read(MARKER)
    if content is None:
        return
    try:
        other = _difference(json.loads(content.decode("utf-8")), study, recorded)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        other = "that this version cannot read"
    if other:
        raise InputError(
            f"{shelf}: holds a finished result {other}; {CURE}, or have it replaced by --fresh"
        )


def _difference(saved: Mapping[str, Any], study: str, recorded: Mapping[str, Any]) -> str:
    """How a saved result is another's, in words; nothing where it is the same one's."""
    if saved["study"] != study:
        return f"of the study {str(saved['study'])[:80]!r}"
    config = json.loads(json.dumps(plain(tidy_config(without_run(recorded)))))
    there = without_run(saved["config"])
    keys = sorted(key for key in config.keys() | there.keys() if config.get(key) != there.get(key))
    if keys:
        return f"of another configuration ({few(keys, 4)})"
    known = saved["provenance"].get("configuration")
    if known not in (None, digest(without_run(recorded))):
        return "of another configuration (files of these names in another place)"
    return ""
