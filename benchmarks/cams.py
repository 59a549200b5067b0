"""CAMs of one layer against pytorch-grad-cam and against the passes that they cannot do without.

    python benchmarks/cams.py [--net lraspp deeplab] [--rounds 3] [--units 96] [--keep-memory]

torchvision's LRASPP-MobileNetV3-Large at 320 px and DeepLabv3-ResNet50 at 256 px, random weights,
norms calibrated on photos; the layer is the encoder's last. Times are seconds that all threads of
the process worked, medians over rounds in which things were timed in turn; what is ours is made
from a new scene each time, so nothing is remembered from round to round.

The floor of a gradient method is one encoder pass without a graph, one pass of the decoder and one
backward pass of the decoder, made by hand. Of AblationCAM the other library runs only the first
`--units` units and the time for all is extrapolated (`--units 0` runs all). As it sets units of a
layer whose smallest activation is not 0 to a large negative number, its numbers are compared with
its ablation by 0; its time is that of its default.
"""

import argparse
import copy
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import torch  # noqa: E402
from common import in_turn, keep_memory, median, median_ratio, processor_seconds  # noqa: E402
from torch import Tensor, nn  # noqa: E402
from torch.nn import functional  # noqa: E402

from conceptseg.catalogue import load, names  # noqa: E402
from conceptseg.explain.ablation.fall import shortened  # noqa: E402
from conceptseg.explain.explainers._cam import GradientCam  # noqa: E402
from conceptseg.explain.explainers.seg_ablation_cam import SegAblationCam  # noqa: E402
from conceptseg.explain.regions import Everything  # noqa: E402
from conceptseg.explain.scene import Scene  # noqa: E402
from conceptseg.explain.target import Target  # noqa: E402
from conceptseg.network.model import SegmentationModel  # noqa: E402
from conceptseg.network.record import undisturbed  # noqa: E402

CLASSES = 21
NETS = {
    "lraspp": ("lraspp_mobilenet_v3_large", 320, "backbone.16"),
    "deeplab": ("deeplabv3_resnet50", 256, "backbone.layer4"),
}
PEERS = {
    "seg_grad_cam": "GradCAM",
    "seg_grad_cam_plus_plus": "GradCAMPlusPlus",
    "seg_xgrad_cam": "XGradCAM",
    "seg_hires_grad_cam": "HiResCAM",
    "seg_eigen_cam": "EigenCAM",
}
Timed = dict[str, Callable[[], object]]


def photo(name: str, size: int) -> Tensor:
    """One of scikit-image's photos, [1, 3, size, size] in [0, 1]."""
    from skimage import data, transform

    small = transform.resize(getattr(data, name)(), (size, size), anti_aliasing=True)
    return torch.from_numpy(small).float().permute(2, 0, 1)[None]


class Case:
    """A network, an image, and the passes by hand."""

    def __init__(self, name: str):
        from torchvision.models import segmentation

        build, size, self.layer = NETS[name]
        torch.manual_seed(0)
        net = getattr(segmentation, build)(weights=None, weights_backbone=None, num_classes=CLASSES)
        calibrate(net, torch.cat([photo(n, size) for n in ("chelsea", "astronaut", "coffee")]))
        self.model = SegmentationModel(net, [f"class {c}" for c in range(CLASSES)], name=name)
        self.image = photo("chelsea", size)
        with torch.no_grad():
            logits = self.model(self.image)
        counts = logits.argmax(1).flatten().bincount(minlength=CLASSES)
        self.classes = counts.argsort(descending=True).tolist()
        self.target = Target(self.classes[0], score="logit", reduce="sum")
        self.score = self.target.on(logits)
        print(f"\n{build} at {size} px, {self.layer}; region of {int(self.score.pixels)} pixels")

    @property
    def key(self) -> str:
        return "high" if "16" in self.layer else "out"

    def forward(self) -> Tensor:
        with torch.no_grad():
            return self.model(self.image)

    def floor(self, classes: int = 1) -> None:
        """One encoder pass, one decoder pass, and a backward pass of the decoder per class."""
        net, mask = self.model.module, self.score.mask[0]
        with torch.no_grad():
            features = dict(net.backbone(self.image))
        entry = features[self.key] = features[self.key].requires_grad_()
        maps = net.classifier(features if self.key == "high" else entry)
        logits = functional.interpolate(maps, self.image.shape[2:], mode="bilinear")
        for c in self.classes[:classes]:
            torch.autograd.grad((logits[0, c] * mask).sum(), entry, retain_graph=True)

    def scene(self) -> Scene:
        return Scene(self.model, self.image)


