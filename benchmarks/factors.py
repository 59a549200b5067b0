"""The finder `nmf` against scikit-learn's NMF: time and objective, on the same rows.

    python benchmarks/factors.py [--rows 20000] [--units 64]

Rows are sums of known sparse atoms with noise. Both start from the same singular vectors, and stop
by tolerances of their own, by default. Prints processor seconds of one thread, medians of five
rounds in turn, and the share of the rows' squared length that is left. Of more atoms than there
are (16) optima are many, and which of them either ends in is chance.
"""

import argparse
import statistics
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))  # the checkout, for the rows of its tests

from common import in_turn, processor_seconds  # noqa: E402


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--units", type=int, default=64)
    arguments = parser.parse_args()

    import torch
    from sklearn.decomposition import NMF
    from threadpoolctl import threadpool_limits

    from conceptseg.concepts.finders.nmf import Nmf
    from tests.concepts.finders.planted import sums

    torch.set_num_threads(1)
    print("atoms  noise  sklearn s  ours s  ratio  sklearn left  ours left")
    for count, noise in ((8, 0.1), (16, 0.1), (25, 0.1), (16, 0.5), (25, 0.5)):
        rows, _, _ = sums(16, arguments.units, arguments.rows, signed=False, noise=noise)
        left: dict[str, float] = {}

        def theirs(rows=rows, count=count, left=left) -> None:
            fitted = NMF(count, init="nndsvda", tol=1e-4, max_iter=200).fit(rows)
            left["sklearn"] = float(fitted.reconstruction_err_**2 / (rows**2).sum())

        learnt = []

        def ours(rows=rows, count=count, learnt=learnt) -> None:
            learnt[:] = [Nmf().learn(rows, count, 0)]

        with threadpool_limits(1):
            took = in_turn({"sklearn": theirs, "ours": ours}, 5, processor_seconds)
        one, other = (statistics.median(took[name]) for name in ("sklearn", "ours"))
        error = learnt[0].error(np.asarray(rows))
        print(
            f"{count:5d}  {noise:5.1f}  {one:9.2f}  {other:6.2f}  {other / one:5.2f}  "
            f"{left['sklearn']:12.6f}  {error:9.6f}"
        )


if __name__ == "__main__":
    main()
