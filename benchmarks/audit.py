"""How often the audit finds a reliance on what is nothing, on real passes of planted networks.

    python benchmarks/audit.py [--net clean] [--sets 20] [--contexts 5] [--images 12] [--scenes 160]

In each set of scenes every image is given values of columns at random, so no network can rely on
them; the audit takes them for contexts. Printed are the share of sets with any verdict of behaviour
(`confirmed`, `behaviour only`), of pairs with p <= 0.05 before correction, of intervals that hold
0, and of pairs by verdict. Half of the scenes hold brick, which has an effect of
its own on the networks that rely on it, and is then a difference between donors.
"""

import argparse
import dataclasses
import sys
import tempfile
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np  # noqa: E402

from conceptseg.data.manifest import Manifest  # noqa: E402
from conceptseg.engine.run import run_study  # noqa: E402
from conceptseg.engine.start import prepare_each  # noqa: E402
from conceptseg.stats.intervals import wilson_interval  # noqa: E402
from conceptseg.study.audit.config import Audit  # noqa: E402

SHOWN = ("confirmed", "behaviour only")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--net", default="clean")
    for name, value in (("sets", 20), ("contexts", 5), ("images", 12), ("scenes", 160)):
        parser.add_argument(f"--{name}", type=int, default=value)
    asked = parser.parse_args()
    verdicts, low, held, families = Counter[str](), 0, 0, 0
    for seed in range(asked.sets):
        rows = audited(asked, seed)
        verdicts.update(row["verdict"] for row in rows)
        low += sum(row["p"] is not None and row["p"] <= 0.05 for row in rows)
        held += sum(row["low"] <= 0 <= row["high"] for row in rows)
        families += any(row["verdict"] in SHOWN for row in rows)
        total = verdicts.total()
        told = [f"{name} {count}" for name, count in sorted(verdicts.items())]
        print(
            f"{asked.net}: {told_share('families', families, seed + 1)}, "
            f"{told_share('p', low, total)}, {told_share('intervals', held, total)}; "
            f"{', '.join(told)}",
            flush=True,
        )


def told_share(name: str, count: int, total: int) -> str:
    ends = wilson_interval(count / total, total)
    return f"{name} {count}/{total} = {count / total:.3f} [{ends[0]:.3f}, {ends[1]:.3f}]"


def audited(asked: argparse.Namespace, seed: int) -> list[dict[str, object]]:
    """The rows of one set of scenes: verdicts with their p-values."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "scenes.yaml"
        lines = ("format: planted", "name: dealt", f"n: {asked.scenes}", "context: balanced")
        path.write_text("\n".join((*lines, f"seed: {1000 + seed}", "pair_share: 0.2")) + "\n")
        study = Audit(
            data={"manifest": str(path)},
            model={"source": "planted", "name": asked.net},
            run={"batch_size": 16},
            context_classes=[],
            columns={f"c{i}": ["a"] for i in range(asked.contexts)},
            known=False,
            images=asked.images,
            look_images=0,
            margin=8,
            compare=[],
            seed=seed,
        )
        prepared = study.model_copy(update={"columns": {}, "known": True})
        ((_, context),) = prepare_each(prepared)
        context = dataclasses.replace(context, manifest=dealt(context.manifest, asked, seed))
        result = run_study(study, context, Path(folder) / "out", recorded={})
    by_pair = {(row["class"], row["context"]): row for row in result.tables["parts"].rows}
    return [
        {**row, "p": by_pair[row["class"], row["context"]]["p"]}
        for row in result.tables["verdicts"].rows
    ]


def dealt(manifest: Manifest, asked: argparse.Namespace, seed: int) -> Manifest:
    """The manifest with columns of values at random."""
    rng = np.random.default_rng([7, seed])
    samples = []
    for one in manifest.samples:
        values = rng.integers(0, 2, asked.contexts)
        columns = {f"c{i}": "ab"[value] for i, value in enumerate(values.tolist())}
        samples.append(dataclasses.replace(one, metadata=columns))
    return dataclasses.replace(manifest, samples=tuple(samples), _checked=None)


if __name__ == "__main__":
    main()
