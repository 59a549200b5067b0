"""Which composite of LRP suits a network, by criteria that no rule is made for.

    python benchmarks/relevance.py STUDY.yaml [STUDY.yaml ...] [--classes N] [--side PX]

For each study's file (any study's: only its data and model are read), of its first image (the
centre of it, PX pixels on a side at most) and the N largest classes of it: a row for each
composite, and which is recommended over them. Columns: absolute relevance at the image over that
at the logits, the same at the worst operation, the signed sum kept, relevance on units that say
nothing, and how the map agrees with occlusion and flipping (see `conceptseg.explain.lrp.suited`).
"""

import argparse
from pathlib import Path

import torch

from conceptseg.engine import start
from conceptseg.engine.reading import first_images
from conceptseg.explain.lrp.engine import Engine
from conceptseg.explain.lrp.suited import Fit, fits, recommended
from conceptseg.settings import parse_override
from conceptseg.study.command.running import shared_parts

COMPOSITE = "epsilon_plus"


def rows(path: Path, overrides: list[tuple[str, object]], classes: int, side: int) -> list[str]:
    context = start.prepare(shared_parts(path, overrides))
    image = first_images(context.manifest, context.run)[:1]
    height, width = image.shape[2:]
    top, left = max(0, height - side) // 2, max(0, width - side) // 2
    image = image[:, :, top : top + side, left : left + side].contiguous()
    with torch.no_grad():
        predicted = context.model(image).argmax(1)
    sizes = predicted.flatten().bincount().tolist()
    largest = sorted(range(len(sizes)), key=lambda c: -sizes[c])[:classes]
    engine = Engine(context.model, image, COMPOSITE)
    found: dict[str, list[Fit]] = {}
    lines = []
    for class_id in (c for c in largest if sizes[c]):
        for name, fit in fits(engine, image, predicted == class_id, class_id):
            own = f"| {path.stem} | {context.model.classes[class_id]} | {name} "
            if isinstance(fit, str):
                lines.append(f"{own}| refused: {fit} |")
                continue
            found.setdefault(name, []).append(fit)
            numbers = (fit.growth, fit.inner, fit.share, fit.silent, fit.occlusion, fit.flipping)
            lines.append(f"{own}| {' | '.join(f'{n:.3g}' for n in numbers)} |")
    best = recommended({name: Fit.over(each) for name, each in found.items()}, COMPOSITE)
    fails = Fit.over(found[best]).fails if best in found else ()
    return [*lines, f"| {path.stem} | recommended: {best} | fails: {', '.join(fails) or 'none'} |"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--classes", type=int, default=2)
    parser.add_argument("--side", type=int, default=256, metavar="PX")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    given = parser.parse_args()
    print("| network | class | composite | growth | inner | kept | silent | occlusion | flipping |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    overrides = [parse_override(text) for text in given.set]
    for path in given.files:
        print(*rows(path, overrides, given.classes, given.side), sep="\n", flush=True)


if __name__ == "__main__":
    main()
