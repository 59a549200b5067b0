"""One image explained in three lines, with the picture in a notebook's output cell.

::

    from conceptseg.notebook import explain, model
    network = model("torchvision", "deeplabv3_resnet101", weights="pretrained:DEFAULT")
    explain(network, "street.jpg", "car", "seg_xres_cam", "rise")

and the report of a finished run in a cell: ``show("runs/ace-street-1a2b3c4d")``.

The same explainers, targets and networks serve the studies; nothing here is another way to them.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import torch
from pydantic import ValidationError
from torch import nn

from conceptseg.catalogue import choice_labels, parse, told
from conceptseg.config import ModelConfig, Preprocessing, Reading, ScoreName
from conceptseg.data.images import read_image
from conceptseg.data.raster import Rules
from conceptseg.errors import InputError, asked_for, nearest
from conceptseg.explain.contract import Explainer
from conceptseg.explain.regions import Region
from conceptseg.explain.scene import Scene
from conceptseg.explain.target import Target
from conceptseg.network.choice import chosen
from conceptseg.network.independent import only
from conceptseg.network.label_map import label_map
from conceptseg.network.model import SegmentationModel, load_model
from conceptseg.network.plain import in_float32
from conceptseg.report.explanation import Explanation
from conceptseg.report.framed import Shown
from conceptseg.report.thumbnails import ZERO

if TYPE_CHECKING:
    from PIL import Image

    from conceptseg.report.brushed import Painting

T = TypeVar("T")
MOST_CELLS = 1024
Method = str | dict[str, Any] | Explainer
BRUSH: dict[str, Any] = {"kind": "vanilla_saliency", "reduce": "sum"}


def model(source: str, name: str, *, device: str = "cpu", **settings: Any) -> SegmentationModel:
    """A network by source and name, as the `model` block of a study's file describes it.

    `settings` are that block's other keys: weights, classes, preprocessing, arguments. Of
    independent classes :func:`explain` takes any, as with :func:`own`. Raises InputError for what
    cannot be loaded.
    """
    try:
        config = ModelConfig(source=source, name=name, **settings)
    except ValueError as error:
        raise InputError(f"model: {error}") from None
    positive = _studied(config.values, config.positive_class, config.classes)
    config = config.model_copy(update={"positive_class": positive})
    return load_model(config, config.classes, device)


def own(
    network: nn.Module,
    classes: Sequence[str],
    *,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    positive_class: str | None = None,
    **settings: Any,
) -> SegmentationModel:
    """Your own network, for images in [0, 1]: its classes and what it wants done to an image.

    `settings` are further keys of `model.preprocessing` (range, channels, normalise, ...) and those
    that say how the output is read (output, values, place, merge, drop). `positive_class` is the
    class that a network with one output map scores. Of independent classes :func:`explain` takes
    any; called with images, the network answers for `positive_class`, the first if none is given.
    Weights of another type are turned to float32, in place.

    Raises InputError for keys that do not exist or do not hold what they should.
    """
    reading = {key: settings.pop(key) for key in Reading.model_fields if key in settings}
    known = [*Preprocessing.model_fields, *Reading.model_fields]
    for key in settings:
        if key not in known:
            raise InputError(f"own() takes no {key!r}; {nearest(key, known)}")
    try:
        steps = Preprocessing(
            mean=None if mean is None else tuple(mean),
            std=None if std is None else tuple(std),
            **settings,
        )
        read = Reading(**reading)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise InputError(f"own(): {where}: {first['msg']}, got {first['input']!r}") from None
    return SegmentationModel(
        network,
        classes,
        steps,
        name=type(network).__name__,
        positive_class=_studied(read.values, positive_class, classes),
        remarks=in_float32(network),
        reading=read,
    )


def _studied(values: str | None, given: str | None, classes: Sequence[str]) -> str | None:
    """The positive class: of independent classes the first until another is asked for."""
    independent = (values or "").startswith("independent")
    return next(iter(classes), None) if independent and given is None else given


def explain(
    network: SegmentationModel,
    image: str | Path | np.ndarray | torch.Tensor | Image.Image,
    class_name: str,
    *methods: Method,
    region: Region | None = None,
    score: ScoreName = "margin",
    batch_size: int = 8,
    quiet: bool | None = None,
) -> Explanation:
    """Where an image made the network predict a class, by one or several methods.

    `image` is a file, a Pillow image, or an array or tensor [c, h, w] (or [h, w, c], [h, w]) in
    [0, 1] or of 8 bits. `methods` are names of `conceptseg list`, mappings with `kind` and
    parameters, or explainers; Seg-XRes-CAM when none is given. `region` limits whose score is
    explained (:mod:`conceptseg.explain.target`): by default all pixels where the class is
    predicted. Methods that read one layer take, where none is named, the one that carries the
    decision on this image (:mod:`conceptseg.network.choice`). A class of a network of independent
    ones is explained against all that it is not, whichever `positive_class` is. Of a map that is
    zero everywhere the explanation's `remarks` say why that may be, and so does a UserWarning.
    Notebooks and terminals show how many methods are done, unless `quiet`.

    Raises InputError for an unknown class or method, an image that does not suit the network, and
    a region that is empty in this image.
    """
    entries = methods or ("seg_xres_cam",)
    names = choice_labels([m if isinstance(m, (str, dict)) else type(m).__name__ for m in entries])
    made = [m if isinstance(m, Explainer) else _method(m) for m in entries]
    if network.interpretation.independent and class_name in network.interpretation.outputs:
        network = only(network, class_name)
    pixels = as_image(image, network.channels).to(next(network.parameters()).device)
    target = Target(network.class_id(class_name), region, score)
    scene = Scene(network, pixels[None], batch_size=batch_size)
    _check_layers(scene, made)
    fixed = scene.fix(target)
    if bool(fixed.empty[0]):
        present = [network.classes[int(c)] for c in label_map(scene.logits).unique()]
        raise InputError(
            f"the region of {class_name!r} is empty in this image, where the network predicts "
            f"{', '.join(present)}; choose one of these, or another region"
        )
    found, passes = {}, {}
    remarks: dict[str, tuple[str, ...]] = {}
    for name, method in _bar(list(zip(names, made, strict=True)), quiet):
        before, known = scene.passes, len(scene.remarks)
        with asked_for(name):
            found[name] = method.on(scene, [target])[0, 0].cpu().numpy()
        passes[name] = {k: n - before.get(k, 0) for k, n in scene.passes.items()}
        zero = () if found[name].any() else (_zero(method, scene),)
        if zero:
            warnings.warn(f"{name}: {zero[0]}", stacklevel=2)
        said = (*zero, *scene.remarks[known:])
        remarks |= {name: said} if said else {}
    picture, mask = pixels.float().cpu().numpy(), fixed.mask[0].cpu().numpy()
    return Explanation(class_name, picture, mask, found, passes, remarks)


def brush(
    network: SegmentationModel,
    image: str | Path | np.ndarray | torch.Tensor | Image.Image,
    class_name: str,
    method: Method = BRUSH,
    *,
    cells: tuple[int, int] = (8, 8),
    score: ScoreName = "margin",
    batch_size: int = 8,
) -> Painting:
    """A page on which cells of the image are painted, and the map of what is painted is seen.

    `method` has to be linear in what it explains, as gradients summed over channels, integrated
    gradients and RISE are. A notebook shows the page, without a server or a widget; `save(path)`
    writes it as one file that works without this package. For drawings of single pixels, and for
    how much of one drawing's score lies on another, see
    :class:`conceptseg.explain.brush.Brush`. Gradients take a pass back for each cell.

    Raises InputError for what :func:`explain` does, and for methods whose maps do not add up.
    """
    from conceptseg.explain.brush import Brush
    from conceptseg.report.brushed import Painting

    if min(cells) < 1 or cells[0] * cells[1] > MOST_CELLS:
        raise InputError(f"cells: from 1 to {MOST_CELLS} of them, got {cells[0]} x {cells[1]}")
    made = method if isinstance(method, Explainer) else _method(method)
    pixels = as_image(image, network.channels).to(next(network.parameters()).device)
    scene = Scene(network, pixels[None], batch_size=batch_size)
    _check_layers(scene, [made])
    own = Brush(scene, network.class_id(class_name), made, score)
    maps = own.maps(own.cells(*cells)).cpu().numpy()
    grid = (min(cells[0], scene.size[0]), min(cells[1], scene.size[1]))
    region = (label_map(scene.logits)[0] == own.class_id).cpu().numpy()
    return Painting(pixels.float().cpu().numpy(), region, maps, grid, class_name, made.name())


def fit_noise(
    network: SegmentationModel,
    images: Sequence[str | Path | np.ndarray | torch.Tensor | Image.Image],
    *class_names: str,
    out: str | Path,
    steps: int = 1000,
    batch: int = 8,
    seed: int = 0,
    **noise: float,
) -> Path:
    """Fit the noise network of `u_noise` to a frozen network, on images of one size.

    The file `out` is what `{"kind": "u_noise", "weights": out}` takes, for this network alone and
    for `class_names`, each predicted in some image. `noise` are low, high, price, smooth and edge
    (:class:`~conceptseg.explain.noise_model.Noise`). No labels are read.

    Raises InputError for what it does not know, and images that differ in size or do not suit.
    """
    from conceptseg.explain.noise_model import fit, noise_of

    settings = noise_of(noise)
    classes = [network.class_id(name) for name in class_names]
    if not classes or not images or steps < 1 or batch < 1:
        raise InputError("fit_noise() needs images, class names, and at least one step and image")
    pixels = [as_image(one, network.channels) for one in images]
    if len({tuple(one.shape) for one in pixels}) > 1:
        raise InputError("fit_noise() takes images of one size; cut or resize them before")
    stack = Scene(network, torch.stack(pixels).to(next(network.parameters()).device)).images
    return fit(network, stack, classes, settings, steps=steps, batch=batch, seed=seed)[0].save(out)


def _bar(each: list[T], quiet: bool | None) -> Iterable[T]:
    """These, with a bar of those that are done, in notebooks and terminals alone."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it tells notebooks what to install for a nicer bar
        from tqdm.auto import tqdm

        shown: Iterable[T] = tqdm(each, "explain", disable=quiet, leave=False)
    return shown


