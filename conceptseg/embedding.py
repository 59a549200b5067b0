"""A picture of high-dimensional rows in the plane, made beside the passes over the data.

UMAP compiles itself for some twenty seconds at its first call. It therefore runs in a process of
its own, started as soon as the rows are known and asked for its result when the report is made.

    python -m conceptseg.embedding SEED < rows.npy > points.npy
"""

from __future__ import annotations

import io
import os
import subprocess
import sys
import threading
import warnings
from pathlib import Path

import numpy as np

NEIGHBOURS = 15


def embed(rows: np.ndarray, seed: int) -> np.ndarray:
    """UMAP of rows [m, d] -> float32 [m, 2]; of very few, the first two principal components.

    Rows are scaled to length 1; 15 neighbours, min_dist 0.1, fixed seed. For the eye alone: no
    number may rest on it, and distances between its islands mean nothing.

    Source: McInnes, Healy & Melville 2018, arXiv 1802.03426.
    """
    from conceptseg.concepts.kmeans import project

    points = project(rows, 1.0, 50)
    if len(points) <= 2 * NEIGHBOURS:
        return np.pad(points[:, :2], ((0, 0), (0, max(0, 2 - points.shape[1])))).astype(np.float32)
    with warnings.catch_warnings():
        # With a fixed seed UMAP uses one thread, and warns that it does.
        warnings.simplefilter("ignore")
        from umap import UMAP

        fitted = UMAP(n_neighbors=NEIGHBOURS, random_state=seed, n_jobs=1).fit_transform(points)
    return np.asarray(fitted, dtype=np.float32)


class Embedding:
    """The embedding of rows [m, d], under way in another process from the start."""

    def __init__(self, rows: np.ndarray, seed: int) -> None:
        command = [sys.executable, "-m", "conceptseg.embedding", str(seed)]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        # The same package as here, even where only this program's own path leads to it.
        roots = [str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, roots))}
        self._process = subprocess.Popen(command, env=environment, **pipes)  # type: ignore[call-overload]
        self._output, self._errors = b"", b""
        buffer = io.BytesIO()
        np.save(buffer, rows, allow_pickle=False)
        # A thread feeds the process: pipes are small, and nobody should wait for them. It ends with
        # the program, and the process with its pipes.
        self._feeder = threading.Thread(
            target=self._talk, args=(buffer.getvalue(),), daemon=True, name="embedding"
        )
        self._feeder.start()

    def _talk(self, data: bytes) -> None:
        self._output, self._errors = self._process.communicate(data)

    def result(self) -> np.ndarray:
        """Points [m, 2], float32. Raises RuntimeError with what the process said if it failed."""
        self._feeder.join()
        if self._process.returncode:
            raise RuntimeError(f"the embedding failed: {self._errors.decode(errors='replace')}")
        return np.load(io.BytesIO(self._output), allow_pickle=False)


if __name__ == "__main__":
    given = np.load(io.BytesIO(sys.stdin.buffer.read()), allow_pickle=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        np.save(sys.stdout.buffer, embed(given, int(sys.argv[1])), allow_pickle=False)
