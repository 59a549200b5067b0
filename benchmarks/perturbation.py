"""Perturbation methods against their floor: bare forwards of as many images, in the same batches.

    python benchmarks/perturbation.py [--size 320] [--batch 8] [--rounds 3] [--contiguous]
    python benchmarks/perturbation.py --agreement [--size 160]

LRASPP-MobileNetV3 with random weights. What the methods add to the passes is making masks, hiding
pixels, and reading scores: once for a single class on its predicted region, once for all classes
on theirs, whose regions are the whole image together. "Network free" are the same steps with
logits that are there already, which is what is added, by itself. `--agreement` compares with
captum's Occlusion and KernelShap, with the same number of passes, instead. Times are processor
seconds of all threads, medians over rounds of ratios of things timed in turn.
"""

import argparse
import statistics
from collections.abc import Callable

import common  # sets the environment before torch is loaded
import torch
from torch import Tensor, nn

from conceptseg.config import Preprocessing
from conceptseg.explain.contract import Explainer
from conceptseg.explain.explainers._partition import hexagons
from conceptseg.explain.explainers.occlusion import Occlusion
from conceptseg.explain.explainers.rise import Rise
from conceptseg.explain.explainers.seg_sobol import SegSobol
from conceptseg.explain.explainers.shap import Shap
from conceptseg.explain.fill import filling
from conceptseg.explain.scene import Scene
from conceptseg.explain.target import Target
from conceptseg.network.model import SegmentationModel

CLASSES = 21
WINDOWS = {"window": 80, "stride": 48}
METHODS: dict[str, Explainer] = {
    "rise": Rise(masks=40),
    "rise, regression": Rise(masks=40, form="regression"),
    "rise, dice": Rise(masks=40, measure="dice"),
    "occlusion, softdice": Occlusion(**WINDOWS),
    "occlusion, dice": Occlusion(**WINDOWS, measure="dice"),
    "occlusion, score": Occlusion(**WINDOWS, measure="score"),
    # Black makes logits of random weights so far apart that reading them meets subnormal numbers.
    "shap, hexagons": Shap(cells=14, samples=96, fill="mean"),
    "shap, slic": Shap(cells=30, samples=128, partition="slic", fill="mean"),
    "seg_sobol": SegSobol(grid=3, samples=8),
}