def calibrate(net: nn.Module, images: Tensor) -> None:
    """Norms' statistics of some images: those of random weights leave nothing of the input."""
    for part in net.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.momentum = None
    net.train()
    with torch.no_grad():
        net(images)
        net(images.flip(-1))
    net.eval()


class Peer:
    """pytorch-grad-cam on the same network, image, class and region."""

    def __init__(self, case: Case):
        import pytorch_grad_cam
        from pytorch_grad_cam import ablation_cam
        from pytorch_grad_cam.utils.model_targets import SemanticSegmentationTarget

        ablation_cam.tqdm.tqdm = lambda steps: steps
        self.package, self.case = pytorch_grad_cam, case
        mask = case.score.mask[0].numpy().astype("float32")
        self.targets = [SemanticSegmentationTarget(c, mask) for c in case.classes]

    def cam(self, name: str, classes: int = 1, **options: object) -> None:
        layer = self.case.model.module.get_submodule(self.case.layer)
        with getattr(self.package, name)(self.case.model, [layer], **options) as cam:
            for target in self.targets[:classes]:
                cam(self.case.image, [target])

    def ablation(self, units: int, **options: object) -> None:
        self.cam("AblationCAM", ablation_layer=first_units(units), **options)

    def ablation_weights(self, units: int) -> Tensor:
        """Its weights of the first units, [units], with units set to 0."""
        case, copied = self.case, copy.deepcopy(self.case.model)
        activation = case.scene().tail(case.layer).activation.detach().numpy()
        layer = copied.module.get_submodule(case.layer)
        zero = first_units(units, always_zero=True)
        cam = self.package.AblationCAM(copied, [], ablation_layer=zero)
        found = cam.get_cam_weights(case.image, layer, self.targets[:1], activation, None)
        return torch.from_numpy(found)[0, :units]


def first_units(units: int, always_zero: bool = False) -> nn.Module:
    """The other library's ablation layer for the first units alone."""
    import numpy as np
    from pytorch_grad_cam.ablation_layer import AblationLayer

    class First(AblationLayer):
        def activations_to_be_ablated(self, activations: object, ratio: float = 1.0) -> object:
            self.indices = np.arange(units, dtype=np.int32)
            return self.indices

        def __call__(self, x: Tensor) -> Tensor:
            if not always_zero:
                return super().__call__(x)
            for i in range(len(self.activations)):
                self.activations[i, self.indices[i]] = 0
            return self.activations

    return First()


def gradient_cams() -> Iterator[tuple[str, type[GradientCam]]]:
    for name in names("explainers"):
        kind = load("explainers", name)
        if issubclass(kind, GradientCam):
            yield name, kind


def one_backward(case: Case, cam: GradientCam) -> bool:
    """Whether a method makes one backward pass, as the floor does (some make one per pixel)."""
    scene = case.scene()
    cam.on(scene, [case.target])
    return scene.passes == {"forward": 1, "tail backward": 1}


def show(head: str, times: dict[str, list[float]], base: dict[str, str]) -> None:
    """A line for each of ours: its time, the peer's, the ratio, and the ratio to its base."""
    print(f"{head:34}{'ours, ms':>10}{'peer, ms':>10}{'peer/ours':>11}{'ours/base':>11}  base")
    for name, against in base.items():
        ours, theirs = times[name], times.get(f"peer {name}")
        peer = f"{1e3 * median(theirs):10.0f}" if theirs else f"{'-':>10}"
        gain = f"{median_ratio(theirs, ours):11.1f}" if theirs else f"{'-':>11}"
        to_base = f"{median_ratio(ours, times[against]):11.2f}"
        print(f"{name:34}{1e3 * median(ours):10.1f}{peer}{gain}{to_base}  {against}")


