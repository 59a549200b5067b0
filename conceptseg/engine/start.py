"""Everything before the first pass: device, data, network and layer."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from conceptseg.config import RunConfig, StudyKeys
from conceptseg.data.cache import Decoded
from conceptseg.engine.contract import Context
from conceptseg.engine.independence import check_background
from conceptseg.engine.reading import first_images, lay_out, outputs_of_labels
from conceptseg.engine.room import batch_size, check_image
from conceptseg.engine.weighing import images_to_weigh, readers_of_several
from conceptseg.errors import InputError, nearest

if TYPE_CHECKING:
    from conceptseg.data.manifest import Manifest
    from conceptseg.network.choice import Choice
    from conceptseg.network.levels import Levels
    from conceptseg.network.model import SegmentationModel

S = TypeVar("S", bound=StudyKeys)

BALANCED = 4
"""Images over which the factors are taken by which none of several layers dominates."""


def prepare(study: StudyKeys, weigh: bool = True) -> Context:
    """What :func:`prepare_each` makes of a study that is of one class against all others, or of
    classes that are one of many.

    Raises :class:`~conceptseg.errors.InputError` for anything the user can cure, and for
    independent classes of which several are studied.
    """
    (_, context), *others = prepare_each(study, weigh)
    if others:
        names = ", ".join(one.model.classes[1] for one in (context, *(c for _, c in others)))
        raise InputError(
            f"model.values is {study.model.values}: each class is a yes or no of its own, and "
            f"this looks at one of them; say which by model.positive_class: {names}"
        )
    return context


def prepare_each(study: S, weigh: bool = True) -> list[tuple[S, Context]]:
    """Read the manifest, load the network onto its device and find the layer.

    Of independent classes of which none is chosen, a study of each in turn, with what it may see;
    of all else the study itself. The classes in turn are those of `data.classes`, or all but the
    background that masks can hold; they share the network and the layer.

    `weigh` says whether layers are weighed (:mod:`conceptseg.network.choice`) if one is named.

    The study's paths must be absolute or relative to the working folder (see
    :func:`conceptseg.settings.read_settings`). Sets torch's seed, threads and exact arithmetic.

    Raises :class:`~conceptseg.errors.InputError` for anything the user can cure.
    """
    import torch

    from conceptseg.network.independent import only

    _check_several(study)
    device = _first_device(study.run)
    set_arithmetic(study.run)
    manifest = read_manifest(study)
    if room := int(study.run.cache_gib * 2**30):
        manifest = dataclasses.replace(manifest, cache=Decoded(room))
    names = _in_turn(study, manifest)
    studies = [_of_class(study, name) for name in names] or [study]
    torch.manual_seed(study.seed)  # a network without weights is initialised at random
    model = _load_model(studies[0], manifest, device)
    check_background(study, manifest, model)
    run = study.run.model_copy(update={"device": device})
    first = first_images(manifest, run)
    with precision(run):
        check_image(model, first)
    if names:
        model.settle(first)
    if "batch_size" not in study.run.model_fields_set:
        with precision(run):
            room = batch_size(model, first)
        run = run.model_copy(update={"batch_size": room})
    found: list[tuple[S, Context]] = []
    for one, of_class in zip(
        studies, [only(model, name) for name in names] or [model], strict=True
    ):
        named = one.model_copy(update=_as_found(one, found[0][1])) if found else one
        found.append((one, _context(named, manifest, of_class, run, weigh)))
    return found


def _context(
    study: StudyKeys,
    manifest: Manifest,
    model: SegmentationModel,
    run: RunConfig,
    weigh: bool,
) -> Context:
    for name in study.data.classes:
        model.class_id(name)
    manifest = _with_model_background(manifest, model)
    held = None
    if manifest.any_labelled:
        outputs = outputs_of_labels(manifest, model)
        held = frozenset(outputs) - {-1}
        if model.rest is not None:
            both = zip(manifest.classes, outputs, strict=True)
            manifest = manifest.alone(name for name, place in both if place == 1)
    levels, choice = _find_levels(study, model, manifest, run, weigh)
    joint = levels if len(levels.names) > 1 else None
    return Context(
        model, manifest, run, str(levels), study.seed, held=held, choice=choice, joint=joint
    )


def _find_levels(
    study: StudyKeys, model: SegmentationModel, manifest: Manifest, run: RunConfig, weigh: bool
) -> tuple[Levels, Choice | None]:
    """The layers by their own names, mostly one, and what layers are worth."""
    from conceptseg.network.choice import chosen
    from conceptseg.network.levels import Levels
    from conceptseg.network.reach import with_reach
    from conceptseg.network.worth import levels_of

    several = study.layers if study.reads != "apart" or study.layers == "auto" else None
    if study.layer != "auto" and not several and not weigh:
        return Levels.of(model.layer_name(study.layer, first_images(manifest, run))), None
    images = images_to_weigh(manifest, run, study.seed)
    with precision(run):
        named = several if several and several != "auto" else (study.layer,)
        names = [model.layer_name(name, images, run.batch_size) for name in named]
        if several == "auto":
            choice = chosen(model, images, run.batch_size)
            names = list(choice.levels) if choice is not None else names
        levels = levels_of(model, images[:BALANCED], names, run.batch_size)
        levels = levels if study.reads == "balanced" else levels.plain
        try:
            choice = chosen(model, images, run.batch_size, levels)
            if choice is not None and study.asks_from_outside:
                choice = with_reach(choice, model, images, run.batch_size, str(levels))
            return levels, choice
        except InputError:  # a named layer is studied though others cannot be weighed
            return levels, None


def _as_found(study: StudyKeys, context: Context) -> dict[str, object]:
    """The keys by which a study looks at the layers that another one's were found to be."""
    if study.reads == "apart":
        return {"layer": context.single}
    return {"layer": "auto", "layers": context.levels.names}


