"""`conceptseg audit-export`."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from conceptseg.study.command.options import Config, DataRoot, Device, Sets, file_of, overridden

PANEL = "With finished runs"


def command(
    folder: Annotated[Path, typer.Argument(help="Folder of a finished audit.")],
    out: Annotated[Path, typer.Option(help="Folder to write.")],
    config: Config = None,
    images: Annotated[int, typer.Option(min=1, help="Images of each verdict, at most.")] = 10,
    sets: Sets = None,
    device: Device = None,
    data_root: DataRoot = None,
) -> None:
    """Make a test set of the reliances that an audit has shown: composites, masks, a manifest."""
    overrides = overridden(sets, device, None, data_root)
    with contextlib.redirect_stdout(sys.stderr):  # what a network prints is none of ours
        told = audit_export(folder, file_of("audit", config), overrides, out, images)
    print(told)


def audit_export(
    folder: Path, path: Path, overrides: Sequence[tuple[str, Any]], out: Path, most: int
) -> str:
    """Write the composites on which a finished audit has shown reliances; returns what was written.

    Raises :class:`~conceptseg.errors.InputError` for a folder that is no audit of this network and
    data set, and for an output folder that is something else.
    """
    from conceptseg.engine import start
    from conceptseg.result.folder import tidy
    from conceptseg.result.joined import part_of
    from conceptseg.result.lock import locked
    from conceptseg.result.saved import Result
    from conceptseg.study.audit import export
    from conceptseg.study.command.running import shared_parts, start_here

    shared = shared_parts(path, overrides)
    result = part_of(Result.load(folder), shared.model.positive_class, str(folder))
    if shared.layers is None and "layer" in result.provenance:  # not to be weighed again
        shared = shared.model_copy(update={"layer": result.provenance["layer"]})
    start_here()
    context = start.prepare(shared, weigh=False)
    with locked(out.absolute()), start.precision(context.run):
        tidy(out, marker=export.MANIFEST, own=export.OWN, spent=())
        made = export.export(result, context, out, most, str(folder))
    verdicts = "verdict" if made.verdicts == 1 else "verdicts"
    return f"{out / export.MANIFEST}: {made.composites} composites of {made.verdicts} {verdicts}"
