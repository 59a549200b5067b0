"""L-CRP: which channels a prediction rests on, what they look like, and how much is context."""

from typing import Literal, Self

from pydantic import Field, model_validator

from conceptseg.catalogue import technique
from conceptseg.config import ConceptMasks
from conceptseg.engine.contract import Study
from conceptseg.explain.fill import Fill


@technique(family="concept", source="Dreyer et al. 2023, arXiv:2211.11426; Achtibat et al. 2023")
class Lcrp(Study):
    """Concept-conditional relevance of a segmentation network, with its context scores.

    A concept is a channel of one layer, and what is explained is the predicted region; single maps
    of directions and of parts of a layer come by `compare: [{kind: lrp, ...}]`. Layer-wise
    relevance propagation shares a class's score in its predicted region out over the channels;
    going on with one channel's share alone gives the channel's own map of the image. The context
    score is the part of that map's positive mass that lies outside of the class's labelled region:
    C = sum H+ (1 - m) / sum H+.

    Departures: relevance is normalised image by image (the published code divides by the sum over
    a batch, which makes images depend on each other), negative logits are kept (it clips them, and
    an image whose class wins with negative logits is lost), and the last layer follows the epsilon
    rule. Beside the score over the most relevant images, which are selected and so are biased,
    stands the score over images drawn at random, and its excess over networks of shuffled weights
    and over the receptive field. A channel acts from context if it lies above both: above what
    shuffled networks show in the mean, over images, and above the largest that any of their
    channels reaches, over networks.

    LRP shares out what is there. Evidence that works by suppressing a competing class leaves no
    trace in the class's maps. `composite: rescale` shares out changes from a reference instead
    (DeepLIFT), along the same paths and into the same scores, and shows it wherever the network
    sees the reference differently: the planted network's brick shows against its mean colour and
    against black, and not against grey.

    Source: Dreyer, Achtibat, Wiegand, Samek and Lapuschkin, "Revealing Hidden Context Bias in
    Segmentation and Object Detection through Concept-specific Explanations", CVPRW 2023.
    """

    composite: Literal[
        "epsilon_plus", "epsilon_plus_flat", "plus", "gamma", "attention", "rescale"
    ] = Field(
        "epsilon_plus",
        description="Rules by which relevance is shared out; attention, experimental, is for "
        "transformers; rescale (DeepLIFT) shares out changes from a reference, and shows "
        "evidence that works by suppressing other classes. The published context score is "
        "made with epsilon_plus.",
    )
    reference: Fill = Field(
        "mean", description="What an image's changes are counted from, under rescale."
    )
    zero_bias: bool = Field(
        True, description="Whether biases are kept from taking relevance (but the last layer's)."
    )
    quantity: Literal["logit", "centred", "probability", "one"] = Field(
        "logit",
        description="What relevance starts from at each pixel of the region; centred: the logit "
        "less the mean of all classes', which is what decides.",
    )
    sign: Literal["signed", "positive"] = Field(
        "signed",
        description="Whether negative logits (under rescale, changes) count, or are clipped, as "
        "published.",
    )
    concepts: int = Field(
        12, ge=1, description="Most relevant channels of each class; 50 as published."
    )
    references: int = Field(
        15, ge=1, le=1000, description="Most relevant images of a channel and class."
    )
    random_images: int = Field(
        12, ge=0, description="Images of each class drawn at random for the calibrated score."
    )
    shuffled_networks: int = Field(
        8,
        ge=3,
        description="Networks of shuffled weights whose channels show what comes without any "
        "learning; with more of them, a smaller excess over that is detected.",
    )
    shuffled_images: int = Field(
        4, ge=1, description="Random images of each class that these networks are shown."
    )
    images_per_class: int = Field(
        200, ge=2, description="At most this many images of each class in spreads and draws."
    )
    min_images: int = Field(5, ge=2, description="Classes in fewer images are left out.")
    sensitivity_images: int = Field(
        20, ge=0, description="Images of each class whose background is replaced."
    )
    instance_pixels: int = Field(
        500, ge=1, description="Only regions of more pixels count in that, as published."
    )
    flip_images: int = Field(6, ge=0, description="Images of each class for the flipping curves.")
    flip_steps: int = Field(15, ge=2, description="Points of a flipping curve.")
    flip_mode: Literal["remove", "insert"] = Field(
        "remove", description="Whether the most relevant channels are zeroed, or kept alone, first."
    )
    random_orders: int = Field(5, ge=2, description="Random orders that curves are compared with.")
    conserve_images: int = Field(3, ge=1, description="Images in the table of retained relevance.")
    rules_images: int = Field(
        1,
        ge=0,
        description="Images on which the composites are compared, and one is recommended.",
    )
    at_once: int = Field(
        1, ge=1, description="Conditional maps made together: more memory, less time on a GPU."
    )
    exemplars: int = Field(
        4, ge=0, le=1000, description="Pictures of each channel, per kind of reference."
    )
    picture_px: int = Field(
        160, ge=32, le=4096, description="Longer side of the report's pictures."
    )
    labels: str | None = Field(
        None, description="Folder of a finished dissect run of this layer, which names channels."
    )
    masks: ConceptMasks
    unit: Literal["auto", "group", "image"] = Field(
        "auto",
        description="What intervals and tests count: the manifest's groups, or single images; auto "
        "takes groups where there are at least eight.",
    )

    @property
    def compared_start(self) -> Literal["logit", "centred"]:
        """What relevance starts from where rules are compared."""
        return "centred" if self.quantity == "centred" else "logit"

    @model_validator(mode="after")
    def _changes_of_logits(self) -> Self:
        if self.composite == "rescale" and self.quantity not in ("logit", "centred"):
            raise ValueError("quantity: rescale shares out changes of logits; give logit")
        return self
