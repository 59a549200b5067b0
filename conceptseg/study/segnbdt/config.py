"""SegNBDT: a segmentation network as a decision tree over its classes, and where it goes wrong."""

from typing import Any, ClassVar, Literal

from pydantic import Field, field_validator

from conceptseg.catalogue import Methods, parse, technique
from conceptseg.config import ConceptMasks
from conceptseg.engine.contract import MOST, Study


@technique(
    family="global",
    source="Wan et al. 2020, SegNBDT (arXiv 2006.06868), NBDT (arXiv 2004.00221)",
)
class Segnbdt(Study):
    """The network's decision at each pixel as a descent of a tree whose leaves are the classes.

    A node scores each of its branches by the mean of the logits of the classes below it. Softly, a
    class's probability is the product of the node probabilities on its path; hard, the best branch
    is followed from the root. The study says how far the tree agrees with the network and what it
    costs in mIoU, compared with random trees; how often each node is right, how well it is
    calibrated, and at which node wrong decisions are made; and on what in the image each node's
    decision rests: local evidence, and how its margin changes when that, or a part of the image, is
    removed. Parts are the regions of classes, context that the data set knows to matter, and the
    concepts that the user has drawn (`masks`).

    Without `tune` the network stays as it is and only its reading changes. Tuned with the tree
    supervision loss, its head or all of it is trained for the tree's sake; batch normalisation
    keeps its statistics.

    Departures from the paper: the tree term of the loss is the cross entropy of the path
    probabilities themselves (`published_loss` takes the softmax of them again, as the reference
    code does); trees may come from confusions or features too; evidence is also tested by removing
    it. The paper's trained networks were not reproduced: its figures stand beside ours for
    comparison only.
    """

    most_images: ClassVar[int | None] = MOST

    hierarchy: Literal["weights", "confusion", "features", "given"] = Field(
        "weights",
        description="What the tree is made from: the rows of the last layer's weights, as "
        "published; which classes are taken for each other; the classes' mean features at the last "
        "layer; or `tree`. Confusions and features come from images that do not judge the tree.",
    )
    linkage: Literal["ward", "cosine", "average"] = Field(
        "ward", description="How weights or features are joined; ward as published."
    )
    tree: Any = Field(
        None,
        description="For hierarchy: given, nested lists of class names, or mappings from a node's "
        "name to what is below it.",
    )
    head: str = Field("auto", description="The last layer; auto takes what puts out the logits.")
    names: Literal["classes", "wordnet"] = Field(
        "classes",
        description="What nodes are called: by the classes below them, or by WordNet's lowest "
        "common hypernym (needs nltk and its corpus).",
    )
    dissection: str | None = Field(
        None,
        description="Folder of a finished dissect study of the layer that enters the head, whose "
        "names the node cards then give to the units that each node reads.",
    )
    tune: Literal["none", "head", "full"] = Field(
        "none", description="Which weights are trained with the tree supervision loss."
    )
    tree_weight: float = Field(
        1.0, ge=0, description="Weight of the tree's term; 10 was published with `published_loss`."
    )
    published_loss: bool = Field(
        False, description="Whether probabilities are put through a softmax again, as published."
    )
    rate: float = Field(3e-3, gt=0, description="Step size of Adam.")
    steps: int = Field(60, ge=1, description="Steps at most.")
    step_images: int = Field(8, ge=1, description="Images of a step.")
    check_every: int = Field(10, ge=1, description="Steps between two checks of the loss.")
    check_images: int = Field(24, ge=1, description="Images by which the loss is checked.")
    patience: int = Field(3, ge=1, description="Checks without a better loss, then it stops.")
    build_share: float = Field(
        0.5,
        gt=0,
        lt=1,
        description="Share of the images (of groups) that tuning, confusions and features may see; "
        "the others judge. All judge when none of these is asked for.",
    )
    kept_images: int = Field(200, ge=2, description="Images whose pixels compare trees.")
    kept_pixels: int = Field(512, ge=16, description="Pixels of each, drawn by hash.")
    random_trees: int = Field(199, ge=19, description="Random binary trees to compare with.")
    bootstraps: int = Field(100, ge=0, description="Trees from redrawn evidence, for stability.")
    boundary_px: int = Field(3, ge=1, description="Distance to another class at a boundary.")
    bins: int = Field(15, ge=2, description="Bins of confidence for calibration.")
    evidence: Methods = Field(
        ("grad_pam",),
        min_length=1,
        description="Local methods that say what a node's decision rests on; the first one's map "
        "is what is removed.",
    )
    evidence_images: int = Field(24, ge=2, description="Judged images, drawn by hash.")
    most_decisions: int = Field(
        40,
        ge=2,
        description="Decisions that are explained in an image, drawn by hash where pixels take "
        "more: each costs an explanation, and passes for each part. Trees of 21 classes have no "
        "more.",
    )
    most_parts: int = Field(
        16,
        ge=1,
        description="Classes whose regions are removed in an image, drawn by hash where more are "
        "predicted.",
    )
    min_region_fraction: float = Field(
        0.002, gt=0, lt=1, description="Share of an image that must take a branch to be explained."
    )
    removed_share: float = Field(
        0.1, gt=0, lt=1, description="Share of the image that is removed as evidence, at most."
    )
    controls: int = Field(2, ge=1, description="The same shape removed at random places.")
    fill: Literal["mean", "blur", "black", "grey", "neutral"] = Field(
        "mean", description="What takes the place of removed pixels."
    )
    masks: ConceptMasks
    unit: Literal["auto", "group", "image"] = Field(
        "auto", description="What intervals and tests count: the manifest's groups, or images."
    )
    inspected: int = Field(4, ge=1, description="Images whose pixels the report can be asked for.")
    inspected_side: int = Field(72, ge=4, le=200, description="Pixels asked for along a side.")
    exemplars: int = Field(3, ge=1, le=1000, description="Pictures of evidence for a branch.")
    picture_px: int = Field(
        224, ge=32, le=4096, description="Longer side of the report's pictures."
    )

    @field_validator("evidence")
    @classmethod
    def _explain_nodes(cls, entries: tuple[Any, ...]) -> tuple[Any, ...]:
        for entry in entries:
            if parse("explainers", entry).classes_only:
                raise ValueError(
                    f"{entry!r} explains classes alone, and not the decision of a node; take "
                    "another method, such as grad_pam or lrp"
                )
        return entries

    def local_methods(self) -> tuple[str | dict[str, Any], ...]:
        return (*self.compare, *self.evidence)
