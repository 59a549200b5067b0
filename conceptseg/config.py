"""The parts of a study's configuration that all studies share, as strict frozen models.

A study is itself such a model (:class:`conceptseg.engine.contract.Study`): its fields are the keys
of its YAML file, its defaults live there once, and unknown keys are refused.
"""

from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import (
    Field,
    field_validator,
    model_validator,
)

from conceptseg.catalogue import Methods
from conceptseg.strict import LARGEST_SEED, Strict


class DataConfig(Strict):
    """Which images are studied."""

    manifest: str = Field(description="Manifest file (YAML), relative to the study's file.")
    root: str | None = Field(
        None,
        description="Folder that holds the images, or its s3://, gs://, az:// or hf://; overrides "
        "the manifest's own root.",
    )
    split: str | None = Field(None, description="Only samples of this split; all when absent.")
    limit: int | None = Field(
        None,
        ge=1,
        le=10**9,
        description="At most this many samples, chosen by hash of seed and sample id; when absent "
        "all, or 10000 for studies that keep something of each image.",
    )
    classes: tuple[str, ...] = Field((), description="Classes to explain; all when empty.")


class Preprocessing(Strict):
    """How an image in [0, 1] becomes the network's input; it runs inside the model's forward."""

    mean: tuple[float, ...] | None = Field(
        None, description="Per channel, on the scale of `range`; subtracted after scaling."
    )
    std: tuple[float, ...] | None = Field(
        None, description="Per channel, on the scale of `range`; divides after the mean."
    )
    range: tuple[float, float] = Field(
        (0.0, 1.0), description="Values that the network expects for black and white."
    )
    normalise: Literal["none", "image", "nonzero", "percentiles"] = Field(
        "none",
        description="Of each image and channel, before the range: image: mean 0 and standard "
        "deviation 1 (nnU-Net, MONAI); nonzero: those of the pixels that are not 0, which stay 0; "
        "percentiles: the two `percentiles` become 0 and 1, what lies beyond is cut off.",
    )
    percentiles: tuple[float, float] = Field(
        (0.5, 99.5), description="Percentiles for normalise: percentiles, from 0 to 100."
    )
    size: tuple[int, int] | None = Field(
        None, description="Height and width the network runs at; the image's own when absent."
    )
    multiple: int = Field(
        1, ge=1, description="Sides are resized to the nearest multiple of this when they are not."
    )
    channels: tuple[int, ...] | None = Field(
        None, description="Order in which the image's channels enter, e.g. [2, 1, 0] for BGR."
    )

    def facts(self) -> str:
        """All keys as JSON, for a fingerprint; those that came later only where they say something,
        so that what was saved before them still knows its network."""
        later = {"normalise", "percentiles"} if self.normalise == "none" else set()
        return self.model_dump_json(exclude=later)


Values = Literal["logits", "probabilities", "independent", "independent_probabilities"]
Place = Literal["stretch", "centre"]


class Reading(Strict):
    """How what a network returns is read. What is left out is found out on the first image.

    Where that can be read in two ways it is refused, and one of these keys settles it.
    """

    output: int | str | None = Field(
        None,
        description="The part of a returned tuple, list, mapping or object that holds the result: "
        "an index, a key, several joined by dots (out.0), or last.",
    )
    values: Values | None = Field(
        None,
        description="What its numbers are: logits or probabilities of classes of which each pixel "
        "has one, or logits or probabilities of independent classes, each a yes or no of its own.",
    )
    place: Place | None = Field(
        None,
        description="Where a map of another size lies: all over the image (stretch), or in its "
        "middle (centre: convolutions without padding; the image is mirrored at its edges).",
    )
    merge: dict[str, tuple[str, ...]] = Field(
        default_factory=dict,
        description="Outputs that count as one class, their probabilities added: "
        "tree: [vegetation, terrain].",
    )
    drop: tuple[str, ...] = Field((), description="Outputs that are left out: never predicted.")
    covers: dict[str, tuple[str, ...]] = Field(
        default_factory=dict,
        description="Of independent classes: other classes of the masks that belong to one as "
        "well, because they lie within it: whole: [core].",
    )


