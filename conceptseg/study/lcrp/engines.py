"""The network as LRP sees it, its shuffled twins, and which region speaks for a class."""

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn import functional as F

from conceptseg.engine.contract import Context
from conceptseg.engine.known import Key, Known
from conceptseg.engine.reading import first_images
from conceptseg.errors import asked_for
from conceptseg.explain.lrp.composites import CompositeName
from conceptseg.explain.lrp.engine import Engine, Run
from conceptseg.explain.lrp.start import relevance_of_logits
from conceptseg.network.label_map import label_map
from conceptseg.network.model import SegmentationModel
from conceptseg.network.record import undisturbed
from conceptseg.network.shuffle import shuffled
from conceptseg.study.lcrp.config import Lcrp

LEAST_PIXELS, LEAST_SHARE = 64, 0.0005


@dataclass(frozen=True)
class Engines:
    """Engines of one network by composite, each made when first asked for.

    `example` [1, c, h, w] is an image of the kind that the network takes. Elsewhere they are made
    again of the run's `context`.
    """

    study: Lcrp
    model: SegmentationModel
    example: Tensor = field(repr=False)
    _made: dict[str, Engine] = field(default_factory=dict, repr=False)
    context: Context | None = field(default=None, repr=False)

    @classmethod
    def among(cls, study: Lcrp, context: Context, example: Tensor) -> "Engines":
        """Those of the run's network."""
        return cls(study, context.model, example, context=context)

    def __reduce__(self) -> tuple[object, ...]:
        if self.context is None:
            raise TypeError("the engines of a shuffled network are made where they are used")
        return Engines.among, (self.study, self.context, self.example)

    def of(self, composite: CompositeName | None = None) -> Engine:
        """That of a composite, by default the study's."""
        name = composite or self.study.composite
        if name not in self._made:
            first = next(iter(self._made.values()), None)
            self._made[name] = first.under(name) if first is not None else self._new(name)
        return self._made[name]

    def _new(self, name: CompositeName) -> Engine:
        bias, reference = self.study.zero_bias, self.study.reference
        return Engine(self.model, self.example, name, zero_bias=bias, reference=reference)

    def twin(self, seed: int) -> Engine | None:
        """That of the study's composite for the network with its weights shuffled.

        None where that one puts out NaN or infinity: it shows nothing to compare with.
        """
        other = shuffled(self.model, seed)
        with undisturbed(other), torch.no_grad():
            if not other(self.example).isfinite().all():
                return None
        return Engines(self.study, other, self.example).of()


ENGINES = Key("engines", Engines)
TWINS: Key[Callable[[int], Engine | None]] = Key("shuffled twins", Callable)  # type: ignore[arg-type]
"""By number, the engines of the network with its weights shuffled by the run's seed plus that."""


def open_engines(study: Lcrp, context: Context, known: Known) -> Known:
    """The network's engines.

    Raises InputError for a network or a layer that the rules cannot be applied to.
    """
    example = first_images(context.manifest, context.run)
    engines = Engines.among(study, context, example)
    with asked_for(f"lcrp, composite: {study.composite}"):
        engine = engines.of()
        engine.check_layer(context.layer)
        engine.run(example, [context.layer])
    return ENGINES(engines)


def regions(prediction: Tensor, class_ids: tuple[int, ...]) -> dict[int, Tensor]:
    """Of one image's prediction [h, w], the region [1, h, w] of each class that is large enough.

    At least 64 pixels (of a small image a quarter, if that is less) and 0.05 % of the image.
    """
    least = max(min(LEAST_PIXELS, prediction.numel() // 4), LEAST_SHARE * prediction.numel())
    areas = torch.bincount(prediction.flatten(), minlength=1 + max(class_ids, default=0)).tolist()
    return {c: (prediction == c)[None] for c in class_ids if areas[c] >= least}


def start_of(study: Lcrp, run: Run, masks: Tensor, class_id: int) -> Tensor:
    """The study's relevance of the logits for one class in regions [n, h, w]."""
    return relevance_of_logits(run.evidence, masks, class_id, study.quantity, study.sign)


def object_mask(labels: Tensor | None, class_id: int, region: Tensor) -> Tensor:
    """Where the class is, bool [h, w]: by the labels where the image has some of it, else by the
    prediction. Ignored pixels are not the class."""
    if labels is not None and bool((labels == class_id).any()):
        return labels == class_id
    return region[0]


def context_score(maps: Tensor, mask: Tensor) -> Tensor:
    """C = sum H+ (1 - m) / (sum H+ + 1e-12) of maps [m, h, w] for the object's mask [h, w].

    Source: Dreyer et al. 2023, arXiv:2211.11426, section 3.3.
    """
    positive = maps.clamp(min=0)
    return (positive * ~mask).sum((1, 2)) / (positive.sum((1, 2)) + 1e-12)


def predict(context: Context, images: Tensor) -> Tensor:
    """The clean prediction [n, h, w]."""
    with undisturbed(context.model), torch.no_grad():
        return label_map(context.model(images))


def enlarged(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """Maps [m, y, x] at an image's size, bilinearly."""
    if maps.shape[1:] == size:
        return maps
    return F.interpolate(maps[None], size, mode="bilinear", align_corners=False)[0]