def network() -> SegmentationModel:
    from torchvision.models.segmentation import lraspp_mobilenet_v3_large

    torch.manual_seed(0)
    net = lraspp_mobilenet_v3_large(weights=None, weights_backbone=None, num_classes=CLASSES)
    # Running statistics of random weights leave nothing of the image: measure them.
    norms = [part for part in net.modules() if isinstance(part, nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = None
    net.train()
    with torch.no_grad():
        net(torch.randn(8, 3, 160, 160))
    names = [f"class {c}" for c in range(CLASSES)]
    scaling = Preprocessing(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
    model = SegmentationModel(net, names, scaling, name="lraspp")
    return balanced(model)


@torch.no_grad()
def balanced(model: SegmentationModel) -> SegmentationModel:
    """The model with biases that let many classes be predicted."""
    means = model(picture(160)).mean((0, 2, 3))
    model.module.classifier.low_classifier.bias -= means
    return model


def picture(size: int) -> Tensor:
    """Smooth noise [1, 3, size, size] with a bright square."""
    random = torch.Generator().manual_seed(1)
    coarse = torch.rand(1, 3, 10, 10, generator=random)
    found = nn.functional.interpolate(coarse, size=(size, size), mode="bicubic").clamp(0, 1)
    found[..., size // 4 : size // 2, size // 4 : size // 2] = 0.9
    return found


def bare(model: SegmentationModel, images: Tensor, count: int, batch: int) -> None:
    """As many forwards, at most `batch` at a time, of images that are there already."""
    layout = torch.channels_last if _last(images) else torch.contiguous_format
    filled = images.expand(batch, -1, -1, -1).contiguous(memory_format=layout)
    with torch.no_grad():
        for start in range(0, count, batch):
            model(filled[: min(batch, count - start)])


class Answered(nn.Module):
    """A network that answers at once, with logits of images that it saw before."""

    def __init__(self, logits: Tensor):
        super().__init__()
        self.logits = logits

    def forward(self, images: Tensor) -> Tensor:
        return self.logits[: images.shape[0]]


@torch.no_grad()
def overhead(model: SegmentationModel, images: Tensor, batch: int, rounds: int) -> None:
    """Print, per method, its time over the floor's, and the same with a network that is free."""
    logits = model(images)
    shares = logits.argmax(1).flatten().bincount(minlength=CLASSES) / images[0, 0].numel()
    largest = int(shares.argmax())
    present = [c for c in range(CLASSES) if shares[c] > 0]
    print(f"class {largest} covers {shares[largest]:.0%}; {len(present)} classes are predicted")
    layout = torch.channels_last if _last(images) else torch.contiguous_format
    answers = logits.expand(batch, -1, -1, -1).contiguous(memory_format=layout)
    free = SegmentationModel(Answered(answers), model.classes, model.preprocessing, channels=3)
    groups = {"one": [Target(largest)], "all": [Target(c) for c in present]}
    for name, method in METHODS.items():
        counted = Scene(free, images, batch_size=batch)
        method.on(counted, groups["one"])
        count = counted.passes["forward"]
        ratios: dict[str, list[float]] = {}
        for _ in range(rounds):
            floor = common.processor_seconds(lambda n=count: bare(model, images, n, batch))
            for group, targets in groups.items():
                for label, network in ((group, model), (f"{group}, network free", free)):
                    scene = Scene(network, images, batch_size=batch)
                    took = common.processor_seconds(lambda m=method, s=scene, t=targets: m.on(s, t))
                    ratios.setdefault(label, []).append(took / floor)
        told = "; ".join(f"{label} {statistics.median(r):.3f}" for label, r in ratios.items())
        print(f"{name:20} {count:4} passes of {1e3 * floor / count:5.1f} ms: {told}", flush=True)


def _last(images: Tensor) -> bool:
    return images.is_contiguous(memory_format=torch.channels_last)


def agreement(model: SegmentationModel, images: Tensor, batch: int) -> None:
    from captum.attr import KernelShap
    from captum.attr import Occlusion as Peer

    target = Target(int(model(images).argmax(1).flatten().bincount().argmax()))
    scene = Scene(model, images, batch_size=batch)
    score = scene.fix(target)

    class Score(nn.Module):
        @torch.no_grad()
        def forward(self, x: Tensor) -> Tensor:
            return score(model(x))

    found: dict[str, Tensor] = {}
    took: dict[str, float] = {}

    def timed(name: str, function: Callable[[], Tensor]) -> None:
        took[name] = common.processor_seconds(lambda: found.__setitem__(name, function()))

    mean = filling(model, images, "mean")
    ours = Occlusion(window=64, stride=24, measure="score")
    shapes = {"sliding_window_shapes": (3, 64, 64), "strides": (3, 24, 24), "baselines": mean}
    timed("occlusion", lambda: ours.on(scene, [target])[0, 0])
    peer = Peer(Score())
    timed("captum", lambda: peer.attribute(images, **shapes, perturbations_per_eval=batch)[0, 0])
    error = (found["occlusion"] - found["captum"]).abs().max() / found["captum"].abs().max()
    print(f"captum's Occlusion: largest difference {error:.1e} of the largest value; it takes")
    print(f"  {took['captum'] / took['occlusion']:.2f} times the processor time")

    method = Shap(cells=16, samples=400)
    labels = hexagons(scene.size, method.cells)[None]
    timed("shap", lambda: method.on(scene, [target])[0, 0])
    timed("truth", lambda: Shap(cells=16, samples=2000, seed=1).on(scene, [target])[0, 0])
    torch.manual_seed(0)
    kernel = KernelShap(Score())
    settings = {"feature_mask": labels[:, None], "baselines": 0.0, "n_samples": 400}
    timed(
        "captum",
        lambda: kernel.attribute(images, **settings, perturbations_per_eval=batch)[0, 0].detach(),
    )
    first = labels[0].flatten().unique(return_inverse=True)[1]
    cells = int(labels.max()) + 1
    at = torch.stack([(first == cell).nonzero()[0, 0] for cell in range(cells)])
    truth, own, other = (found[name].flatten()[at] for name in ("truth", "shap", "captum"))
    error = method.with_error(scene, [target])[1][0, 0].flatten()[at]
    print(f"{cells} cells, 400 coalitions, against 2000 of another seed:")
    for name, values in (("shap", own), ("captum", other)):
        off = (values - truth).norm() / truth.norm()
        alike = torch.corrcoef(torch.stack((values, truth)))[0, 1]
        print(f"  {name}: relative error {off:.3f}, correlation {alike:.4f}")
    print(f"  shap's own standard error, relative: {error.norm() / truth.norm():.3f}")
    print(f"  captum takes {took['captum'] / took['shap']:.2f} times the processor time")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--size", type=int, default=320)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--contiguous", action="store_true", help="not channels last")
    parser.add_argument("--agreement", action="store_true", help="only compare with captum")
    arguments = parser.parse_args()
    common.keep_memory()
    torch.set_num_threads(arguments.threads)
    layout = torch.contiguous_format if arguments.contiguous else torch.channels_last
    model = network().to(memory_format=layout)
    images = picture(arguments.size).contiguous(memory_format=layout)
    if arguments.agreement:
        agreement(model, images, arguments.batch)
    else:
        overhead(model, images, arguments.batch, arguments.rounds)


if __name__ == "__main__":
    main()