class ModelConfig(Reading):
    """Which network is studied, where its weights come from, and how its output is read."""

    source: str = Field(
        description="File name under conceptseg/network/sources: torchvision, smp, ..."
    )
    name: str = Field(
        description="Architecture, hub id, factory path or file, as the source says. Of source "
        "factory a package.module:callable, which is imported and run with your rights: such a "
        "file is a program."
    )
    arguments: dict[str, Any] = Field(
        default_factory=dict,
        description="Keyword arguments for the network's constructor, and no others.",
    )
    weights: str | None = Field(
        None,
        description="Checkpoint (.safetensors, or .pt/.pth loaded as weights only); or a name "
        "that the source library downloads, written as 'pretrained:NAME'.",
    )
    weights_key: str | None = Field(
        None,
        description="Of a checkpoint that holds several networks: the entry or prefix of the one "
        "to study, such as ema.",
    )
    classes: tuple[str, ...] = Field((), description="Class names; the manifest's when empty.")
    preprocessing: Preprocessing | None = Field(
        None, description="The source's own when it knows one, else none at all."
    )
    positive_class: str | None = Field(
        None,
        description="For a one-channel sigmoid head: the name of the class it scores. For "
        "independent classes: the one that is studied; all in turn if absent.",
    )

    @field_validator("arguments")
    @classmethod
    def _no_code_of_others(cls, arguments: dict[str, Any]) -> dict[str, Any]:
        if "trust_remote_code" in arguments:
            raise ValueError(
                "no trust_remote_code, which runs code that lies beside weights; load such a "
                "network from its code (source: factory)"
            )
        return arguments

    @property
    def reading(self) -> Reading:
        """The keys that say how the output is read."""
        return Reading(**{name: getattr(self, name) for name in Reading.model_fields})


class RunConfig(Strict):
    """How the passes are run. Nothing but `dtype` changes a result beyond rounding."""

    device: str = Field("auto", description="cpu, cuda, cuda:1, mps; auto takes the first there.")
    # No float16: gradients of a mean over pixels fall below its range, become 0, and are read as
    # the network's not caring.
    dtype: Literal["float32", "bfloat16"] = Field(
        "float32",
        description="bfloat16 runs under autocast on the chosen device: findings can shift.",
    )
    batch_size: int = Field(
        8,
        ge=1,
        le=65536,
        description="Images per pass; where it is not given, as many as have room: 8 at most, 32 "
        "on a GPU.",
    )
    shards: int | None = Field(
        None,
        ge=1,
        description="Parts that are saved one by one, about so many; of like cost when absent.",
    )
    channels_last: bool = Field(True, description="Memory format of the network and its input.")
    threads: int | None = Field(
        None,
        ge=1,
        le=1024,
        description="CPU threads; torch's own when absent, or `cpus_per_worker` with engine ray.",
    )
    workers: int = Field(
        2,
        ge=0,
        le=64,
        description="Threads that read and decode images while the network runs; 0: none, each "
        "image is read when its turn comes.",
    )
    cache_gib: float = Field(
        0.0,
        ge=0,
        description="Memory for decoded images, in GiB, which later passes then need not decode "
        "again; for each of `devices`, and for each class of a network of independent ones.",
    )
    devices: tuple[str, ...] = Field(
        (),
        description="Devices of this machine that make parts of passes at once, each in a process "
        "of its own, as [cuda:0, cuda:1]; only `device` when absent.",
    )
    processes: int | None = Field(
        None,
        ge=1,
        le=256,
        description="Processes that make long fits (tests of concepts, regressors, permutations); "
        "as many as there are cores when absent.",
    )
    engine: Literal["local", "ray"] = Field(
        "local",
        description="Where parts of passes and long fits are made: by this machine, or by the "
        "workers of a Ray cluster (extra `ray`), which find code, weights and images as it does.",
    )
    address: str | None = Field(
        None,
        description="The Ray cluster: HOST:PORT of its head, or auto for the one that runs on this "
        "machine; one of this machine alone is started when absent.",
    )
    cpus_per_worker: int = Field(1, ge=1, le=1024, description="Cores of a Ray worker.")
    gpus_per_worker: float | None = Field(
        None, ge=0, le=64, description="GPUs of a Ray worker; 1 on cuda, else 0, when absent."
    )
    store: str | None = Field(
        None,
        min_length=1,
        description="Folder that all machines share, or URL of one in a bucket, in which finished "
        "parts are kept, under the name of the output folder, and its result is copied; in the "
        "output folder alone when absent.",
    )

    @model_validator(mode="after")
    def _one_engine(self) -> Self:
        if self.engine != "ray" and self.address is not None:
            raise ValueError("address is that of a Ray cluster: give engine: ray with it")
        if self.engine == "ray" and self.devices:
            raise ValueError("devices are of this machine; with engine: ray give gpus_per_worker")
        if self.address is not None and "//" in self.address:
            raise ValueError("expected HOST:PORT or auto, without ray://")
        return self


