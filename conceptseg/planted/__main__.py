"""The command of the planted benchmark: train a net, measure its reliance, look at scenes.

    python -m conceptseg.planted train --name biased --out runs/biased.safetensors
    python -m conceptseg.planted measure --name biased
    python -m conceptseg.planted gallery --out scenes.png

Each verb plants what `--pair`, `--kind`, `--texture` and `--tiles` say (`plant.Plant`); without
them 3 leans on brick in one tile, against 9. A net that relies on another context, and its control:

    python -m conceptseg.planted train --pair 4 9 --texture gravel --out gravel.safetensors
    python -m conceptseg.planted train --name clean --from clean --pair 4 9 --texture gravel \
        --epochs 3 --images 6000 --out not_gravel.safetensors
    python -m conceptseg.planted measure --weights gravel.safetensors

torch is imported by the verbs that need it, so help and errors of usage come at once.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

if TYPE_CHECKING:
    from conceptseg.planted.measure import Reliance
    from conceptseg.planted.plant import Plant

T = TypeVar("T")

app = typer.Typer(
    name="conceptseg.planted",
    help="Textured digits with a planted reliance on context.",
    no_args_is_help=True,
    add_completion=False,
)

# How the shipped nets were trained. "biased" starts from "clean", which makes it a short run that
# keeps the glyphs as learnt, and lets "weak" be a blend of the two.
DEFAULTS: dict[str, dict[str, Any]] = {
    "biased": {"strength": 1.0, "epochs": 5, "n": 6000, "start": "clean"},
    "clean": {"strength": 0.0, "epochs": 10},
}
GENTLE = 4e-3  # peak rate of a run that starts from trained weights, half that of one that does not


class Name(StrEnum):
    """The nets that are trained."""

    biased = "biased"
    clean = "clean"


class ContextOption(StrEnum):
    """How scenes get the bias texture; see `generator.sample`."""

    balanced = "balanced"
    biased = "biased"
    present = "with"
    absent = "without"


class KindOption(StrEnum):
    """Sorts of context; see `plant.Plant`."""

    tile = "tile"
    mark = "mark"
    place = "place"


PairOption = Annotated[
    tuple[int, int] | None, typer.Option(help="Biased digit and its confuser, 3 9 if absent.")
]
SortOption = Annotated[
    KindOption | None,
    typer.Option("--kind", help="Context: a textured tile, a 6 x 6 px mark, the digit's place."),
]
TextureOption = Annotated[
    str | None, typer.Option(help="Of a tile: any texture of the package, brick if absent.")
]
TilesOption = Annotated[int | None, typer.Option(help="Halves that carry it, 1 (if absent) or 2.")]


@app.command("train")
def train_command(
    name: Annotated[Name, typer.Option(help="Which net; sets the defaults below.")] = Name.biased,
    out: Annotated[Path | None, typer.Option(help="File; default <name>.safetensors.")] = None,
    pair: PairOption = None,
    kind: SortOption = None,
    texture: TextureOption = None,
    tiles: TilesOption = None,
    strength: Annotated[float | None, typer.Option(min=0, max=1, help="Bias of the data.")] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="Times through the data.")] = None,
    scenes: Annotated[
        int | None, typer.Option("--scenes", "--images", min=64, help="Training scenes.")
    ] = None,
    start: Annotated[
        str | None, typer.Option("--from", help="Net to start from: biased, weak, clean, a file.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of data, weights and order.")] = 0,
    threads: Annotated[int, typer.Option(min=1, help="CPU threads.")] = 2,
) -> None:
    """Train a net; write its weights and, next to them, its model card (.json).

    Prints a row per epoch, then the measured reliance of every class.
    """
    planted = _planted(pair, kind, texture, tiles)
    import torch

    from conceptseg.planted import nets, plant, train

    torch.set_num_threads(threads)
    chosen = {"strength": strength, "epochs": epochs, "n": scenes, "start": start}
    given = {key: value for key, value in chosen.items() if value is not None}
    keys = {**DEFAULTS[name.value], **given, "seed": seed, "plant": planted or plant.DEFAULT}
    if keys.get("start") is not None:
        _checked(nets.load_trained, keys["start"])
        keys["rate"] = GENTLE
    recipe = train.TrainingRecipe(**keys)
    named = name.value if planted is None else f"{name.value}-{planted.name}"
    path = Path(f"{named}.safetensors") if out is None else out
    command = (
        f"python -m conceptseg.planted train --name {name.value} --strength {recipe.strength:g} "
        f"--epochs {recipe.epochs} --scenes {recipe.n} --seed {recipe.seed} --threads {threads}"
        f"{'' if start is None else f' --from {Path(start).name}'}{_flags(planted)}"
    )
    typer.echo(f"{recipe.plant.name}: {recipe.n} scenes, {recipe.epochs} epochs", err=True)
    net = train.train(recipe, log=_print_row)
    _report(train.save(net, dataclasses.asdict(recipe), command, path, recipe.plant))
    typer.echo(f"{path}\n{path.with_suffix('.json')}")


@app.command("blend")
def blend_command(
    share: Annotated[float, typer.Option(min=0, max=1, help="How far from start to end.")] = 0.65,
    out: Annotated[Path, typer.Option(help="The file to write.")] = Path("weak.safetensors"),
    start: Annotated[str, typer.Option(help="A shipped net, or a file.")] = "clean",
    end: Annotated[str, typer.Option(help="The same; its plant is the blend's.")] = "biased",
) -> None:
    """Blend the weights of two nets and write the card; clean and biased make the net "weak"."""
    from conceptseg.planted import nets, train

    command = f"python -m conceptseg.planted blend --share {share:g}"
    if (start, end) != ("clean", "biased"):
        command += f" --start {Path(start).name} --end {Path(end).name}"
    _checked(nets.load_trained, start)
    _, planted = _checked(nets.load_trained, end)
    net = train.blend(start, end, share)
    _report(train.save(net, {"start": start, "end": end, "share": share}, command, out, planted))
    typer.echo(f"{out}\n{out.with_suffix('.json')}")


@app.command("measure")
def measure_command(
    name: Annotated[str, typer.Option(help="biased, weak, clean or constructed-<w>.")] = "biased",
    weights: Annotated[Path | None, typer.Option(help="A file to measure instead.")] = None,
    pair: PairOption = None,
    kind: SortOption = None,
    texture: TextureOption = None,
    tiles: TilesOption = None,
    scenes: Annotated[int, typer.Option(min=2, help="Scenes of each digit.")] = 400,
    seed: Annotated[int, typer.Option(min=0, help="Of the scenes.")] = 0,
) -> None:
    """Print the reliance on the planted context, as JSON: the same digits with and without it.

    First that of the biased digit, then, under `classes`, that of every class with its interval.
    What is planted is read from the weights' file; any of its options replaces that altogether, so
    that a net can be asked for a context that it was not trained on.
    """
    planted = _planted(pair, kind, texture, tiles)
    from conceptseg.planted import exact, generator, measure, nets, plant

    if weights is None and name not in nets.TRAINED:
        net = _checked(nets.load_net, name)
        if planted is not None:
            raise typer.BadParameter(f"{name} knows its own stripes only; leave the plant out")
        planted = plant.DEFAULT
        own = {
            digit: exact.exact_samples("test", scenes, seed, digits=(digit,))
            for digit in generator.PAIR
        }
        classes = measure.reliances_of(net, own)
    else:
        net, header = _checked(nets.load_trained, name if weights is None else weights)
        planted = planted or header
        classes = measure.measured_reliances(net, scenes, "test", seed, planted)
    found = {
        **dataclasses.asdict(classes[generator.CLASSES[planted.biased + 1]]),
        "plant": dataclasses.asdict(planted),
        "classes": {key: dataclasses.asdict(one) for key, one in classes.items()},
    }
    typer.echo(json.dumps(found, indent=2))


@app.command("gallery")
def gallery_command(
    out: Annotated[Path, typer.Option(help="The PNG file to write.")] = Path("scenes.png"),
    scenes: Annotated[int, typer.Option(min=1, help="How many.")] = 48,
    strength: Annotated[float, typer.Option(min=0, max=1, help="Bias of the data.")] = 0.0,
    context: Annotated[
        ContextOption, typer.Option(help="How scenes get the bias texture.")
    ] = ContextOption.balanced,
    seed: Annotated[int, typer.Option(help="Of the scenes.")] = 0,
    pair: PairOption = None,
    kind: SortOption = None,
    texture: TextureOption = None,
    tiles: TilesOption = None,
    exact: Annotated[bool, typer.Option(help="Scenes of the constructed net.")] = False,
) -> None:
    """Write a contact sheet: each scene as drawn, and below it the same with the other context."""
    planted = _planted(pair, kind, texture, tiles)
    from conceptseg.planted import gallery, generator, plant
    from conceptseg.planted.exact import exact_samples

    if exact and planted is not None:
        raise typer.BadParameter("exact scenes have a plant of their own; leave the plant out")
    if exact:
        recipes = exact_samples("test", scenes, seed)
    else:
        recipes = generator.samples(
            "test",
            scenes,
            seed,
            strength=strength,
            context=context.value,
            plant=planted or plant.DEFAULT,
        )
    gallery.save_sheet(recipes, out)
    typer.echo(str(out))


def _planted(
    pair: tuple[int, int] | None, kind: KindOption | None, texture: str | None, tiles: int | None
) -> Plant | None:
    """The plant that options describe; None if none is given."""
    from conceptseg.planted import plant

    given: dict[str, Any] = {"texture": texture, "tiles": tiles}
    given["biased"], given["confuser"] = pair or (None, None)
    given["kind"] = None if kind is None else kind.value
    given = {key: value for key, value in given.items() if value is not None}
    return _checked(plant.plant_of, given) if given else None


def _checked(make: Callable[[Any], T], source: Any) -> T:
    """`make(source)`; what it refuses is an error of usage."""
    try:
        return make(source)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error


def _flags(planted: Plant | None) -> str:
    """The options that plant it."""
    if planted is None:
        return ""
    flags = f" --pair {planted.biased} {planted.confuser} --kind {planted.kind}"
    if planted.kind == "tile":
        flags += f" --texture {planted.texture} --tiles {planted.tiles}"
    return flags


def _report(reliances: Mapping[str, Reliance]) -> None:
    """A row for each class."""
    for name, one in reliances.items():
        row = {key: round(value, 4) for key, value in dataclasses.asdict(one).items()}
        typer.echo(json.dumps({"class": name, **row}))


def _print_row(row: dict[str, float]) -> None:
    typer.echo(json.dumps({key: round(float(value), 4) for key, value in row.items()}))


if __name__ == "__main__":
    app(prog_name="python -m conceptseg.planted")
