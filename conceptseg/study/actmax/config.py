"""Activation maximisation: what each unit of a layer would like to see, and how far to trust it."""

from typing import Annotated, Literal

from pydantic import Field

from conceptseg.catalogue import technique
from conceptseg.engine.contract import Study

Unit = Annotated[int, Field(ge=0)]


@technique(
    family="concept",
    source="Olah et al. 2017; Fel et al. 2023 (arXiv 2306.06805); Natekar et al. 2020",
)
class Actmax(Study):
    """Pictures that excite each unit most, beside the real images that do, and how alike they are.

    Pictures are made by gradient ascent from noise. By default only the phases of their waves are
    free, their amplitudes and colours are those of the audited data set (MACO's form). Each
    picture is shown with the unit's own real images, and judged: how its response compares with
    what real images reach, and whether an earlier layer, and a network that forgot what it learnt,
    find it more like the unit's own images than like those of other units.

    Departures from the published MACO: amplitudes come from the audited data and not from a
    download; random views of the whole picture stand for six small crops; steps are fewer.
    `natekar` follows the published code of Natekar et al. on lucid's defaults; its optional
    template term is left out, and so is a term on the parameters' norm that is added where the
    paper's text would take it off.
    """

    objective: Literal["channel", "position", "direction", "class"] = Field(
        "channel",
        description="What is maximised: a unit's mean, its value at the centre, the activation "
        "along a direction, or a class's log-odds in the picture's middle.",
    )
    units: tuple[Unit, ...] = Field(
        (), description="Units (or rows of `directions`) to show; those that vary most when empty."
    )
    most: int = Field(32, ge=1, description="At most this many units.")
    directions: str | None = Field(
        None, description="For `direction`: .npy file [q, units], or a finished ace run's folder."
    )
    labels: str | None = Field(
        None, description="Folder of a finished dissect run of this layer, which names the units."
    )
    method: Literal["maco", "fourier", "natekar"] = Field(
        "maco",
        description="`maco`: the data's amplitudes, free phases; `fourier`: free coefficients "
        "scaled by 1 / frequency (lucid); `natekar`: that with the regularisers of Natekar et al.",
    )
    steps: int | None = Field(
        None,
        ge=1,
        description="Steps of the ascent; if absent 256 for `maco`, and as published 512 for "
        "`fourier` and 500 for `natekar`.",
    )
    seeds: int = Field(2, ge=1, description="Pictures of each unit, from different noise.")
    size_px: int | None = Field(
        None, ge=16, description="Side of the pictures; the images' own, at most 128, if absent."
    )
    rate: float | None = Field(None, gt=0, description="Step size; the method's own if absent.")
    jitter_px: int | None = Field(None, ge=0, description="Largest random shift; the method's own.")
    scale: float | None = Field(None, ge=0, lt=1, description="Largest change of scale, likewise.")
    rotate: float | None = Field(None, ge=0, description="Largest turn in degrees, likewise.")
    tv: float | None = Field(None, ge=0, description="Weight of total variation, likewise.")
    l1: float | None = Field(None, ge=0, description="Weight of the distance to grey, likewise.")
    rows: int = Field(
        32, ge=1, description="Pictures that are optimised together; bounds the memory."
    )
    spectrum_images: int = Field(256, ge=1, description="Images that give the mean amplitudes.")
    kept_images: int = Field(
        2000, ge=2, description="Images whose responses are kept for percentiles, drawn by hash."
    )
    exemplars: int = Field(9, ge=1, le=1000, description="Real images shown beside each picture.")
    earlier: str = Field(
        "auto",
        description="Layer in which likeness is measured; auto takes the last one on a finer grid.",
    )
    compared: int = Field(
        256,
        ge=1,
        description="Units, the shown ones among them, whose real images pictures are compared "
        "with; those that vary most.",
    )
    picture_px: int = Field(
        160, ge=32, le=4096, description="Longer side of the report's pictures."
    )