def _zero(method: Explainer, scene: Scene) -> str:
    """What a map means that is zero everywhere, and what else can be tried."""
    text = ZERO
    layer = getattr(method, "layer", None)
    if isinstance(layer, str):
        layer = scene.layer(layer)
        choice = chosen(scene.model, scene.images, layer=layer)
        worth = None if choice is None else choice.worth(layer)
        text += f" at layer {layer!r}"
        if choice is not None and worth is not None:
            text += f", which is worth {worth:.2f} of the {choice.by} ({choice.best!r} is worth "
            text += f"{choice.worth(choice.best):.2f})"
        text += ": name another layer"
        if getattr(method, "relu", False):
            text += ", or give relu: false to see what speaks against the class too"
        return text
    return f"{text}: the method finds nothing that the class depends on; try another"


def _check_layers(scene: Scene, methods: Sequence[Explainer]) -> None:
    """Refuse layers that methods name and that cannot be read as maps."""
    for name in sorted({name for method in methods for name in method.layers_named} - {"auto"}):
        scene.model.layer_name(name, scene.images)


def _method(entry: str | dict[str, Any]) -> Explainer:
    try:
        made: Explainer = parse("explainers", entry)
    except ValueError as error:
        name = entry if isinstance(entry, str) else entry.get("kind", "a method")
        raise InputError(f"{name}: {told(error)}") from None
    return made


