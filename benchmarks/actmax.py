"""The overhead of a step of activation maximisation over the bare encoder, and the whole ascent.

    python benchmarks/actmax.py [--units 32] [--side 128] [--steps 256] [--rounds 5]

A step is a picture from its phases, a random view, the encoder forth and back, the objective and
the optimiser. The floor is the encoder's forward and backward on as many pictures of that size,
timed in turn with it. Times are the machine's; only their ratio says something about the code.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from common import in_turn, median, median_ratio, seconds  # noqa: E402


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--units", type=int, default=32)
    parser.add_argument("--side", type=int, default=128)
    parser.add_argument("--steps", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--method", default="maco")
    arguments = parser.parse_args()

    import numpy as np
    import torch

    from conceptseg.config import ModelConfig
    from conceptseg.network.model import load_model
    from conceptseg.network.record import Recorder
    from conceptseg.planted.generator import CLASSES
    from conceptseg.study.actmax.methods import METHODS
    from conceptseg.study.actmax.objectives import Objective
    from conceptseg.study.actmax.optimise import maximise
    from conceptseg.study.shared.spectrum import Template, inverse_frequency

    model = load_model(ModelConfig(source="planted", name="biased"), CLASSES, "cpu")
    model = model.to(memory_format=torch.channels_last)
    side, units = arguments.side, tuple(range(arguments.units))
    amplitude = inverse_frequency(side, side)[None] * side / 4
    template = Template(np.array([0.4]), np.array([[0.15]]), amplitude, side)
    objective = Objective("channel", "bottleneck", units)
    rows = [(unit, 0) for unit in units]

    def ascent(steps: int) -> None:
        method = METHODS[arguments.method]
        maximise(model, objective, method, template, rows, steps=steps, seed=0)

    def bare(steps: int) -> None:
        images = torch.rand(len(rows), 1, side, side)
        images = images.contiguous(memory_format=torch.channels_last)
        with Recorder(model, ["bottleneck"], stop=True) as recorder, torch.enable_grad():
            for _ in range(steps):
                leaf = images.detach().requires_grad_()
                recorder(leaf)
                found = recorder.activations["bottleneck"].mean((2, 3)).diagonal().sum()
                torch.autograd.grad(found, leaf)

    # The few passes before the first and after the last step are taken off by a difference.
    times = in_turn(
        {
            "two": lambda: ascent(2),
            "seven": lambda: ascent(7),
            "bare": lambda: bare(5),
        },
        arguments.rounds,
    )
    steps = [b - a for a, b in zip(times["two"], times["seven"], strict=True)]
    print(f"{arguments.units} units, {side} px, {arguments.method}")
    print(f"a step {median(steps) / 5:.3f} s, bare encoder {median(times['bare']) / 5:.3f} s")
    print(f"step / bare = {median_ratio(steps, times['bare']):.2f} (median of ratios)")
    if arguments.steps:
        print(f"{arguments.steps} steps: {seconds(lambda: ascent(arguments.steps)):.0f} s")


if __name__ == "__main__":
    main()
