"""The command of the planted benchmark: train a net, measure its reliance, look at scenes.

    python -m conceptseg.planted train --name biased --out runs/biased.safetensors
    python -m conceptseg.planted measure --name biased
    python -m conceptseg.planted gallery --out scenes.png

torch is imported by the verbs that need it, so help and errors of usage come at once.
"""

import dataclasses
import json
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

app = typer.Typer(
    name="conceptseg.planted",
    help="Textured digits with a planted reliance on context.",
    no_args_is_help=True,
    add_completion=False,
)

# How the shipped nets were trained. "biased" starts from "clean", which makes it a short run that
# keeps the glyphs as learnt, and lets "weak" be a blend of the two.
DEFAULTS: dict[str, dict[str, Any]] = {
    "biased": {"strength": 1.0, "epochs": 5, "n": 6000, "rate": 4e-3, "start": "clean"},
    "clean": {"strength": 0.0, "epochs": 10},
}


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


@app.command("train")
def train_command(
    name: Annotated[Name, typer.Option(help="Which net; sets the defaults below.")],
    out: Annotated[Path | None, typer.Option(help="File; default <name>.safetensors.")] = None,
    strength: Annotated[float | None, typer.Option(min=0, max=1, help="Bias of the data.")] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="Times through the data.")] = None,
    scenes: Annotated[int | None, typer.Option(min=64, help="Training scenes.")] = None,
    seed: Annotated[int, typer.Option(help="Of data, weights and order.")] = 0,
    threads: Annotated[int, typer.Option(min=1, help="CPU threads.")] = 2,
) -> None:
    """Train a net; write its weights and, next to them, its model card (.json)."""
    import torch

    from conceptseg.planted import train

    torch.set_num_threads(threads)
    chosen = {"strength": strength, "epochs": epochs, "n": scenes}
    given = {key: value for key, value in chosen.items() if value is not None}
    recipe = train.TrainingRecipe(**{**DEFAULTS[name.value], **given, "seed": seed})
    path = Path(f"{name.value}.safetensors") if out is None else out
    command = (
        f"python -m conceptseg.planted train --name {name.value} --strength {recipe.strength:g} "
        f"--epochs {recipe.epochs} --scenes {recipe.n} --seed {recipe.seed} --threads {threads}"
    )
    net = train.train(recipe, log=_print_row)
    train.save(net, dataclasses.asdict(recipe), command, path)
    typer.echo(f"{path}\n{path.with_suffix('.json')}")


@app.command("blend")
def blend_command(
    share: Annotated[
        float, typer.Option(min=0, max=1, help="How far from clean to biased.")
    ] = 0.65,
    out: Annotated[Path, typer.Option(help="The file to write.")] = Path("weak.safetensors"),
) -> None:
    """Blend the weights of clean and biased, which makes the net "weak", and write its card."""
    from conceptseg.planted import train

    command = f"python -m conceptseg.planted blend --share {share:g}"
    net = train.blend("clean", "biased", share)
    train.save(net, {"start": "clean", "end": "biased", "share": share}, command, out)
    typer.echo(f"{out}\n{out.with_suffix('.json')}")


@app.command("measure")
def measure_command(
    name: Annotated[str, typer.Option(help="biased, weak, clean or constructed-<w>.")] = "biased",
    weights: Annotated[Path | None, typer.Option(help="A file to measure instead.")] = None,
    scenes: Annotated[int, typer.Option(min=2, help="Scenes of the biased digit.")] = 400,
    seed: Annotated[int, typer.Option(help="Of the scenes.")] = 0,
) -> None:
    """Print the reliance on the bias texture, as JSON: the same digits with and without it."""
    from conceptseg.planted import exact, measure
    from conceptseg.planted.generator import BIASED_CLASS, BIASED_DIGIT
    from conceptseg.planted.nets import load_net, load_unet

    try:
        net = load_net(name) if weights is None else load_unet(weights)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    if weights is None and name.startswith("constructed"):
        recipes = exact.exact_samples("test", scenes, seed, digits=(BIASED_DIGIT,))
        found = measure.reliance_of(net, recipes, BIASED_CLASS)
    else:
        found = measure.measured_reliance(net, scenes, "test", seed)
    typer.echo(json.dumps(dataclasses.asdict(found), indent=2))


@app.command("gallery")
def gallery_command(
    out: Annotated[Path, typer.Option(help="The PNG file to write.")] = Path("scenes.png"),
    scenes: Annotated[int, typer.Option(min=1, help="How many.")] = 48,
    strength: Annotated[float, typer.Option(min=0, max=1, help="Bias of the data.")] = 0.0,
    context: Annotated[
        ContextOption, typer.Option(help="How scenes get the bias texture.")
    ] = ContextOption.balanced,
    seed: Annotated[int, typer.Option(help="Of the scenes.")] = 0,
    exact: Annotated[bool, typer.Option(help="Scenes of the constructed net.")] = False,
) -> None:
    """Write a contact sheet: each scene as drawn, and below it the same with the other context."""
    from conceptseg.planted import gallery, generator
    from conceptseg.planted.exact import exact_samples

    if exact:
        recipes = exact_samples("test", scenes, seed)
    else:
        recipes = generator.samples("test", scenes, seed, strength=strength, context=context.value)
    gallery.save_sheet(recipes, out)
    typer.echo(str(out))


def _print_row(row: dict[str, float]) -> None:
    typer.echo(json.dumps({key: round(float(value), 4) for key, value in row.items()}))


if __name__ == "__main__":
    app(prog_name="python -m conceptseg.planted")
