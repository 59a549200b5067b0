"""A function of rows, under way in a process of its own beside the passes over the data.

For libraries that compile themselves for some twenty seconds at their first call, as UMAP does: the
process is started before there is anything to compute, and warms up while the passes are made.

    python -m conceptseg.engine.beside MODULE (warm | cold) WORD ... < rows.npy > arrays.npz

The module, one of this package, has `warm()` and `beside(rows, words)`, which returns arrays by
name.
"""

import importlib
import io
import os
import subprocess
import sys
import threading
import warnings
import weakref
from pathlib import Path
from typing import Any, Self

import numpy as np


class Beside:
    """The process: warms up at once, computes when it is given rows, is asked for its result.

    `warm=False` spares the warming where there will be too little to compute.
    """

    def __init__(self, module: str, *words: str, warm: bool = True) -> None:
        state = "warm" if warm else "cold"
        command = [sys.executable, "-m", __name__, module, state, *words]
        # The same package as here, even where only this program's own path leads to it.
        roots = [str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, roots))}
        pipe = subprocess.PIPE
        self._module = module
        self._process = subprocess.Popen(
            command, env=environment, stdin=pipe, stdout=pipe, stderr=pipe
        )
        weakref.finalize(self, _end, self._process)
        self._output, self._errors = b"", b""
        self._feeder: threading.Thread | None = None

    def __reduce__(self) -> tuple[Any, tuple[()]]:
        """It stays with the process that started it: elsewhere there is None in its place."""
        return _nothing, ()

    def give(self, rows: np.ndarray) -> Self:
        """Have it compute: rows [m, d]. Nobody waits: a thread feeds the process, since pipes are
        small. The thread ends with the program, and the process with its pipes."""
        buffer = io.BytesIO()
        np.save(buffer, rows, allow_pickle=False)
        self._feeder = threading.Thread(
            target=self._talk, args=(buffer.getvalue(),), daemon=True, name=self._module
        )
        self._feeder.start()
        return self

    def _talk(self, data: bytes) -> None:
        self._output, self._errors = self._process.communicate(data)

    def result(self) -> dict[str, np.ndarray]:
        """Arrays by name. Raises RuntimeError with what the process said if it failed."""
        assert self._feeder is not None, "nothing was given"
        self._feeder.join()
        if self._process.returncode:
            told = self._errors.decode(errors="replace")
            raise RuntimeError(f"{self._module} failed: {told}")
        with np.load(io.BytesIO(self._output), allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files}


def _nothing() -> None:
    return None


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a process that nobody will ask any more."""
    process.kill()
    process.communicate()


def main(module: str, state: str, *words: str) -> None:
    warnings.simplefilter("ignore")
    work = importlib.import_module(module)
    if state == "warm":
        work.warm()
    data = sys.stdin.buffer.read()
    if data:  # nothing comes from a program that ended before it had anything to give
        found = work.beside(np.load(io.BytesIO(data), allow_pickle=False), words)
        np.savez(sys.stdout.buffer, **found)


if __name__ == "__main__":
    main(*sys.argv[1:])
