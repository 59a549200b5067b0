"""Text that a verb hands over: printed, or written to the file of `--out`."""

import os
import sys
from pathlib import Path

from conceptseg.result.folder import check_file, tidy_file, write_out


def writable(out: Path | None) -> None:
    """Refuse, before any work, a file that could not be written. Raises InputError."""
    if out is not None:
        check_file(out)


def hand_over(text: str, out: Path | None, *, told: bool = True) -> None:
    """Print a text, or write it and print where it stands, unless not `told`. Raises InputError."""
    if out is None:
        print(text.rstrip("\n"))
        return
    for line in tidy_file(Path(os.path.realpath(out))):
        print(line, file=sys.stderr)
    write_out(out, text.encode())
    if told:
        print(out)
