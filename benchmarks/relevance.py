"""Which composite of LRP suits a network, by criteria that no rule is made for.

    python benchmarks/relevance.py STUDY.yaml [STUDY.yaml ...] [--classes N] [--side PX]

For each study's file (any study's: only its data and model are read), of one of its first four
images (the centre of it, PX pixels on a side at most; the one that shows the most of its N largest
classes) and those classes, as far as the study would take regions so large: a row for each
composite, and which is recommended over them. Columns: absolute relevance at the image over that
at the logits, the same at the worst operation, the signed sum kept, relevance on units that say
nothing, and how the map agrees with occlusion and flipping (see `conceptseg.explain.lrp.suited`).
"""

import argparse
from pathlib import Path

import torch
from torch import Tensor

from conceptseg.engine import start
from conceptseg.engine.contract import Context
from conceptseg.engine.reading import read, some
from conceptseg.explain.lrp.engine import Engine
from conceptseg.explain.lrp.suited import Fit, fits, recommended
from conceptseg.settings import parse_override
from conceptseg.study.command.running import shared_parts
from conceptseg.study.lcrp.engines import regions

COMPOSITE = "epsilon_plus"
IMAGES = 4


def rows(path: Path, overrides: list[tuple[str, object]], classes: int, side: int) -> list[str]:
    context = start.prepare(shared_parts(path, overrides))
    image, where = shown(context, classes, side)
    engine = Engine(context.model, image, COMPOSITE)
    found: dict[str, list[Fit]] = {}
    lines = []
    for class_id, region in where.items():
        for name, fit in fits(engine, image, region, class_id):
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


def shown(context: Context, classes: int, side: int) -> tuple[Tensor, dict[int, Tensor]]:
    """The centre of an image and the regions of its largest classes."""
    images = next(iter(read(context, some(context, IMAGES), "none"))).images
    height, width = images.shape[2:]
    top, left = max(0, height - side) // 2, max(0, width - side) // 2
    images = images[:, :, top : top + side, left : left + side].contiguous()
    found = []
    for image in images.split(1):
        with torch.no_grad():
            where = regions(context.model(image).argmax(1)[0], range(len(context.model.classes)))
        largest = sorted(where, key=lambda c: -int(where[c].sum()))[:classes]
        found.append((image, {c: where[c] for c in largest}))
    # The image whose last class of so many is largest.
    sizes = [sorted(int(r.sum()) for r in where.values()) for _, where in found]
    best = max(range(len(found)), key=lambda i: (len(sizes[i]), sizes[i]))
    return found[best]


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