def _check_several(study: StudyKeys) -> None:
    """Refuse several layers where the study can look at one only."""
    if study.layers is not None and study.reads == "one":
        name = type(study).__module__.split(".")[-2]
        raise InputError(
            f"layers: {name} looks at one layer, and cannot read several as one; name one by "
            f"layer, or leave both out; several are read by {', '.join(readers_of_several())}"
        )


def overlapping(study: StudyKeys, manifest: Manifest) -> Manifest:
    """The manifest as all its files are tried: masks of independent classes may overlap."""
    if (study.model.values or "").startswith("independent"):
        return manifest.alone(manifest.classes)
    return manifest


def _in_turn(study: StudyKeys, manifest: Manifest) -> tuple[str, ...]:
    """Independent classes that are studied one after the other; none where one is chosen."""
    from conceptseg.data.labels import places

    independent = (study.model.values or "").startswith("independent")
    if not independent or study.model.positive_class is not None:
        return ()
    outputs = study.model.classes or manifest.classes
    if study.data.classes:
        return study.data.classes
    rest = [] if manifest.background is None else places([manifest.background], outputs)
    able = [name for place, name in enumerate(outputs) if place not in rest]
    if manifest.any_labelled:
        drawn = [manifest.classes[index] for index in manifest.block.used]
        held = set(places(drawn, able))
        able = [name for place, name in enumerate(able) if place in held] or able
    return tuple(able)


def _of_class(study: S, name: str) -> S:
    """The study of one independent class."""
    model = study.model.model_copy(update={"positive_class": name})
    data = study.data.model_copy(update={"classes": ()})
    return study.model_copy(update={"model": model, "data": data})


def read_manifest(study: StudyKeys) -> Manifest:
    """The samples that a study is about: its manifest's, by split and limit.

    Where no limit is given, one that keeps something of each takes `most_images` at most.

    Raises :class:`~conceptseg.errors.InputError` for a manifest that cannot be read.
    """
    from conceptseg.data.manifest import load_manifest

    data = study.data
    manifest = load_manifest(data.manifest, _root(data.root))
    if data.limit is not None or study.most_images is None:
        return manifest.select(split=data.split, limit=data.limit, seed=study.seed)
    every = manifest.select(split=data.split)
    kept = every.select(limit=study.most_images, seed=study.seed)
    return dataclasses.replace(kept, left=len(every.samples) - len(kept.samples))


def _root(root: str | None) -> Path | None:
    from conceptseg.data.bucket import located

    if not root:
        return None
    return located(root) if "://" in root else Path(root)


def resolve_device(device: str) -> str:
    """`auto` -> the first of cuda, mps, cpu that is there; anything else is checked to be there."""
    import torch

    there = ["cpu"]
    if torch.backends.mps.is_available():
        there.insert(0, "mps")
    if torch.cuda.is_available():
        there[:0] = ["cuda", *(f"cuda:{index}" for index in range(torch.cuda.device_count()))]
    if device == "auto":
        return there[0]
    if device not in there:
        raise InputError(
            f"run.device is {device!r}, which this machine does not have; {nearest(device, there)}"
        )
    return device


def _first_device(run: RunConfig) -> str:
    """The device of this process; of several that make parts, all there and alike, the first."""
    every = [resolve_device(name) for name in run.devices]
    if len({name.partition(":")[0] for name in every}) > 1:
        raise InputError(
            f"run.devices are of different kinds ({', '.join(every)}), which do not compute the "
            "same; name those of one kind"
        )
    return every[0] if every else resolve_device(run.device)


def set_arithmetic(run: RunConfig) -> None:
    """Threads, and exact float32: no TensorFloat, no algorithm chosen by timing."""
    import torch

    # As many in the process that asks as in a cluster's workers, for another number rounds apart.
    threads = run.threads or (run.cpus_per_worker if run.engine == "ray" else None)
    if threads is not None:
        torch.set_num_threads(threads)
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.deterministic = True
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cuda.matmul.allow_tf32 = False


@contextlib.contextmanager
def precision(run: RunConfig) -> Iterator[None]:
    """Autocast to the run's dtype unless that is float32."""
    import torch

    if run.dtype == "float32":
        yield
        return
    with torch.autocast(run.device.partition(":")[0], dtype=getattr(torch, run.dtype)):
        yield


def _with_model_background(manifest: Manifest, model: SegmentationModel) -> Manifest:
    """The manifest with its background called as the network calls it."""
    from conceptseg.data.labels import places

    if model.rest is not None:
        return _with_background(manifest, model.rest)
    if manifest.background is None:
        return manifest
    place = places([manifest.background], model.classes)[0]
    name = None if place is None else model.classes[place]
    return _with_background(manifest, name)


def _with_background(manifest: Manifest, name: str | None) -> Manifest:
    if name == manifest.background:
        return manifest
    return dataclasses.replace(manifest, block=dataclasses.replace(manifest.block, background=name))


def _load_model(study: StudyKeys, manifest: Manifest, device: str) -> SegmentationModel:
    from conceptseg.network.model import load_model

    model = load_model(study.model, manifest.classes, device)
    if study.run.channels_last:
        lay_out(model)
    return model