def measure_cams(case: Case, peer: Peer, rounds: int) -> None:
    cams = {name: kind(layer=case.layer) for name, kind in gradient_cams()}
    cams = {name: cam for name, cam in cams.items() if one_backward(case, cam)}
    timed: Timed = {"forward": case.forward, "floor": case.floor}
    base = {}
    for name, cam in cams.items():
        timed[name] = lambda cam=cam: cam.on(case.scene(), [case.target])
        base[name] = "floor"
    if "seg_eigen_cam" in names("explainers"):
        eigen = load("explainers", "seg_eigen_cam")(layer=case.layer)
        timed["seg_eigen_cam"] = lambda: eigen.on(case.scene(), [case.target])
        base["seg_eigen_cam"] = "forward"
    for name, other in PEERS.items():
        if name in timed:
            timed[f"peer {name}"] = lambda other=other: peer.cam(other)

    def together() -> None:
        scene = case.scene()
        for cam in cams.values():
            cam.on(scene, [case.target])

    whole = [Target(c, Everything(), "logit", "sum") for c in case.classes[:8]]
    first = cams["seg_grad_cam"]
    timed |= {
        f"all {len(cams)} gradient CAMs": together,
        "floor of 8 classes": lambda: case.floor(8),
        "8 classes": lambda: first.on(case.scene(), whole),
        "peer 8 classes": lambda: peer.cam("GradCAM", 8),
    }
    base |= {f"all {len(cams)} gradient CAMs": "forward", "8 classes": "forward"}
    times = in_turn(timed, rounds, processor_seconds)
    show("gradients", times, base)
    floors = {"floor": "forward", "floor of 8 classes": "forward"}
    show("", times, floors)


def measure_ablation(case: Case, peer: Peer, rounds: int, units: int) -> None:
    ours = SegAblationCam(layer=case.layer)
    margin = Target(case.classes[0])
    timed: Timed = {
        "forward": case.forward,
        "seg_ablation_cam": lambda: ours.on(case.scene(), [case.target]),
    }
    times = in_turn(timed, rounds, processor_seconds)
    count = case.scene().tail(case.layer).activation.shape[1]
    some = min(units, count) if units else count
    bare = in_turn({"none": lambda: peer.ablation(0)}, 1, processor_seconds)["none"]
    theirs = [processor_seconds(lambda: peer.ablation(some)) for _ in range(1 if rounds < 5 else 2)]
    whole = (median(theirs) - median(bare)) * count / some + median(bare)
    times |= {"peer seg_ablation_cam": [whole] * rounds}
    times["margin"] = [processor_seconds(lambda: ours.on(case.scene(), [margin]))] * rounds
    times["peer margin"] = times["peer seg_ablation_cam"]
    how = "all run" if some == count else f"{some} run by the peer, extrapolated"
    print(f"{count} units, {how}")
    show("ablation", times, {"seg_ablation_cam": "forward", "margin": "forward"})


def agreement(case: Case, peer: Peer, units: int) -> None:
    """The largest difference of weights, as a share of the largest weight."""
    scene = case.scene()
    tail, score = scene.tail(case.layer), scene.fix(case.target)
    with undisturbed(case.model), torch.no_grad():
        short = shortened(tail, [score])
        assert short is not None, "these networks have a short way"
        found = short.falls(torch.arange(units)[None])[0, 0] / score(tail.logits)
    expected = peer.ablation_weights(units)
    worst = float((found - expected).abs().max() / expected.abs().max())
    print(f"weights of {units} units differ by {worst:.1e} of the largest")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--net", nargs="+", choices=NETS, default=list(NETS))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--units", type=int, default=96)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--only", choices=("gradients", "ablation", "agreement"))
    parser.add_argument("--keep-memory", action="store_true", help="C library keeps freed pages")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    warnings.filterwarnings("ignore", category=UserWarning)
    if arguments.keep_memory:
        keep_memory()
    for name in arguments.net:
        case = Case(name)
        peer = Peer(case)
        if arguments.only in (None, "gradients"):
            measure_cams(case, peer, arguments.rounds)
        if arguments.only in (None, "ablation"):
            measure_ablation(case, peer, arguments.rounds, arguments.units)
        if arguments.only in (None, "agreement"):
            agreement(case, peer, min(arguments.units or 32, 32))


if __name__ == "__main__":
    main()
