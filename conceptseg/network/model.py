"""The network under study: images in [0, 1] in, logits at image size out."""

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from copy import copy

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from conceptseg.config import ModelConfig, Preprocessing, Reading
from conceptseg.errors import InputError, nearest
from conceptseg.network import choice
from conceptseg.network.alone import alone
from conceptseg.network.blame import Others
from conceptseg.network.checkpoint import hash_tensors
from conceptseg.network.contract import Network
from conceptseg.network.interpret import Interpretation
from conceptseg.network.layers import LayerInfo, survey
from conceptseg.network.layout import Window
from conceptseg.network.place import Placement
from conceptseg.network.plain import as_written, plain
from conceptseg.network.preprocess import check_preprocessing, input_size, prepare
from conceptseg.network.refused import forward_failed, without_volumes, wrong_channels
from conceptseg.network.stem import channels_of
from conceptseg.network.watch import Watch, not_finite


class SegmentationModel(Network):
    """A segmentation network of any make: images [n, c, h, w] in [0, 1] -> logits [n, k, h, w].

    Preprocessing is part of the pass (:func:`conceptseg.network.preprocess.prepare`), so gradients
    reach the image itself. What the network returns is read as logits of classes
    (:class:`conceptseg.network.interpret.Interpretation`), laid on the image where it belongs
    (:class:`conceptseg.network.place.Placement`) and brought to the image's size, bilinearly with
    corners not aligned. Both are settled on the first image that comes, in a pass of its own.

    A network with one output map z scores one of two classes by sigmoid: its logits become (0, z),
    with z at `positive_class` (by default the second), so their softmax is the sigmoid and the
    margin is z. Of independent classes the positive class is studied in the same way: its own z
    against 0 for all that it is not.

    The network is put into evaluation mode once, here, and taken out of wrappers that compile or
    spread it (:mod:`conceptseg.network.plain`). Norms that take their statistics from the batch
    even then are made to take each image's own (`mended` says so). Under autocast logits still come
    as float32. Layout in memory follows the images.

    Args:
        module: the user's network.
        classes: names of its outputs, in their order. `reading` may merge and drop some: the
            attribute `classes` names what is left.
        preprocessing: what happens to an image before `module` sees it.
        name: for messages and reports.
        channels: of the images; None leaves it to the first weight that they meet to tell.
        positive_class: of a network with one output map, the class it scores; of independent
            classes the one that is studied.
        origin: where the weights come from, for reports: a file, a name, or "random".
        reading: how its output is read, where that is not to be found out.
        remarks: what else a reader should know of them, such as keys that were left out.

    Raises:
        InputError: duplicate class names, an unknown positive class, preprocessing that cannot be,
            independent classes of which none is chosen.
    """

    def __init__(
        self,
        module: nn.Module,
        classes: Sequence[str],
        preprocessing: Preprocessing | None = None,
        *,
        name: str = "model",
        channels: int | None = None,
        positive_class: str | None = None,
        origin: str = "random",
        reading: Reading | None = None,
        remarks: Sequence[str] = (),
    ):
        super().__init__()
        with Others(f"model {name!r} cannot be set up"):
            self.module = plain(module).eval()
        self.eval()
        self.preprocessing = preprocessing or Preprocessing()
        self.name = name
        self.origin = "; ".join([origin, *remarks])
        self.mended = alone(self.module)
        self.interpretation = Interpretation(classes, reading or Reading(), positive_class)
        self.placement = Placement(self.interpretation.reading.place)
        self.classes = self.interpretation.classes
        check_preprocessing(self.preprocessing)
        self._watch: Watch | None = None
        self._exact_channels = channels is not None
        self._channels = channels

    def forward(self, images: Tensor) -> Tensor:
        """Logits [n, k, h, w] of images [n, c, h, w] in [0, 1].

        Raises :class:`~conceptseg.errors.InputError` for images of another number of channels,
        of a size that the network cannot take, for a number of outputs that is not that of the
        classes, and for whatever the network itself raises (:mod:`conceptseg.network.blame`).
        """
        self.check_images(images)
        self.settle(images)
        x = prepare(images, self.preprocessing)
        widened, placed = self.placement.widened(x)
        maps = placed.cut(self._maps(widened, images), x.shape[2:])
        if maps.dtype in (torch.float16, torch.bfloat16):
            maps = maps.float()
        if maps.shape[2:] != images.shape[2:]:
            maps = F.interpolate(maps, images.shape[2:], mode="bilinear", align_corners=False)
        if self._watch is not None:
            self._watch.see(images, maps)
        return maps

    @contextmanager
    def watching(self, images: Tensor, ids: Sequence[str]) -> Iterator[None]:
        """Refuse, at the end, logits that are not finite for any of these images [n, c, h, w].

        See :class:`~conceptseg.network.watch.Watch`. Not to be entered twice at once.
        """
        self._watch = Watch(images, ids, f"model {self.name!r} returns")
        try:
            with self._watch:
                yield
        finally:
            self._watch = None

    def settle(self, images: Tensor) -> None:
        """Find out how the output is read and where it lies, on the first of some images.

        Two passes of one image, the first time; two more where its map is of another size than
        the input; and some for each size of images where the map does not cover them. Raises
        :class:`~conceptseg.errors.InputError` for what can be read in more than one way.
        """
        size = self.input_size(images.shape[2:])
        if self.interpretation.numbers is not None and self.placement.known(size) is not None:
            return
        first = images[:1].detach().clone()
        if self.interpretation.numbers is None:
            with torch.inference_mode(False), self._named():
                self.interpretation.settle(self._first_output(first), 1, size)
        with torch.no_grad(), self._named():
            x = prepare(first, self.preprocessing)
            self.placement.settle(x, lambda wider: self._maps(wider, first))

    def _first_output(self, image: Tensor) -> object:
        """What the network returns for an image, with the graph that tells its last step.

        Without one where it cannot be run with one, as where its code leaves torch.
        """
        try:
            with torch.enable_grad():
                inputs = image.clone().requires_grad_()
                return self._output(prepare(inputs, self.preprocessing), image)
        except InputError:
            with torch.no_grad():
                return self._output(prepare(image, self.preprocessing), image)

    def reads(self) -> tuple[int, str]:
        """How many class maps the module itself puts out, and a key of how they are read."""
        reading, taken = self.interpretation.reading, self.interpretation.taken
        count = len(self.interpretation.outputs) if taken is None else taken.maps.shape[1]
        return count, reading.model_dump_json(exclude_defaults=True)

    def window(self, size: tuple[int, int]) -> Window | None:
        """Corner and size of the image on the network's input of `size`, if it is not all of it.

        That is so where the input has a margin (:mod:`conceptseg.network.place`).
        """
        return self.placement.window(size)

    def _output(self, x: Tensor, images: Tensor) -> object:
        try:
            with as_written(), without_volumes(self):
                return self.module(x)
        except (Exception, SystemExit) as error:
            found = forward_failed(self, error, images)
            if found is error:
                raise
            raise found from error

    def _maps(self, x: Tensor, images: Tensor) -> Tensor:
        """Logits of the classes on the network's own grid, for its input x of these images."""
        output = self._output(x, images)
        with self._named():
            return self.interpretation.logits(output, images.shape[0], x.shape[2:])

    @contextmanager
    def _named(self) -> Iterator[None]:
        """An error within says which model it is about."""
        try:
            yield
        except InputError as error:
            text = str(error)
            known = text.startswith(f"model {self.name!r}")
            raise error if known else InputError(f"model {self.name!r}: {text}") from None

    def layers(self, images: Tensor) -> list[LayerInfo]:
        """Every module that runs on the first of `images`, in that order, the bottleneck marked.

        By structure: :func:`conceptseg.network.layers.survey` says how, and
        :func:`conceptseg.network.choice.with_worth` replaces it by what was measured.
        """
        return survey(self, images)

    def layer_name(self, name: str, images: choice.Images, batch_size: int = choice.FEWER) -> str:
        """The layer's own name: `name` after checks, or for "auto" the one chosen by its worth.

        That is measured on as many of `images` as it takes, 64 at most, `batch_size` at a time,
        once (:func:`conceptseg.network.choice.chosen`). Raises
        :class:`~conceptseg.errors.InputError` for a layer that does not exist (with the nearest),
        does not run, or puts out no spatial map; for "auto" where no layer has a map or influence.
        """
        if name == "auto":
            return choice.layer_name(self, images, batch_size)
        from conceptseg.network.record import encode, find
        from conceptseg.network.tokens import check_tokens

        module, _ = find(self, name)
        if isinstance(module, torch.jit.ScriptModule):
            self.layers(images[:1])
        encode(self, images[:1], name)
        check_tokens(self, images[:1], name)
        return name

    def class_id(self, name: str) -> int:
        """Index of a class among the logits' channels.

        Raises :class:`~conceptseg.errors.InputError` with the nearest names for an unknown one.
        """
        if name not in self.classes:
            raise InputError(
                f"model {self.name!r} has no class {name!r}: {nearest(name, self.classes)}"
            )
        return self.classes.index(name)

    def under(self, preprocessing: Preprocessing) -> "SegmentationModel":
        """The same network, its weights shared, for images prepared in another way."""
        other = copy(self)
        other.preprocessing = preprocessing
        return other

    def input_size(self, image: Sequence[int]) -> tuple[int, int]:
        """Height and width of the network's input, before any margin, for an image's."""
        return input_size(image, self.preprocessing)

    @property
    def rest(self) -> str | None:
        """Of independent classes the class of all that is not the one studied, else None."""
        return self.interpretation.rest

    def names_of(self, class_id: int) -> tuple[str, ...]:
        """The name of a class, and those of the outputs that are merged into it."""
        return self.interpretation.names_of(class_id)

    def check_finite(self, values: Tensor, ids: Sequence[str], layer: str = "") -> None:
        """Refuse logits that are not numbers, or likewise a layer's activation, and one of no map.

        Raises :class:`~conceptseg.errors.InputError` naming the first sample of `ids`, n of them or
        one whose all n are, whose values [n, k, h, w] hold NaN or infinity.
        """
        if layer and values.shape[-1] * values.shape[-2] == 1:
            raise InputError(
                f"layer {layer!r} has one value per unit and image, no map; choose a layer with a "
                "map"
            )
        bad = ~torch.isfinite(values).flatten(1).all(1)
        if bool(bad.any()):
            source = f"layer {layer!r} puts out" if layer else f"model {self.name!r} returns"
            raise not_finite(source, ids[int(bad.nonzero()[0]) if len(ids) > 1 else 0])

    def fingerprint(self) -> str:
        """sha256 (hexadecimal) of weights, buffers, structure, preprocessing and classes.

        The same on every device and in every memory format; another one when one weight changes.
        """
        facts = {
            "structure": _without_addresses(repr(self.module)),
            "code": str(getattr(self.module, "code", "")),
            "preprocessing": self.preprocessing.facts(),
            "classes": "\0".join(self.interpretation.outputs),
            "positive_class": self.interpretation.positive_class or "",
            **self.interpretation.facts(),
        }
        tensors = [*self.module.named_parameters(), *self.module.named_buffers()]
        told = [(f"fact {key}\0{value}", torch.empty(0)) for key, value in facts.items()]
        return hash_tensors([*told, *tensors])

    @property
    def channels(self) -> int:  # type: ignore[override]
        """How many channels images have; where it was not said, :func:`stem.channels_of` tells."""
        if self._channels is None:
            picked = self.preprocessing.channels
            self._channels = channels_of(self) if picked is None else max(picked) + 1
        return self._channels

    def check_images(self, images: Tensor) -> None:
        if images.ndim != 4:
            raise InputError(f"images must be [n, channels, h, w], got {list(images.shape)}")
        count = images.shape[1]
        picked = self.preprocessing.channels
        if picked is not None and count <= max(picked):
            raise InputError(
                f"images have {count} channels, but model.preprocessing.channels picks channel "
                f"{max(picked)} (counted from 0)"
            )
        if picked is None and self._exact_channels and count != self.channels:
            raise wrong_channels(self, count)


def load_model(
    config: ModelConfig,
    manifest_classes: Sequence[str],
    device: str | torch.device = "cpu",
    key: str = "model",
) -> SegmentationModel:
    """The network that a configuration describes, on a device; only its source is imported.

    `manifest_classes` name the outputs unless `config.classes` does; `key` is where the
    configuration stands in a study's file. Raises :class:`~conceptseg.errors.InputError`, of that
    key, for an unknown source (with the nearest), a missing optional package (with its extra), and
    whatever the source cannot load.
    """
    from conceptseg.catalogue import load

    try:
        model: SegmentationModel = load("models", config.source)(config, tuple(manifest_classes))
    except InputError as error:
        if key == "model":
            raise
        told = str(error)
        own = told.removeprefix("model.")
        raise InputError(f"{key}.{own}" if own != told else f"{key}: {told}") from error
    return model.to(device)


def _without_addresses(text: str) -> str:
    return re.sub(r" at 0x[0-9a-fA-F]+", "", text)


Loader = Callable[[ModelConfig, Sequence[str]], "SegmentationModel"]