ScoreName = Literal["margin", "centred", "logit", "logprob", "probability"]
Reduction = Literal["mean", "sum"]


class TargetConfig(Strict):
    """What is explained of a class, as a study's file names it; the class is filled in later.

    :func:`conceptseg.explain.target.configured` makes the target of it.
    """

    region: Literal[
        "predicted", "labelled", "true_positive", "false_positive", "false_negative", "everything"
    ] = Field("predicted", description="Pixels on which the class is scored.")
    part: Literal["whole", "boundary", "largest", "smallest"] = Field(
        "whole", description="Of that region: all, a band along its edge, or one component."
    )
    radius_px: float = Field(3.0, ge=1, description="Half the width of the boundary band.")
    box: tuple[int, int, int, int] | None = Field(
        None, description="Only pixels within y0, x0, y1, x1 (the ends excluded)."
    )
    score: ScoreName = Field("margin", description="What is read at a pixel.")
    reduce: Reduction = Field("mean", description="How the region's pixels become one number.")


ConceptMasks = Annotated[
    dict[str, str],
    Field(
        default_factory=dict,
        description="Further concepts, name -> path of its mask relative to the manifest's root, "
        "with {id}, {split}, {group} or a metadata column in braces; images without the file count "
        "as not annotated.",
    ),
]


Layers = Literal["auto"] | tuple[str, ...] | None
Reads = Literal["one", "joined", "balanced", "apart"]


class StudyKeys(Strict):
    """The keys that the files of all studies share."""

    reads: ClassVar[Reads] = "joined"
    """What `layers` are to a study: refused; one map, with the values of each layer or with as much
    of its variance from each; or looked at one by one."""
    asks_from_outside: ClassVar[bool] = False
    """Whether a study asks what acts on a class from outside of it: how far layers act is measured
    then."""
    most_images: ClassVar[int | None] = None
    """Images that a study takes at most where no `data.limit` is given, drawn by hash: of those
    that keep something of each image."""

    data: DataConfig
    model: ModelConfig
    run: RunConfig = RunConfig()
    cover: dict[Literal["author", "purpose", "intended_use"], str] = Field(
        default_factory=dict,
        description="What the report's cover says: who is answerable, why, and for which use.",
    )
    layer: str = Field(
        "auto",
        description="Layer that is studied; auto takes the deepest one that the decision passes.",
    )
    layers: Layers = Field(
        None,
        description="Several layers that are studied as one, in place of `layer`: names, or auto, "
        "which takes the fewest that carry the decision together. Not every study can.",
    )
    seed: int = Field(0, ge=0, le=LARGEST_SEED, description="Seed of everything random.")
    compare: Methods = Field(
        ("seg_grad_cam", "seg_hires_grad_cam"),
        description="Local saliency methods shown beside the study's own result: names, or "
        "mappings with `kind` and the method's parameters.",
    )

    @model_validator(mode="after")
    def _one_way_to_name_layers(self) -> Self:
        if self.layers is None or self.reads == "apart":
            return self
        if self.layer != "auto":
            raise ValueError(
                f"layer is {self.layer!r} and layers is given too: name one layer by layer, or "
                "several by layers, and leave the other out"
            )
        if not self.layers:
            raise ValueError("layers names no layer; write names, or auto")
        return self
