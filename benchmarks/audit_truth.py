"""The audit's verdicts against reliances that are measured: other pairs, textures, marks and seeds.

    python benchmarks/audit_truth.py [NET ...] [--folder DIR] [--seed 0] [--scenes 200]
        [--measured 200]

Nets are the shipped ones, the constructed ones of each w, and of seven more (`NETS`), trained here:
four that are taught to rely on a context other than the shipped nets' and three that see the same
scenes without being taught to. `--folder` keeps their weights for a later run. Each is audited with
the study's defaults on scenes in which the context is drawn at random, and measured by drawing
`--measured` other scenes of each class twice, with the context and without it.

Printed are each pair of class and context with its verdict, the audit's effect, the measured one,
each with its interval, and at the end: how many reliances above 0.1 in either direction are
confirmed with their sign; how many below 0.02 are called one; how many of these are "no reliance
shown"; and how many of the audit's intervals come as near as 0.02 to the measured effect. A swap
takes all surroundings from another image, measuring changes the context alone: where a network
suffers from any foreign surroundings the two differ by nature.
"""

import argparse
import contextlib
import io
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path[0] = str(ROOT)  # in place of this folder, whose names other packages import

import torch  # noqa: E402
import yaml  # noqa: E402

from conceptseg.planted import __main__ as planted  # noqa: E402
from conceptseg.planted import exact, generator, measure, nets  # noqa: E402
from conceptseg.planted.plant import DEFAULT, Plant, plant_of  # noqa: E402
from conceptseg.result.saved import Result  # noqa: E402
from conceptseg.study import __main__ as command  # noqa: E402

SHOWN = ("confirmed", "behaviour only")
LARGE, SMALL = 0.1, 0.02

BIASED, CLEAN = ("--name", "biased"), ("--name", "clean", "--from", "clean", "--epochs", "3")
NETS: dict[str, tuple[tuple[str, ...], dict[str, Any]]] = {
    "gravel": (BIASED, {"pair": (4, 7), "texture": "gravel"}),
    "dots-2tiles": (BIASED, {"pair": (5, 6), "texture": "dots", "tiles": 2}),
    "mark": (BIASED, {"pair": (8, 0), "kind": "mark"}),
    "clouds": (BIASED, {"pair": (1, 2), "texture": "clouds"}),
    "not-gravel": (CLEAN, {"pair": (4, 7), "texture": "gravel"}),
    "not-mark": (CLEAN, {"pair": (8, 0), "kind": "mark"}),
    "not-waves": (CLEAN, {"pair": (6, 5), "texture": "waves"}),
}
"""How each net is trained and what is planted in its scenes."""
CONSTRUCTED = tuple(f"constructed-{w}" for w in (0.0, 0.1, 0.25, 0.5, 0.75, 1.0))


def trained(name: str, folder: Path, seed: int) -> Path:
    """The weights of a net of `NETS`, trained if the folder lacks them."""
    words, keys = NETS[name]
    path = folder / f"{name}-{seed}.safetensors"
    if not path.exists():
        flags = [f"--{key}" for key in keys]
        values = [value if isinstance(value, tuple) else (value,) for value in keys.values()]
        plant = [str(w) for flag, of in zip(flags, values, strict=True) for w in (flag, *of)]
        whole = ["train", *words, *plant, "--images", "6000", "--seed", str(seed)]
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            planted.app([*whole, "--threads", "1", "--out", str(path)], standalone_mode=False)
    return path


def measured(name: str, weights: Path | None, plant: Plant, scenes: int) -> dict[str, Any]:
    """The effect of the context on each class, by its name."""
    if name in CONSTRUCTED:
        own = {d: exact.exact_samples("test", 102, 9, digits=(d,)) for d in generator.PAIR}
        return dict(measure.reliances_of(nets.load_net(name), own))
    net, _ = nets.load_trained(name if weights is None else weights)
    found = measure.measured_reliances(net.eval(), scenes, "test", 9, plant)
    return dict(found)


