"""Which rules of LRP suit a network, as `check` prints it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from conceptseg.catalogue import choice_labels
from conceptseg.engine.contract import Context, Study
from conceptseg.engine.reading import read, some
from conceptseg.errors import InputError
from conceptseg.network.label_map import label_map

if TYPE_CHECKING:
    from conceptseg.explain.lrp.composites import CompositeName
    from conceptseg.explain.lrp.suited import Fit, Start

Lines = list[tuple[str, str]]
IMAGES = 4
"""Among so many images the one is taken that shows most of a class."""
RULED = ("lrp", "deep_lift")


def rules(study: Study, context: Context, forward: float, *, compare: bool) -> Lines:
    """How each composite does on one image and which is recommended, if they are to be compared.

    Otherwise what that would cost at `forward` seconds a pass, where the study uses such rules.
    """
    from conceptseg.explain.lrp.suited import PASSES

    if compare:
        return _compared(study, context)
    labels = choice_labels(study.local_methods())
    if not hasattr(study, "composite") and not any(one.startswith(RULED) for one in labels):
        return []
    seconds = forward * PASSES
    return [("LRP rules", f"not compared; --rules does, in about {max(seconds, 1):.0f} s")]


def _compared(study: Study, context: Context) -> Lines:
    import torch

    from conceptseg.engine.start import precision
    from conceptseg.explain.lrp.engine import Engine
    from conceptseg.explain.lrp.suited import Fit, fits, named, recommended

    composite: CompositeName = getattr(study, "composite", "epsilon_plus")
    start: Start = getattr(study, "compared_start", "logit")
    with precision(context.run):
        batch = next(iter(read(context, some(context, IMAGES), "none")))
        with torch.no_grad():
            prediction = label_map(context.model(batch.images))
        classes = torch.tensor(study.class_ids(context), device=prediction.device)
        counts = (prediction[:, None] == classes[:, None, None]).sum((2, 3))
        if not counts.any():
            return [("LRP rules", f"not compared: none of {len(batch)} images shows a class")]
        place, column = divmod(int(counts.argmax()), len(classes))
        image, class_id = batch.images[place : place + 1], int(classes[column])
        region = prediction[place : place + 1] == class_id
        try:
            engine = Engine(context.model, image, composite)
            found = dict(fits(engine, image, region, class_id, start))
        except InputError as error:
            return [("LRP rules", f"not compared: {error}")]
    sound = {name: fit for name, fit in found.items() if isinstance(fit, Fit)}
    what = f"{context.model.classes[class_id]} in {batch.ids[place]}, 1 image"
    if not sound:
        lines = [("LRP rules", f"none can be taken ({what})")]
    else:
        best = recommended(sound, named(composite, start))
        lines = [("LRP rules", f"composite: {best} is recommended ({what}; a hint, not a test)")]
    return lines + [(f"  {name}", _told(fit)) for name, fit in found.items()]


def _told(fit: Fit | str) -> str:
    """A composite's criteria in a line, or why it cannot be taken."""
    if isinstance(fit, str):
        return f"cannot be taken: {fit}"
    text = (
        f"absolute growth {fit.growth:.3g}, silent units {fit.silent:.1%}, grid {fit.grid:.0%}, "
        f"occlusion {fit.occlusion:.2f}, flipping {fit.flipping:.2f}"
    )
    return text + (f"; does not meet: {', '.join(fit.fails)}" if fit.fails else "")
