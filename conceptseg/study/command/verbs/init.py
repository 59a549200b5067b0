"""`conceptseg init`: from a folder of images and masks to two files, without writing YAML."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from conceptseg import catalogue
from conceptseg.errors import InputError, nearest, one_line

if TYPE_CHECKING:
    from conceptseg.network.recognised import Recognised
    from conceptseg.study.command.starter import Network

PANEL = "Begin"


def command(
    folder: Annotated[Path, typer.Argument(help="Folder that holds images and masks.")],
    network: Annotated[
        str | None,
        typer.Option(metavar="SOURCE:NAME", help="E.g. smp:Unet; only the manifest if absent."),
    ] = None,
    weights: Annotated[Path | None, typer.Option(help="Checkpoint of the network.")] = None,
    classes: Annotated[
        str | None, typer.Option(metavar="A,B,...", help="Names of the classes, by index.")
    ] = None,
    arguments: Annotated[
        list[str] | None,
        typer.Option("--argument", metavar="KEY=VALUE", help="An argument of the constructor."),
    ] = None,
    studies: Annotated[
        list[str] | None, typer.Option("--study", help="Write the file of this study; ace.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder to write to.")] = Path(),
    name: Annotated[str | None, typer.Option(help="Name of the data; the folder's.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace files that are there.")] = False,
) -> None:
    """Look at a folder of images and masks, and write the manifest and a study's file for it.

    Images, masks, splits, groups and classes are found by names and values; what a checkpoint
    tells of its network, and how images are best prepared for it, by trying. All of it stands in
    the files with its reason: read them, then conceptseg check.
    """
    for study in studies or ():
        catalogue.load("study", study)
    if weights is not None and network is None:
        raise InputError("--weights: give --network too, such as smp:Unet")
    called = _plain_name(name or folder.absolute().name)
    written = _Files(out, force)
    try:
        _write(folder, network, weights, classes, arguments or (), studies, called, written)
    except BaseException:
        written.undo()
        raise
    for path in written.paths:
        print(path)
    for study in studies or (["ace"] if network else []):
        print(f"next: conceptseg check {out / f'{study}_{called}.yaml'}", file=sys.stderr)


class _Files:
    """Files that are written into a folder, and what is undone where one fails."""

    def __init__(self, folder: Path, force: bool) -> None:
        self.folder, self.force = folder, force
        self.paths: list[Path] = []
        self._made: list[Path] = []

    def write(self, name: str, text: str) -> Path:
        from conceptseg.result.folder import check_file, replace_file

        path = self.folder / name
        new = not path.exists()
        if not new and not self.force:
            raise InputError(f"{path}: is there already; --force replaces it, or choose --out")
        if not path.parent.is_dir():
            path.parent.mkdir(parents=True)
        check_file(path)
        replace_file(path, text.encode())
        self._made += [path] * new
        return path

    def undo(self) -> None:
        for path in self._made:
            path.unlink(missing_ok=True)


def _write(
    folder: Path,
    network: str | None,
    weights: Path | None,
    classes: str | None,
    arguments: Any,
    studies: list[str] | None,
    called: str,
    files: _Files,
) -> None:
    from conceptseg.data import layout as layouts
    from conceptseg.data import legend as legends
    from conceptseg.study.command import starter

    found = layouts.look(folder)
    source, told = _recognised(network, weights)
    names = [one.strip() for one in classes.split(",")] if classes else _listed_classes(folder)
    images = starter.paths(folder, [part.images for part in found.parts])
    look = legends.look_at_images(images, told.channels)
    legend = _legend(folder, found, names, told.outputs)
    for line in (*found.remarks, *look.reasons, *legend.reasons):
        print(one_line(line), file=sys.stderr)
    root = starter.located(folder, files.folder)
    text = starter.manifest(called, root, found, look, legend)
    manifest = files.write(f"{called}.yaml", text)
    files.paths.append(manifest)
    _schema("manifest", files)
    if network is None:
        return
    model = _model(source, told, weights, arguments, legend.labels["names"], files.folder)
    split = starter.split_of(found)
    for study in studies or ["ace"]:
        file = f"{study}_{called}.yaml"
        path = files.write(file, starter.study(study, manifest.name, split, model))
        if study == (studies or ["ace"])[0]:
            model = _prepared(study, path, model)
        _again(path, starter.study(study, manifest.name, split, model))
        files.paths.append(path)
        _schema(study, files)


def _again(path: Path, text: str) -> None:
    from conceptseg.result.folder import replace_file

    replace_file(path, text.encode())


def _schema(what: str, files: _Files) -> None:
    """The schema by which an editor checks a file, in a folder beside it."""
    from conceptseg.result.folder import replace_file
    from conceptseg.study.command.starter import SCHEMAS
    from conceptseg.study.command.verbs.schema import schema

    folder = files.folder / SCHEMAS
    folder.mkdir(exist_ok=True)
    text = json.dumps(schema(what), indent=2)
    replace_file(folder / f"{what}.schema.json", text.encode())


def _recognised(network: str | None, weights: Path | None) -> tuple[tuple[str, str], Recognised]:
    from conceptseg.network.checkpoint import load_state
    from conceptseg.network.recognised import Recognised, recognise

    if network is None:
        return ("", ""), Recognised()
    source, sign, name = network.partition(":")
    known = catalogue.names("models")
    if not (source and sign and name):
        raise InputError(f"--network {network}: write it as SOURCE:NAME, such as smp:Unet")
    if source not in known:
        raise InputError(f"--network {network}: no source {source!r}; {nearest(source, known)}")
    if weights is None:
        return (source, name), Recognised()
    return (source, name), recognise(source, name, load_state(weights))


def _listed_classes(folder: Path) -> list[str]:
    """Names of classes in a file such as `classes.txt`, one a line; none if there is none."""
    for name in ("classes.txt", "labels.txt", "class_names.txt", "codes.txt"):
        path = folder / name
        if path.is_file() and path.stat().st_size < 100_000:
            lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
            return [one for line in lines if (one := line.strip())]
    return []


def _legend(folder: Path, found: Any, names: list[str], outputs: int | None) -> Any:
    from conceptseg.data import legend as legends
    from conceptseg.study.command import starter

    masks = [part.masks for part in found.parts if part.masks]
    each: dict[str, list[Path]] = {}
    for one in masks:
        if isinstance(one, Mapping):
            for name, series in one.items():
                each.setdefault(name, []).extend(starter.paths(folder, [series]))
    if each:
        return legends.guess_each(each)
    drawn = [series for part in found.parts for series in part.drawn]
    if drawn:
        shown = [one for one in starter.paths(folder, drawn) if one.is_file()]
        return legends.guess(shown, names, outputs)
    if not names:
        raise InputError(
            f"{folder}: no masks are found (in a folder masks, or files ..._mask.png); name the "
            "classes by --classes to go on without"
        )
    return legends.Legend({"names": names}, ("no masks were found",))


def _model(
    network: tuple[str, str],
    told: Recognised,
    weights: Path | None,
    arguments: Any,
    classes: list[str],
    folder: Path,
) -> Network:
    """The keys of `model`, but for the preprocessing."""
    from conceptseg.settings import parse_override
    from conceptseg.study.command import starter

    given = dict(parse_override(one) for one in arguments)
    keys: dict[str, Any] = {"source": network[0], "name": network[1]}
    reasons = []
    if told.arguments:
        reasons.append("its arguments are those whose weights have the checkpoint's shapes")
    if built := told.arguments | given:
        keys["arguments"] = built
    if weights is not None:
        keys["weights"] = starter.located(weights, folder)
    if told.outputs == 1 and len(classes) == 2:
        keys["positive_class"] = classes[1]
        reasons.append("one output map: it scores the second class")
    return starter.Network(keys, tuple(reasons))


def _prepared(study: str, path: Path, model: Network) -> Network:
    """The same with the preprocessing that agrees best with the masks."""
    from conceptseg.engine import start
    from conceptseg.engine.otherwise import as_plain
    from conceptseg.engine.suited import suited
    from conceptseg.settings import read_settings
    from conceptseg.study.command.running import start_here
    from conceptseg.study.command.starter import Network

    start_here()
    settings = read_settings(study, catalogue.load("study", study), path, ())
    context = start.prepare_each(settings.study, weigh=False)[0][1]
    found = suited(context)
    if found is None:
        return model
    told = (
        f"of {found.ways} ways to prepare images, tried on {found.images}, masks agree best with "
        f"{found.words}: mean IoU {found.mean:.2f}"
    )
    told += f" ({found.own:.2f} as they are)" if found.changes else ""
    print(told, file=sys.stderr)
    keys = model.keys | ({"preprocessing": as_plain(found.changes)} if found.changes else {})
    return Network(keys, (*model.reasons, told))


def _plain_name(text: str) -> str:
    """A name as the name of a file, too."""
    from conceptseg.result.saved import safe_key

    return safe_key(text)
