"""`conceptseg selftest`: how often each study claims something where nothing is there."""

import json
from pathlib import Path
from typing import Annotated

import typer

from conceptseg import __version__
from conceptseg.study.command.options import CODES, RESUME, Fresh, Quietly

PANEL = "May it ship?"


def command(
    draws: Annotated[int, typer.Option(help="Draws of each study where nothing is there.")] = 300,
    sets: Annotated[
        int, typer.Option(help="Data sets for each weight of the constructed networks; 0 for none.")
    ] = 4,
    study: Annotated[
        list[str] | None, typer.Option(help="Only this study; may be given again.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of everything random.")] = 0,
    processes: Annotated[
        int | None, typer.Option(min=1, max=256, help="Processes; as many as cores if absent.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Output folder.")] = Path("runs/selftest"),
    write: Annotated[
        Path | None,
        typer.Option(
            help="Also write what the package ships (rates.json); rows of other studies stay."
        ),
    ] = None,
    fresh: Fresh = False,
    quiet: Quietly = False,
) -> None:
    """Measure how often each study claims something where nothing is there, and what it can find.

    The rules that its tests replace stand beside them. Needs no data and no network of yours.
    """
    from conceptseg.engine.progress import choose
    from conceptseg.result.folder import check_file, write_out
    from conceptseg.result.saved import Result
    from conceptseg.study.command.running import start_here
    from conceptseg.study.selftest.run import Options, read, run, shipped

    options = Options(draws, sets, tuple(study or ()), seed, processes).checked()
    before = {}
    if write is not None:
        check_file(write)
        before = read(write)
    start_here()
    with choose(quiet) as progress:
        path = run(options, out.absolute(), progress, fresh=fresh)
    if write is not None:
        held = shipped(Result.load(path.parent), __version__, before)
        write_out(write, (json.dumps(held, indent=1, ensure_ascii=False) + "\n").encode())
    print(out / path.name)


command.__doc__ = f"{command.__doc__}\n\n{RESUME}\n\n{CODES}"
