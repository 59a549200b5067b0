"""The network under study: images in [0, 1] in, logits at image size out."""

import re
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from conceptseg.config import ModelConfig, Preprocessing
from conceptseg.errors import InputError, nearest
from conceptseg.network.blame import Others, is_theirs, out_of_memory, told, where
from conceptseg.network.checkpoint import hash_tensors
from conceptseg.network.contract import Network
from conceptseg.network.layers import LayerInfo, survey
from conceptseg.network.outputs import class_maps
from conceptseg.network.plain import as_written, plain
from conceptseg.network.preprocess import check_preprocessing, prepare


class SegmentationModel(Network):
    """A segmentation network of any make: images [n, c, h, w] in [0, 1] -> logits [n, k, h, w].

    Preprocessing is part of the pass (:func:`conceptseg.network.preprocess.prepare`), so gradients
    reach the image itself. What the network returns is brought to class maps
    (:func:`conceptseg.network.outputs.class_maps`) and these to the image's size, bilinearly with
    corners not aligned. A network with one output map z scores one of two classes by sigmoid: its
    logits become (0, z), with z at `positive_class` (by default the second), so their softmax is
    the sigmoid and the margin is z.

    The network is put into evaluation mode once, here, and taken out of wrappers that compile or
    spread it (:mod:`conceptseg.network.plain`). Under autocast logits still come as float32. Layout
    in memory follows the images.

    Args:
        module: the user's network; what it computes stays as it was.
        classes: names of its outputs, in their order.
        preprocessing: what happens to an image before `module` sees it.
        name: for messages and reports.
        channels: of the images; None leaves it to the first weight to tell.
        positive_class: of a network with one output map, the class it scores.
        origin: where the weights come from, for reports: a file, a name, or "random".
        remarks: what else a reader should know of them, such as keys that were left out.

    Raises:
        InputError: duplicate class names, an unknown positive class, preprocessing that cannot be.
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
        remarks: Sequence[str] = (),
    ):
        super().__init__()
        with Others(f"model {name!r} cannot be set up"):
            self.module = plain(module).eval()
        self.eval()
        self.classes = tuple(classes)
        self.preprocessing = preprocessing or Preprocessing()
        self.name = name
        self.origin = "; ".join([origin, *remarks])
        self.positive_class = positive_class
        self._check_classes()
        check_preprocessing(self.preprocessing)
        self._exact_channels = channels is not None
        self.channels = channels or self._guess_channels()

    def forward(self, images: Tensor) -> Tensor:
        """Logits [n, k, h, w] of images [n, c, h, w] in [0, 1].

        Raises :class:`~conceptseg.errors.InputError` for images of another number of channels,
        of a size that the network cannot take, for a number of outputs that is not that of the
        classes, and for whatever the network itself raises
        (:mod:`conceptseg.network.blame`).
        """
        self.check_images(images)
        try:
            with as_written():
                output = self.module(prepare(images, self.preprocessing))
        except (Exception, SystemExit) as error:
            found = self._explained(error, images)
            if found is error:
                raise
            raise found from error
        maps = self._two_classes(class_maps(output, len(self.classes), images.shape[0]))
        if maps.shape[1] != len(self.classes):
            raise InputError(
                f"model {self.name!r} puts out {maps.shape[1]} class maps, but {len(self.classes)} "
                f"classes are named ({', '.join(self.classes[:4])}, ...): name the network's own "
                "in model.classes, in its order"
            )
        if maps.dtype in (torch.float16, torch.bfloat16):
            maps = maps.float()
        if maps.shape[2:] == images.shape[2:]:
            return maps
        return F.interpolate(maps, images.shape[2:], mode="bilinear", align_corners=False)

    def layers(self, images: Tensor) -> list[LayerInfo]:
        """Every module that runs on the first of `images`, in that order, the bottleneck marked.

        See :func:`conceptseg.network.layers.survey` and
        :func:`conceptseg.network.bottleneck.bottleneck`.
        """
        return survey(self, images)

    def layer_name(self, name: str, images: Tensor) -> str:
        """The layer's own name: `name` after checks, or for "auto" the recommended bottleneck.

        Raises :class:`~conceptseg.errors.InputError` for a layer that does not exist (with the
        nearest), does not run, or puts out no spatial map.
        """
        if name == "auto":
            infos = self.layers(images)
            found = next((info.name for info in infos if info.recommended), None)
            if found is None:
                raise InputError(
                    f"layer 'auto': model {self.name!r} has no layer with a map of more than one "
                    f"pixel at {images.shape[2]} x {images.shape[3]}; name a layer or enlarge the "
                    "images"
                )
            return found
        from conceptseg.network.record import encode, find

        module, _ = find(self, name)
        if isinstance(module, torch.jit.ScriptModule):
            self.layers(images)
        encode(self, images[:1], name)
        return name

    def layer(self, name: str, images: Tensor) -> nn.Module:
        """The module of :meth:`layer_name`."""
        found = self.layer_name(name, images)
        return self.module.get_submodule(found.partition("#")[0])

    def class_id(self, name: str) -> int:
        """Index of a class among the logits' channels.

        Raises :class:`~conceptseg.errors.InputError` with the nearest names for an unknown one.
        """
        if name not in self.classes:
            raise InputError(
                f"model {self.name!r} has no class {name!r}: {nearest(name, self.classes)}"
            )
        return self.classes.index(name)

    def check_finite(self, logits: Tensor, ids: Sequence[str]) -> None:
        """Refuse logits that are not numbers.

        Raises :class:`~conceptseg.errors.InputError` naming the first sample of `ids` whose logits
        [n, k, h, w] hold NaN or infinity.
        """
        bad = ~torch.isfinite(logits).flatten(1).all(1)
        if bool(bad.any()):
            first = ids[int(bad.nonzero()[0])]
            raise InputError(
                f"model {self.name!r} returns NaN or infinity for sample {first!r}; check its "
                "weights and model.preprocessing, and run.dtype if it is not float32"
            )

    def fingerprint(self) -> str:
        """sha256 (hexadecimal) of weights, buffers, structure, preprocessing and classes.

        The same on every device and in every memory format; another one when one weight changes.
        """
        facts = {
            "structure": _without_addresses(repr(self.module)),
            "code": str(getattr(self.module, "code", "")),
            "preprocessing": self.preprocessing.model_dump_json(),
            "classes": "\0".join(self.classes),
            "positive_class": self.positive_class or "",
        }
        tensors = [*self.module.named_parameters(), *self.module.named_buffers()]
        told = [(f"fact {key}\0{value}", torch.empty(0)) for key, value in facts.items()]
        return hash_tensors([*told, *tensors])

    def _check_classes(self) -> None:
        doubled = [name for name in self.classes if self.classes.count(name) > 1]
        if doubled:
            raise InputError(
                f"model.classes: {doubled[0]!r} is named twice; give each its own name"
            )
        if len(self.classes) < 2:
            raise InputError(
                "model.classes: at least two classes are needed; for a network with one output "
                "map name the background as well"
            )
        if self.positive_class is not None and self.positive_class not in self.classes:
            raise InputError(
                f"model.positive_class: no class {self.positive_class!r}; "
                f"{nearest(self.positive_class, self.classes)}"
            )

    def _guess_channels(self) -> int:
        if self.preprocessing.channels is not None:
            return max(self.preprocessing.channels) + 1
        stems = (p.shape[1] for p in self.module.parameters() if p.ndim == 4)
        return int(next(stems, 3))

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
            raise self._wrong_channels(count)

    def _wrong_channels(self, count: int) -> InputError:
        example = [min(i, count - 1) for i in range(self.channels)]
        return InputError(
            f"model {self.name!r} takes images with {self.channels} channels, these have {count}; "
            f"pick channels by model.preprocessing.channels, e.g. {example}"
        )

    def _explained(self, error: BaseException, images: Tensor) -> BaseException:
        """What the user can do about an error inside the network; the error itself if nothing."""
        if isinstance(error, InputError) or out_of_memory(error):
            return error
        text = str(error)
        shapes = isinstance(error, (RuntimeError, ValueError, AssertionError))
        if shapes and _ABOUT_SHAPES.search(text) and not _ABOUT_TYPES.search(text):
            if self.preprocessing.channels is None and images.shape[1] != self.channels:
                return self._wrong_channels(images.shape[1])
            return InputError(
                f"model {self.name!r} cannot take images {list(images.shape)} "
                f"({_first_line(text)}){where(error)}; set model.preprocessing.multiple or .size"
            )
        if not is_theirs(error, error.__traceback__):
            return error
        return told(error, f"model {self.name!r} fails in its forward pass")

    def _two_classes(self, maps: Tensor) -> Tensor:
        if maps.shape[1] != 1:
            return maps
        if len(self.classes) != 2:
            raise InputError(
                f"model {self.name!r} puts out one class map, which tells two classes apart, but "
                f"{len(self.classes)} are named: give two in model.classes"
            )
        nothing = torch.zeros_like(maps)
        pair = [nothing, maps]
        if self.positive_class == self.classes[0]:
            pair.reverse()
        return torch.cat(pair, 1)


def load_model(
    config: ModelConfig, manifest_classes: Sequence[str], device: str | torch.device = "cpu"
) -> SegmentationModel:
    """The network that a configuration describes, on a device; only its source is imported.

    `manifest_classes` name the outputs unless `config.classes` does. Raises
    :class:`~conceptseg.errors.InputError` for an unknown source (with the nearest), a missing
    optional package (with its extra), and whatever the source cannot load.
    """
    from conceptseg.catalogue import load

    model: SegmentationModel = load("models", config.source)(config, tuple(manifest_classes))
    return model.to(device)


_ABOUT_SHAPES = re.compile(
    r"\b(sizes?|shapes?|channels?|dimensions?|expected input|divisible|match)\b", re.IGNORECASE
)


_ABOUT_TYPES = re.compile(r"\b(dtype|cuda|nvidia|type \()", re.IGNORECASE)


def _without_addresses(text: str) -> str:
    return re.sub(r" at 0x[0-9a-fA-F]+", "", text)


def _first_line(text: str) -> str:
    return text.strip().splitlines()[0][:160]


Loader = Callable[[ModelConfig, Sequence[str]], "SegmentationModel"]
