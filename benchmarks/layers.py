"""What `layer: auto` takes, and what that is worth against the best layer of all.

    python benchmarks/layers.py STUDY.yaml [STUDY.yaml ...] [--all N] [--set KEY=VALUE ...]

For each study's file (any study's: only its data and model are read), a row: the layer by
structure, the chosen one, its worth, the best candidate's worth, and the best of N further modules
spread over the network, which were no candidates; then the ratio of the first to the largest of
these. The command `conceptseg layers --config STUDY.yaml` prints the candidates one by one.
"""

import argparse
from pathlib import Path

from conceptseg.engine import start
from conceptseg.engine.weighing import images_to_weigh
from conceptseg.network.choice import chosen
from conceptseg.settings import parse_override
from conceptseg.study.command.running import shared_parts


def row(path: Path, overrides: list[tuple[str, object]], further: int) -> str:
    study = shared_parts(path, overrides).model_copy(update={"layer": "auto", "layers": None})
    context = start.prepare(study)
    choice, model = context.choice, context.model
    images = images_to_weigh(context.manifest, context.run, context.seed)
    infos = model.layers(images[:1])
    by_structure = next((info.name for info in infos if info.recommended), "none")
    if choice is None:
        return f"| {path.stem} | {by_structure} | {context.layer} | not weighed |  |  |  |"
    layer = choice.layer
    candidates = choice.worth(choice.best) or 0.0
    classes = len(model.classes)
    others = [i for i in infos if i.spatial and i.name not in choice.weighed]
    others = [i for i in others if i.channels not in (classes, 1)]
    step = max(1, -(-len(others) // max(further, 1)))
    for info in others[step // 2 :: step] if further else ():
        more = chosen(model, images, context.run.batch_size, info.name)
        choice = more if more is not None else choice
    values = {name: choice.worth(name) or 0.0 for name in choice.weighed}
    best = max(values, key=lambda name: values[name])
    shape = "{} on {} x {}".format(*choice.weighed[layer].shape)
    cells = (
        path.stem,
        by_structure,
        f"{layer} ({shape})",
        f"{values[layer]:.3f} ({choice.by})",
        f"{choice.runner_up} {values.get(choice.runner_up or '', 0.0):.3f}",
        f"{candidates:.3f}; {best} {values[best]:.3f}",
        f"{values[layer] / max(values[best], 1e-12):.2f}",
    )
    return "| " + " | ".join(cells) + " |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--all", type=int, default=0, metavar="N", help="further modules to weigh")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    given = parser.parse_args()
    print("| network | by structure | chosen | worth | runner-up | best | ratio |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for path in given.files:
        print(row(path, [parse_override(text) for text in given.set], given.all), flush=True)


if __name__ == "__main__":
    main()
