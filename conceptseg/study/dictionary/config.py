"""Dictionary: the atoms that a layer is made of, what each is worth, and which repairs failures."""

from typing import Literal

from pydantic import Field

from conceptseg.catalogue import one_of, technique
from conceptseg.concepts.dictionary import DictionaryFinder
from conceptseg.concepts.finders.nmf import Nmf
from conceptseg.engine.contract import Study

COUNTS = (8, 16, 32, 64)


@technique(
    family="concept",
    source="Fel et al. 2023, CRAFT (arXiv 2211.10154); Jansen 1999; Med-SegLens (2602.10508)",
)
class Dictionary(Study):
    """Atoms that rebuild a layer: what they show, what classes lose without each, what they repair.

    Each position of the layer is a sum of a few atoms with codes that are never negative. The
    fewest atoms are taken whose sums, in place of the layer, leave the prediction as it was (IoU
    with the network's own of at least `recovered`); where none do, nothing is claimed. An atom is
    erased by taking its part out of each position, all else and what no atom explains left in
    place: so an error of the dictionary is not credited to it. Importance is the loss of IoU of
    each class, beyond that of random directions with the same codes; for the first atoms also the
    total Sobol index of the classes' log-probability.

    A repair sets one atom to its mean over right images of a class, everywhere, on images where
    the class fails. Which atom is chosen on one half of the groups, and judged on the other beside
    all other atoms (the placebo) and beside doing nothing.

    Departures from CRAFT: dense outputs; positions, not crops; the residual is put back; intervals.
    """

    finder: one_of(DictionaryFinder, "concepts", "nmf") = Field(  # type: ignore[valid-type]
        Nmf(counts=COUNTS), description="How atoms are learnt: nmf, batch_topk_sae or kmeans."
    )
    images: int = Field(200, ge=8, description="Images that are looked at, drawn by hash.")
    positions: int = Field(64, ge=4, description="Positions of each image to learn from.")
    recovered: float = Field(
        0.95, gt=0, le=1, description="Least IoU of the rebuilt prediction with the network's own."
    )
    recover_images: int = Field(40, ge=4, description="Images on which that is measured.")
    erase_images: int = Field(100, ge=8, description="Images in which each atom is erased.")
    random_edits: int = Field(20, ge=2, description="Random directions that are erased as well.")
    smallest_effect: float = Field(
        0.02, ge=0, description="Loss of IoU below which an atom does not count as used."
    )
    sobol_atoms: int = Field(8, ge=0, le=64, description="Atoms whose Sobol index is estimated.")
    sobol_images: int = Field(12, ge=2, description="Images on which it is.")
    sobol_draws: int = Field(16, ge=4, le=1024, description="Points of the design, per image.")
    refits: int = Field(3, ge=2, description="Further seeds and draws that stability compares.")
    failing: float = Field(
        0.5, gt=0, lt=1, description="IoU below which a class of at least min_share fails."
    )
    min_share: float = Field(
        0.005, ge=0, lt=1, description="A class of less of an image than this cannot fail in it."
    )
    min_failures: int = Field(
        5, ge=1, description="Failing images of a class in each half, for a repair to be tried."
    )
    exemplars: int = Field(4, ge=1, le=20, description="Images shown of each atom.")
    cards: int = Field(16, ge=1, le=256, description="Atoms that have a card.")
    unit: Literal["auto", "group", "image"] = Field(
        "auto", description="What intervals and tests count: the manifest's groups, or images."
    )
    picture_px: int = Field(160, ge=32, le=4096, description="Longer side of the pictures.")
