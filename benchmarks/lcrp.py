"""Conditional maps of one image on DeepLabv3-ResNet50, against zennit-crp and against bare passes.

    python benchmarks/lcrp.py [--side 256] [--maps 32] [--peer-maps 4] [--rounds 3]

Times are CPU seconds of this process, in units of a bare forward pass timed in the same rounds:
on a shared machine they wander less than wall time. zennit-crp makes `--peer-maps` maps, and its
cost of all of them is that times the ratio; what it does once is a small part of it. Without
zennit-crp (`pip install --no-deps zennit-crp`) its rows are left out.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import common  # noqa: E402, F401  (sets the environment before torch is imported)
import torch  # noqa: E402
from torch import nn  # noqa: E402

from conceptseg.explain.lrp.engine import Engine  # noqa: E402
from conceptseg.explain.lrp.parts import channel  # noqa: E402
from conceptseg.explain.lrp.start import relevance_of_logits  # noqa: E402
from conceptseg.network.model import SegmentationModel  # noqa: E402

LAYER = "backbone.layer4"


def spent(function: Callable[[], object]) -> float:
    start = time.process_time()
    function()
    return time.process_time() - start


class Low(nn.Module):
    """The network up to its logits before they are resized, which zennit-crp can take."""

    def __init__(self, whole):
        super().__init__()
        self.backbone, self.classifier = whole.backbone, whole.classifier

    def forward(self, x):
        return self.classifier(self.backbone(x)["out"])


def hooks():
    from zennit.composites import EpsilonPlus
    from zennit.torchvision import ResNetCanonizer

    return EpsilonPlus(canonizers=[ResNetCanonizer()], zero_params="bias")


def peers(net, x, units):
    """zennit-crp's two ways: all conditions at once, and one after the other."""
    from crp.attribution import CondAttribution

    conditions = [{"y": [1], LAYER: [k]} for k in units]

    def call():
        return CondAttribution(net)(x.clone().requires_grad_(), conditions, hooks())

    def generate():
        maker = CondAttribution(net).generate
        made = maker(x.clone().requires_grad_(), conditions, hooks(), batch_size=1, verbose=False)
        return list(made)

    return {"zennit-crp, __call__": call, "zennit-crp, generate": generate}


def ours(model, engine, x, units, at_once=1):
    run = engine.run(x, [LAYER])
    mask = torch.ones(1, *x.shape[2:], dtype=torch.bool)
    (relevance,) = run.at_layers(relevance_of_logits(run.logits, mask, 1), [LAYER])
    return sum(run.each(LAYER, (channel(relevance, k) for k in units), at_once))


def survey(engine, x):
    """What the first sweep does for an image and class: pass, relevance at the layer, its sums."""
    run = engine.run(x, [LAYER])
    mask = torch.ones(1, *x.shape[2:], dtype=torch.bool)
    (relevance,) = run.at_layers(relevance_of_logits(run.logits, mask, 1), [LAYER])
    relevance = relevance.double().sum((0, 2, 3)).numpy()
    return relevance, run.activations[LAYER][0].flatten(1).amax(1).numpy()


def bare(engine, x):
    """The floor of that: the same pass and backward, and nothing read from them."""
    run = engine.run(x, [LAYER])
    mask = torch.ones(1, *x.shape[2:], dtype=torch.bool)
    run.at_layers(relevance_of_logits(run.logits, mask, 1), [LAYER])


def plain_backwards(model, x, count):
    """The floor of conditional maps: plain gradients from the layer to the image."""
    from conceptseg.network.record import Recorder, undisturbed

    with undisturbed(model), Recorder(model, [LAYER]) as recorder, torch.enable_grad():
        entered = x.clone().requires_grad_()
        recorder(entered)
        held = recorder.activations[LAYER]
        given = torch.zeros_like(held)
        for k in range(count):
            given.zero_()[:, k] = 1.0
            torch.autograd.grad(held, entered, given, retain_graph=True)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--side", type=int, default=256)
    parser.add_argument("--maps", type=int, default=32)
    parser.add_argument("--peer-maps", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    from torchvision.models.segmentation import deeplabv3_resnet50

    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    whole = deeplabv3_resnet50(weights=None, weights_backbone=None, num_classes=21)
    net = Low(whole.eval()).eval()
    model = SegmentationModel(net, [str(i) for i in range(21)])
    x = torch.rand(1, 3, arguments.side, arguments.side)
    print(f"made ready once: {spent(lambda: Engine(model, x)):.1f} CPU-s")
    engine = Engine(model, x)
    units, few = list(range(arguments.maps)), list(range(arguments.peer_maps))
    scale = arguments.maps / arguments.peer_maps
    rows: dict[str, tuple[Callable[[], object], float]] = {
        "floor: plain gradients of the encoder": (
            lambda: plain_backwards(model, x, arguments.peer_maps), scale,
        ),
        "conceptseg": (lambda: ours(model, engine, x, units), 1.0),
        "one survey": (lambda: survey(engine, x), 1.0),
        "its floor: pass and relevance": (lambda: bare(engine, x), 1.0),
    }  # fmt: skip
    try:
        rows |= {name: (function, scale) for name, function in peers(net, x, few).items()}
    except ImportError:
        print("zennit-crp is not there")
    ratios: dict[str, list[float]] = {name: [] for name in rows}
    with torch.no_grad():
        model(x)
    for _ in range(arguments.rounds):
        for name, (function, times) in rows.items():
            with torch.no_grad():
                forward = [spent(lambda: model(x)) for _ in range(3)]
            took = spent(function)
            with torch.no_grad():
                forward += [spent(lambda: model(x)) for _ in range(3)]
            ratios[name].append(took * times / statistics.median(forward))
    print(f"{arguments.maps} maps, {arguments.side} px, in bare forwards (median of rounds)")
    for name, values in ratios.items():
        print(f"{name:40s} {statistics.median(values):8.1f}   {[round(v, 1) for v in values]}")


if __name__ == "__main__":
    main()
