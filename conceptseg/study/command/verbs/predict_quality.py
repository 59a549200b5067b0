"""`conceptseg predict-quality`."""

from __future__ import annotations

import contextlib
import hashlib
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from conceptseg.study.command.options import (
    BatchSize,
    Config,
    DataRoot,
    Device,
    OutFile,
    Sets,
    file_of,
    overridden,
)

PANEL = "With finished runs"


def command(
    folder: Annotated[Path, typer.Argument(help="Folder of a finished bottleneck run.")],
    config: Config = None,
    out: OutFile = None,
    sets: Sets = None,
    device: Device = None,
    batch_size: BatchSize = None,
    data_root: DataRoot = None,
) -> None:
    """Score new images without labels, by the predictor that a bottleneck run has saved."""
    overrides = overridden(sets, device, batch_size, data_root)
    text = predict_quality(folder, file_of("bottleneck", config), overrides, out)
    print(out if out is not None else text.rstrip("\n"))


def predict_quality(
    folder: Path, path: Path, overrides: Sequence[tuple[str, Any]], out: Path | None
) -> str:
    """Score the images of a study's file by the predictor in a bottleneck study's result.

    Returns CSV text, which is also written to `out` if that is given. Labels are not read.
    """
    from conceptseg.engine import start
    from conceptseg.engine.run import sweep
    from conceptseg.engine.store import state_of
    from conceptseg.result.encoding import pack
    from conceptseg.result.folder import check_file, is_regular, tidy_file, write_out
    from conceptseg.result.joined import part_of
    from conceptseg.result.lock import locked
    from conceptseg.result.saved import Result
    from conceptseg.study.bottleneck import apply
    from conceptseg.study.bottleneck.predictor import Predictor
    from conceptseg.study.command.running import shared_parts, start_here

    if out is not None:
        check_file(out)
    shared = shared_parts(path, overrides)
    result = part_of(Result.load(folder), shared.model.positive_class, str(folder))
    # Without a file there is no name under which the same command would find its parts.
    run = shared.run if out is not None else shared.run.model_copy(update={"store": None})
    predictor = Predictor.from_arrays(result.arrays, str(folder))
    facts = predictor.facts
    study = apply.Scoring(
        data=shared.data.model_copy(update={"classes": tuple(facts["classes"])}),
        model=shared.model,
        run=run,
        seed=shared.seed,
        layer=facts["layer"],
        flip=facts["flip"],
        masks={},
    )
    start_here()
    context = start.prepare(study, weigh=False)
    apply.check(predictor, context, str(folder))
    known = {"predictor": hashlib.sha256(pack(predictor.to_arrays())).hexdigest()}
    with contextlib.ExitStack() as stack:
        state: Path | None = None
        if out is not None and is_regular(out):
            stack.enter_context(locked(out))
            for line in tidy_file(Path(os.path.realpath(out))):
                print(line, file=sys.stderr)
            # Beside the file that is asked for, what is done is found again after a crash.
            state = out.absolute().with_name(f"{out.name}.parts")
        place = state or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        found = sweep(apply.Score(study, predictor), study, context, place, known)
        text = apply.as_csv(apply.ranked(found[apply.SCORES]))
        if out is not None:
            write_out(out, text.encode())
        if state is not None:
            state_of(state, study.run.store).remove("")
            with contextlib.suppress(OSError):  # there is something else in it
                state.rmdir()
    return text
