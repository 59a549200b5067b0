"""Channels of classes that a finished L-CRP run showed to act from context."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from conceptseg.engine.contract import Context
from conceptseg.engine.known import Key, Known
from conceptseg.errors import InputError, asked_for
from conceptseg.result.columns import as_number
from conceptseg.result.joined import parts_of
from conceptseg.result.saved import Result, as_written, safe_key
from conceptseg.study.audit.config import Audit

MOSTLY = 0.5
"""Part of a channel's map beyond the class from which it reads context more than the class."""


@dataclass(frozen=True)
class Acting:
    """What a run says of the layer's channels, by class.

    `units`: those that act from context by the run's own verdict and hold more than half of their
    map there, most relevant first; `free`: all that were not shown to act from context at all, be
    it little; `relevance` [u]: each channel's mean share of the class's relevance. Classes that the
    run did not explain have none of these. `ids` are the images that it looked at.
    """

    units: dict[str, tuple[int, ...]]
    free: dict[str, tuple[int, ...]]
    relevance: dict[str, np.ndarray]
    ids: frozenset[str]


COLUMNS = ("class", "channel", "relevance", "context", "picture", "outline")
LABELS = {
    "relevance": "share of the class's relevance",
    "context": "part of its maps outside of the class",
}
ACTING: Key[tuple[Acting, ...]] = Key("acting", tuple)
"""One, or none."""


def open_acting(study: Audit, context: Context, known: Known) -> Known:
    """The channels that a study's file names the run of, as a step of its plan."""
    acting = load_acting(study, context)
    return ACTING(() if acting is None else (acting,))


def load_acting(study: Audit, context: Context) -> Acting | None:
    """The channels of `channels`, None where no run is named.

    Raises InputError for what is no L-CRP result of this network and layer.
    """
    if study.channels is None:
        return None
    if study.ablate == "none":
        raise InputError("channels: ablate is none, so that no channel is tried; take one out")
    with asked_for("channels"), as_written(study.channels):
        result = _opened(study, context)
        acting = _read(str(study.channels), result)
        _shown(result, acting)  # what cannot be shown in the end is refused now
        return acting


def _opened(study: Audit, context: Context) -> Result:
    """The run, of several networks' that of this one."""
    where, whole = study.channels, Result.load(str(study.channels))
    weights = context.model.fingerprint()
    every = parts_of(whole).values()
    result = next((one for one in every if one.provenance.get("weights") == weights), whole)
    if result.study != "lcrp" or "images" not in result.tables:
        raise InputError(f"{where} is no result of this version's lcrp; run it again")
    if result.provenance.get("weights") != weights:
        raise InputError(f"{where} is of a network with other weights; run lcrp on this one")
    if (layer := result.provenance.get("layer")) != context.layer:
        raise InputError(
            f"{where} is of the channels of {layer!r}, and {context.layer!r} is audited; give "
            f"layer: {layer}, or run lcrp on the other"
        )
    return result


def _read(where: str, result: Result) -> Acting:
    looked, given = result.tables["images"].rows, int(result.notes["images"])
    if len(looked) != given:
        raise InputError(
            f"{where} looked at {given} images, which it does not name, so that none are left to "
            "test its channels on; run lcrp on 10000 at most (data.limit)"
        )
    names = [result.notes["classes"][c] for c in result.arrays["class"].tolist()]
    means = result.arrays["relevance_mean"].astype(np.float64)
    if means.ndim != 2 or len(means) != len(names) or not np.isfinite(means).all():
        raise InputError(f"{where}: its relevance is no finite number by channel; run it again")
    units, free = dict[str, tuple[int, ...]](), dict[str, tuple[int, ...]]()
    for name in names:
        acts = [row for row in result.tables["scores"].rows if row["class"] == name and row["acts"]]
        own = [int(row["unit"]) for row in acts]
        if not all(0 <= unit < means.shape[1] for unit in own):
            raise InputError(f"{where}: it has {means.shape[1]} channels, and names others")
        units[name] = tuple(int(row["unit"]) for row in acts if as_number(row["context"]) > MOSTLY)
        free[name] = tuple(unit for unit in range(means.shape[1]) if unit not in own)
    ids = frozenset(str(row["sample"]) for row in looked)
    return Acting(units, free, dict(zip(names, means, strict=True)), ids)


def exhibits(
    study: Audit, context: Context, acting: Acting
) -> tuple[list[dict[str, Any]], dict[str, bytes]]:
    """The acting channels as rows of `COLUMNS`, and of each the first picture of the run."""
    with asked_for("channels"), as_written(str(study.channels)):
        return _shown(_opened(study, context), acting)


def _shown(result: Result, acting: Acting) -> tuple[list[dict[str, Any]], dict[str, bytes]]:
    shown, pictures = list[dict[str, Any]](), dict[str, bytes]()
    kept = {row["of"]: row for row in reversed(result.tables["shown"].rows)}
    for row in result.tables["scores"].rows:
        if row["unit"] not in acting.units.get(row["class"], ()):
            continue
        picture = outline = ""
        if (best := kept.get(row["picture"])) is not None:  # none where exemplars is 0
            picture = safe_key(f"channel-{row['class']}-{row['unit']}")
            pictures[picture], outline = result.images[best["picture"]], best["outline"]
        numbers = (int(row["unit"]), float(row["relevance"]), float(row["context"]))
        cells = (row["class"], *numbers, picture, outline)
        shown.append(dict(zip(COLUMNS, cells, strict=True)))
    return shown, pictures
