"""The command: `conceptseg`, `python -m conceptseg` or `python -m conceptseg.study`.

Nothing heavy is imported before a verb needs it, so help answers at once. Exit codes: 0 done,
2 bad input (one line says what and what cures it), 3 out of memory, 4 a verdict or change that
`--fail-on` names, 130 interrupted (Ctrl-C), 143 terminated (SIGTERM), 1 a defect.
"""

import os
import sys
from collections.abc import Sequence
from typing import Annotated

# Read by the OpenMP library when torch loads it: threads that wait by spinning make a machine
# that does anything else up to ten times slower.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import typer

from conceptseg import __version__
from conceptseg.errors import EXIT_DONE, EXIT_INTERRUPTED
from conceptseg.study.command.failure import report_failure
from conceptseg.study.command.options import CODES
from conceptseg.study.command.registry import register
from conceptseg.study.command.screen import ours_alone
from conceptseg.study.command.signals import Asked, stoppable
from conceptseg.study.command.watch import Console

app = typer.Typer(
    name="conceptseg",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        print(f"conceptseg {__version__}")
        raise typer.Exit


@app.callback(epilog=CODES)
def conceptseg(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Print the version."),
    ] = False,
) -> None:
    """Which visual concepts a segmentation network uses, for which class, and how sure that is."""


register(app)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code. Every failure is told once, on the error stream."""
    asked = Asked()
    try:
        with ours_alone(), stoppable(asked):
            code = app(
                list(sys.argv[1:] if arguments is None else arguments),
                prog_name="conceptseg",
                standalone_mode=False,
            )
        if code == EXIT_INTERRUPTED:  # how newer versions of typer tell of Ctrl-C
            raise KeyboardInterrupt
        sys.stdout.flush()
    except BaseException as error:  # every end of the program is given its exit code here
        return report_failure(error, asked.stop)
    return code if isinstance(code, int) else EXIT_DONE


def console() -> None:
    """Entry point of the console command."""
    Console.begin()
    sys.exit(Console.code(main()))


if __name__ == "__main__":
    console()