def audited(name: str, weights: Path | None, keys: dict[str, Any], scenes: int) -> list[Any]:
    """The rows of the audit's verdicts."""
    data: dict[str, Any] = {"format": "planted", "name": name, "seed": 1, "n": scenes}
    if name in CONSTRUCTED:
        data["scenes"] = "exact"
    else:
        chosen = {key: list(v) if isinstance(v, tuple) else v for key, v in keys.items()}
        data |= {"context": "balanced", "pair_share": 0.3, "n": 2 * scenes, **chosen}
    model: dict[str, Any] = {"source": "planted", "name": name}
    if name in CONSTRUCTED:
        model |= {"name": "constructed", "arguments": {"w": float(name.rpartition("-")[2])}}
    elif weights is not None:
        model |= {"name": "unet", "weights": str(weights)}
    with tempfile.TemporaryDirectory() as folder:
        manifest, file = Path(folder) / "scenes.yaml", Path(folder) / "audit.yaml"
        manifest.write_text(yaml.safe_dump(data))
        content = {"data": {"manifest": str(manifest)}, "model": model, "context_classes": []}
        file.write_text(yaml.safe_dump(content))
        words = ["audit", "-c", str(file), "--out", f"{folder}/out", "-q"]
        with contextlib.redirect_stdout(io.StringIO()):
            assert command.main([*words, "--set", "run.processes=1"]) == 0
        return list(Result.load(Path(folder) / "out").tables["verdicts"].rows)


def main() -> None:
    every = (*nets.TRAINED, *CONSTRUCTED, *NETS)
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("nets", nargs="*", default=list(every), choices=every, metavar="NET")
    parser.add_argument("--folder", type=Path)
    for name, value in (("seed", 0), ("scenes", 200), ("measured", 200)):
        parser.add_argument(f"--{name}", type=int, default=value)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    counts = {key: [0, 0] for key in ("confirmed", "false", "none shown", "within")}
    with tempfile.TemporaryDirectory() as scratch:
        folder = asked.folder or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        for name in asked.nets:
            weights = trained(name, folder, asked.seed) if name in NETS else None
            keys = NETS[name][1] if name in NETS else {}
            plant = plant_of(_named(keys)) if keys else DEFAULT
            began = time.monotonic()
            truth = measured(name, weights, plant, asked.measured)
            for row in audited(name, weights, keys, asked.scenes):
                print(told(name, row, truth[row["class"]], counts), flush=True)
            print(f"  {name}: {time.monotonic() - began:.0f} s", flush=True)
    print("; ".join(f"{key} {hits} of {total}" for key, (hits, total) in counts.items()))


def _named(keys: dict[str, Any]) -> dict[str, Any]:
    named = dict(keys)
    named["biased"], named["confuser"] = named.pop("pair")
    return named


def told(name: str, row: Any, truth: Any, counts: dict[str, list[int]]) -> str:
    """A line of the table; adds to the counts."""
    effect, verdict = truth.effect, row["verdict"]
    if abs(effect) > LARGE:
        _count(counts["confirmed"], verdict == "confirmed" and row["effect"] * effect > 0)
    if abs(effect) < SMALL:
        _count(counts["false"], verdict in SHOWN)
        _count(counts["none shown"], verdict == "no reliance shown")
    _count(counts["within"], row["low"] - SMALL <= effect <= row["high"] + SMALL)
    return (
        f"{name:15} {row['class']:8} {row['context']:18} {verdict:18} "
        f"{row['effect']:+.3f} [{row['low']:+.3f}, {row['high']:+.3f}]  "
        f"{effect:+.3f} [{truth.low:+.3f}, {truth.high:+.3f}]  n {row['n']}"
    )


def _count(cell: list[int], hit: bool) -> None:
    cell[0] += hit
    cell[1] += 1


if __name__ == "__main__":
    main()
