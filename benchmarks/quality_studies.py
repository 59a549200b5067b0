"""The studies bottleneck, ability and permutation against the bare passes that they have to make.

    python benchmarks/quality_studies.py STUDY [--config FILE] [--data-root DIR] [--set KEY=VALUE]

Passes are counted as the study makes them, then timed bare on the same images and in the same
batches, before and after the run. What a study adds is reading, pooling, losses and pictures; what
is fitted on the finished table (regressors, maps, tests) is told on its own, for it is no pass. The
share that the passes take above bare ones is `ratio`. A pass through a part of the network, which
exchanges of units take, counts as a whole one: leave them out (--set "features=[channels, colour,
frequency]") for a ratio without that favour.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))  # the checkout, for networks of its tests

from common import seconds  # noqa: E402


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("study", choices=("bottleneck", "ability", "permutation"))
    parser.add_argument("--config")
    parser.add_argument("--data-root")
    parser.add_argument("--set", action="append", default=[])
    arguments = parser.parse_args()

    from conceptseg import catalogue
    from conceptseg.engine import run, start
    from conceptseg.network.model import SegmentationModel
    from conceptseg.settings import parse_override, read_settings

    overrides = [parse_override(text) for text in arguments.set]
    if arguments.data_root:
        overrides.append(("data.root", str(Path(arguments.data_root).resolve())))
    config = Path(arguments.config or f"studies/{arguments.study}_planted.yaml")
    cls = catalogue.load("study", arguments.study)
    study = read_settings(arguments.study, cls, config, overrides).study
    study = study.model_copy(update={"compare": ()})
    context = start.prepare(study)
    counted = {"images": 0}
    forward = SegmentationModel.forward

    def counting(self, images):
        counted["images"] += len(images)
        return forward(self, images)

    SegmentationModel.forward = counting
    fitted = _timed_fitting()
    before = bare(context)
    counted["images"] = 0
    with tempfile.TemporaryDirectory() as out:
        result = run.run_study(study, context, Path(out))
    passes = counted["images"]
    after = bare(context)
    unit = (before + after) / 2
    took = {k: v for k, v in result.timings["seconds"].items() if k not in ("finish", "compare")}
    total = sum(took.values()) - fitted["seconds"]
    print(f"{len(context.manifest.samples)} images, {passes} forwards of {unit * 1e3:.2f} ms each")
    print("passes, s:", {name: round(value, 2) for name, value in took.items()})
    print(f"fitting inside of them {fitted['seconds']:.1f} s, conclusion "
          f"{result.timings['seconds']['finish']:.1f} s")  # fmt: skip
    print(f"ratio {total / (passes * unit):.2f} (without the comparison with saliency maps)")


def _timed_fitting() -> dict[str, float]:
    """Seconds spent where nothing is passed: fitting, choosing, assessing."""
    from conceptseg.study.ability import assess as ability
    from conceptseg.study.bottleneck import judge as quality
    from conceptseg.study.permutation import assess as permutation

    total = {"seconds": 0.0}
    for module, name in ((quality, "judge"), (ability, "assess"), (permutation, "undecided")):
        function = getattr(module, name)

        def timed(*given, function=function, **named):
            started = time.perf_counter()
            try:
                return function(*given, **named)
            finally:
                total["seconds"] += time.perf_counter() - started

        setattr(module, name, timed)
    return total


def bare(context) -> float:
    """Seconds of one forward of one image, in the run's batches, reading aside."""
    import torch

    from conceptseg.engine import reading

    few = context.manifest.samples[: 6 * context.run.batch_size]
    total = count = 0
    for batch in reading.read(context, few, "none"):
        with torch.no_grad():
            context.model(batch.images)
            total += min(seconds(lambda b=batch: context.model(b.images)) for _ in range(3))
        count += len(batch)
    return total / count


if __name__ == "__main__":
    main()
