"""ACE against its floor: the network passes that the study has to make, and SLIC.

    python benchmarks/ace_floor.py [--config studies/ace_planted.yaml] [--set KEY=VALUE ...]

The floor is counted, then timed bare, on the same images and in the same batches: one forward per
image; for each reference a pass through the tail; for each point and class in turn a backward
through the tail; a pass through the tail per erasure; a pass through the encoder per exemplar; and
for the control two forwards and the backwards. Reading images, superpixels, pooling, clustering,
tests and pictures are what the study adds. The embedding map (UMAP) is reported on its own: it is
made once and does not grow with the data.
"""

import argparse
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))  # the checkout, for networks of its tests

from common import seconds  # noqa: E402


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--config", default="studies/ace_planted.yaml")
    parser.add_argument("--data-root")
    parser.add_argument("--set", action="append", default=[])
    arguments = parser.parse_args()

    from conceptseg import run, start
    from conceptseg.ace.erase import candidates
    from conceptseg.data import batches
    from conceptseg.settings import parse_override, read_settings
    from conceptseg.study.ace import Ace

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
        result = run.run_study(study, context, Path(out))
    after = bare.units()
    unit = {name: (before[name] + after[name]) / 2 for name in before}

    found = kept["discovery"]
    n = len(context.manifest.samples)
    held = sum(len(images) for images in found.class_images.values()) / n
    erased = len(kept["erasures"].ids)
    edits = len(found.concepts) + len(found.null_directions) + 1
    outside = sum(len(found.class_images[c]) for c, _ in candidates(study, found)) / n
    exemplars = len(kept["pictures"].isolation)
    control = kept["control"]["images"]
    turns = bare.turns
    passes = {
        "forwards": (n + erased + 2 * control) * unit["forward"],
        "backwards": (n * (1 + study.references) + control) * turns * unit["backward"],
        "tails": (n * study.references + erased * (edits + outside)) * unit["tail"],
        "encoders": exemplars * unit["encode"],
    }
    slic = (n + len(kept["pictures"].photos) + control) * unit["slic"]
    took = {k: v for k, v in result.timings["seconds"].items() if k != "finish"}
    total, floor = sum(took.values()), sum(passes.values())
    print(f"{n} images, {held:.1f} classes an image, {turns} turns, {edits} edits")
    print("seconds a unit:", {k: round(v, 5) for k, v in unit.items()})
    print("floor, s:", {k: round(v, 2) for k, v in passes.items()}, "SLIC", round(slic, 2))
    print("study, s:", {k: round(v, 2) for k, v in took.items()})
    print(f"study / (floor + SLIC) = {total / (floor + slic):.2f}")
    print(f"finish with UMAP: {result.timings['seconds']['finish']:.1f} s")


class Bare:
    """The units of the floor, timed bare, in seconds per image."""

    def __init__(self, study, context, loaded) -> None:
        self.study, self.context, self.loaded = study, context, loaded
        self.turns = 0.0

    def units(self) -> dict[str, float]:
        import torch

        from conceptseg.ace.gradients import Targets
        from conceptseg.record import Tail, encode
        from conceptseg.segments import segment

        model, layer = self.context.model, self.context.layer
        some = self.loaded[:: max(1, len(self.loaded) // 6)]
        n = sum(len(batch.ids) for batch in some)
        total = dict.fromkeys(("forward", "encode", "tail", "backward", "slic"), 0.0)
        turns = []
        for batch in some:
            images = batch.images.contiguous(memory_format=torch.channels_last)
            with torch.no_grad():
                model(images)
                total["forward"] += seconds(lambda i=images: model(i))
                total["encode"] += seconds(lambda i=images: encode(model, i, layer))
                tail = Tail.of(model, images, layer)
                total["tail"] += seconds(lambda t=tail: t.resume(t.activation))
            tail = Tail.of(model, images, layer, graph=True)
            targets = Targets(
                tail.logits.detach(), self.study.class_ids(self.context), self.study.score
            )
            turns.append(len(targets.rounds))
            took = seconds(lambda t=tail, g=targets: g.gradients(t.logits, t.activation))
            total["backward"] += took / max(1, len(targets.rounds))
            for image in images:
                total["slic"] += seconds(lambda i=image: segment(i.numpy(), self.study.scales))
        self.turns = sum(turns) / len(turns)
        return {name: value / n for name, value in total.items()}


if __name__ == "__main__":
    main()
