"""Concept graphs: through which groups of units, layer after layer, classes come about."""

from typing import ClassVar, Literal

from pydantic import Field

from conceptseg.catalogue import one_of, technique
from conceptseg.concepts.contract import ConceptFinder
from conceptseg.concepts.finders.kmeans import KMeans
from conceptseg.config import Layers, Reads
from conceptseg.engine.contract import Study


@technique(
    family="concept",
    source="Kori et al. 2020 (arXiv 2008.06457); our interventions, tests and null",
)
class Graph(Study):
    """Concept graph: through which groups of units, layer after layer, each class comes about.

    The nodes are atoms, groups of units of a layer that respond alike, and the classes. An edge
    says what a class's score owes to the way from one atom to another: with the first atom set to
    its mean, and all studied layers between the two held as they were, the second atom's response
    is put into the clean pass (ablation), and its clean response into the ablated pass
    (restoration). So the effects of all first steps from an atom sum to the atom's own effect where
    the network is linear. Gradients screen all pairs on one half of the images; the strongest are
    carried out on the other half, and have to hold against random groups of as many units.

    Departures from the publication, whose edges are mutual information of activations: responses
    decide which units go together, not weights; units are set to their mean, not to zero; edges are
    effects on a class, tested, and in both directions. Its own rule accepts noise, as `selftest`
    shows, and is not offered.
    """

    reads: ClassVar[Reads] = "apart"

    layers: Layers = Field(
        None,
        description="Layers whose units are grouped; auto: those that carry the decision together; "
        "stages of the network when empty.",
    )
    most_layers: int = Field(4, ge=2, le=8, description="Stages at most, where none are named.")
    concepts: one_of(ConceptFinder, "concepts", "kmeans") = Field(  # type: ignore[valid-type]
        KMeans(counts=(4, 6, 8), draws=3, seeds=3),
        description="How a layer's units are grouped into atoms, by their responses.",
    )
    alone: int = Field(
        8, ge=0, description="In a layer of no more units than this each unit is an atom."
    )
    cells: int = Field(24, ge=1, description="Places of each image at which units are compared.")
    images: int = Field(40, ge=4, description="Images of each class that are kept, by hash.")
    min_images: int = Field(
        10, ge=5, description="A class predicted in fewer images of either half is left out."
    )
    min_share: float = Field(
        0.002, ge=0, lt=1, description="A class of less of an image than this is not counted in it."
    )
    edges: int = Field(
        12, ge=1, description="Ways between atoms that are carried out for each class."
    )
    smallest_effect: float = Field(
        0.05,
        ge=0,
        description="Log-odds by which an edge has to move a class, to count.",
    )
    random_groups: int = Field(
        2000, ge=999, le=100_000, description="Random groups of units against which each is set."
    )
    exemplars: int = Field(4, ge=0, description="Images shown for each atom.")
    unit: Literal["auto", "group", "image"] = Field(
        "auto",
        description="What intervals and tests count: the manifest's groups, or images; auto takes "
        "groups where at least eight judge.",
    )
    picture_px: int = Field(
        160, ge=32, le=4096, description="Longer side of the report's pictures."
    )
