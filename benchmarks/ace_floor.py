"""ACE against its floor: the network passes that the study has to make, and SLIC.

    python benchmarks/ace_floor.py [--config studies/ace_planted.yaml] [--set KEY=VALUE ...]

The floor is counted, then timed bare, on the same images and in the same batches: one forward per
image; for each reference a pass through the tail; for each point and class in turn a backward
through the tail; a pass through the tail per erasure; a pass through the encoder per exemplar (with
`embedding: crops` per segment); and for the control two forwards and the backwards. Superpixels are
cut once per image. Reading images, pooling, clustering, tests and pictures are what the study adds.
All is in processor seconds of this process, which other processes hardly change. The embedding map
(UMAP) is made in a process of its own and does not count: it does not grow with the data.
"""

import argparse
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))  # the checkout, for networks of its tests

from common import keep_memory, processor_seconds  # noqa: E402


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--config", default="studies/ace_planted.yaml")
    parser.add_argument("--data-root")
    parser.add_argument("--set", action="append", default=[])
    arguments = parser.parse_args()
    keep_memory()

    from conceptseg.data.batch import batches
    from conceptseg.engine import run, start
    from conceptseg.settings import parse_override, read_settings
    from conceptseg.study.ace.config import Ace
    from conceptseg.study.ace.outside import tried

    overrides = [parse_override(text) for text in arguments.set]
    if arguments.data_root:
        overrides.append(("data.root", str(Path(arguments.data_root).resolve())))
    study = read_settings("ace", Ace, Path(arguments.config), overrides).study
    assert isinstance(study, Ace)
    context = start.prepare(study)
    loaded = list(
        batches(context.manifest, context.manifest.samples, study.run.batch_size, "cpu", False)
    )
    kept: dict = {}
    finish = Ace.finish

    def keeping(self, context, carry):
        kept.update(carry)
        return finish(self, context, carry)

    Ace.finish = keeping
    bare = Bare(study, context, loaded)
    before = bare.units()
    with tempfile.TemporaryDirectory() as out:
        results: list = []
        total = processor_seconds(lambda: results.append(run.run_study(study, context, Path(out))))
    after = bare.units()
    unit = {name: (before[name] + after[name]) / 2 for name in before}

    found = kept["discovery"]
    n = len(context.manifest.samples)
    held = sum(len(images) for images in found.class_images.values()) / n
    erased = len(kept["erasures"].ids)
    edits = len(found.concepts) + len(found.null_directions) + 1
    used = [pair.class_id for pair in tried(study, kept["judged pairs"])]
    outside = sum(len(found.class_images[c]) for c in used) / n
    control = kept["control"]["images"]
    crops = len(kept["pictures"].isolation)
    if study.embedding == "crops":
        crops = len(found.image) * (1 + control / n)
    turns = bare.turns
    passes = {
        "forwards": (n + erased * (1 + bool(used)) + 2 * control) * unit["forward"],
        "backwards": (n * (1 + study.references) + control) * turns * unit["backward"],
        "tails": (n * study.references + erased * (edits + outside)) * unit["tail"],
        "encoders": crops * unit["encode"],
    }
    slic = n * unit["slic"]
    took = results[0].timings
    floor = sum(passes.values())
    print(f"{n} images, {held:.1f} classes an image, {turns} turns, {edits} edits")
    print("seconds a unit:", {k: round(v, 5) for k, v in unit.items()})
    print("floor, s:", {k: round(v, 2) for k, v in passes.items()}, "SLIC", round(slic, 2))
    print(f"study {total:.1f} s; by the clock:", took["seconds"])
    print(f"study / (floor + SLIC) = {total / (floor + slic):.2f}")
    print(f"peak memory {took['peak_memory_bytes'] / 2**30:.2f} GiB")


class Bare:
    """The units of the floor, timed bare, in seconds per image."""

    def __init__(self, study, context, loaded) -> None:
        self.study, self.context, self.loaded = study, context, loaded
        self.turns = 0.0

    def units(self) -> dict[str, float]:
        import torch

        from conceptseg.concepts.segments import segment
        from conceptseg.network.record import Tail, encode
        from conceptseg.study.ace.gradients import Targets

        model, layer = self.context.model, self.context.layer
        some = self.loaded[:: max(1, len(self.loaded) // 6)]
        n = sum(len(batch.ids) for batch in some)
        total = dict.fromkeys(("forward", "encode", "tail", "backward", "slic"), 0.0)
        turns = []
        for batch in some:
            images = batch.images.contiguous(memory_format=torch.channels_last)
            with torch.no_grad():
                model(images)
                total["forward"] += processor_seconds(lambda i=images: model(i))
                total["encode"] += processor_seconds(lambda i=images: encode(model, i, layer))
                tail = Tail.of(model, images, layer)
                total["tail"] += processor_seconds(lambda t=tail: t.resume(t.activation))
            tail = Tail.of(model, images, layer, graph=True)
            targets = Targets(
                tail.logits.detach(), self.study.class_ids(self.context), self.study.target
            )
            turns.append(len(targets.rounds))
            took = processor_seconds(lambda t=tail, g=targets: g.gradients(t.logits, t.activation))
            total["backward"] += took / max(1, len(targets.rounds))
            for image in images:
                total["slic"] += processor_seconds(
                    lambda i=image: segment(i.numpy(), self.study.scales)
                )
        self.turns = sum(turns) / len(turns)
        return {name: value / n for name, value in total.items()}


if __name__ == "__main__":
    main()