def as_image(
    image: str | Path | np.ndarray | torch.Tensor | Image.Image, channels: int
) -> torch.Tensor:
    """Any of the usual forms of an image -> float32 [c, h, w] in [0, 1] of so many channels."""
    if isinstance(image, (str, Path)):
        return torch.from_numpy(read_image([Path(image)], Rules(channels=channels)))
    values = image.detach().cpu().numpy() if isinstance(image, torch.Tensor) else np.asarray(image)
    if values.ndim == 2:
        values = values[None]
    if values.ndim != 3:
        raise InputError(f"an image is [c, h, w], [h, w, c] or [h, w], got {list(values.shape)}")
    if values.shape[0] != channels and values.shape[-1] == channels:
        values = np.moveaxis(values, -1, 0)
    scale = {"uint8": 255.0, "uint16": 65535.0}.get(values.dtype.name, 1.0)
    return torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32) / np.float32(scale))


def show(run: Path | str, height: int = 800) -> Shown:
    """The report of a finished run, in `height` pixels; `run` is its folder, or a file in it.

    It is rendered from the saved result: neither the network nor the data is needed. Raises
    InputError for a folder without a result, and for a result that cannot be shown.
    """
    from conceptseg.report.page import render
    from conceptseg.result.saved import Result, as_written
    from conceptseg.study.command.shown import report_of

    folder = Path(run)
    folder = folder.parent if folder.is_file() else folder
    result = Result.load(folder, altered=True)
    report = report_of(result, folder)
    with as_written(folder):
        return Shown(folder.name, render(report, result), height)
