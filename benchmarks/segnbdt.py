"""SegNBDT: what deciding by the tree costs beyond the network's own forward.

    python benchmarks/segnbdt.py [--camvid-weights FILE] [--rounds 7]

Each round times, in turn, the network's forward, its argmax, and the tree's decisions at all pixels
of the logits, softly and hard; printed are medians over rounds of (forward + decisions) / (forward
+ argmax), in processor seconds. CGNet runs at 360 x 480 pixels with the weights that are given, or
random ones, which cost the same.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))  # the checkout, for networks of its tests

from common import in_turn, median, median_ratio, processor_seconds  # noqa: E402


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--camvid-weights")
    parser.add_argument("--rounds", type=int, default=7)
    arguments = parser.parse_args()

    import torch

    from conceptseg.planted.nets import load_net
    from tests.network.nets.cgnet import CGNet

    torch.set_num_threads(2)
    cgnet = CGNet().eval()
    if arguments.camvid_weights:
        cgnet.load_state_dict(torch.load(arguments.camvid_weights, weights_only=True))
    cases = {
        "planted U-Net, 16 x 64 x 64": (load_net("biased"), torch.rand(16, 1, 64, 64)),
        "CGNet, 2 x 360 x 480": (cgnet, torch.rand(2, 3, 360, 480)),
    }
    for name, (net, images) in cases.items():
        show(name, net, images, arguments.rounds)


def show(name, net, images, rounds) -> None:
    import numpy as np
    import torch

    from conceptseg.study.segnbdt.rules import Rules
    from conceptseg.study.segnbdt.tree import random_tree

    with torch.inference_mode():
        logits = net(images)
        rules = Rules(random_tree(logits.shape[1], np.random.default_rng(0)), logits)
        times = in_turn(
            {
                "network": lambda: net(images),
                "argmax": lambda: logits.argmax(1),
                "soft": lambda: rules.soft(logits).argmax(1),
                "hard": lambda: rules.hard(logits),
            },
            rounds,
            processor_seconds,
        )
    print(f"{name}: network {median(times['network']) * 1e3:.1f} ms")
    for how in ("soft", "hard"):
        tree = [a + b for a, b in zip(times["network"], times[how], strict=True)]
        plain = [a + b for a, b in zip(times["network"], times["argmax"], strict=True)]
        print(f"  {how}: {median(times[how]) * 1e3:.1f} ms, {median_ratio(tree, plain):.3f} x")


if __name__ == "__main__":
    main()
