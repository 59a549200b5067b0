"""Whether saliency tells which class leans on context: against the reliance that was measured.

    python benchmarks/context_bias.py [biased weak clean WEIGHTS...] [--scenes 6] [--truth 60]

Nets are the shipped ones by name, and files of `python -m conceptseg.planted train`. Of each net
and digit, scenes with the planted context are explained by Grid Saliency and others, and each map
is summed up by CBD (how much of the surroundings is salient) and CBL (how much of that lies on the
planted context). Printed are, by method: the AUROC by which CBD tells the digits whose IoU falls by
more than 0.1 without the context (`effect`, of the same scenes drawn twice) from those with less
than 0.02; the mean CBL of digits with an effect above 0.5, and of how many maps it is defined; and
Spearman's correlation of CBD with w on the constructed networks. A class that needs a context's
absence has nothing to lose where it is gone, and counts as neither.

Last, of `--exhaustive` scenes, the gap of Grid Saliency's mask on 4 x 4 cells to the best of all
2^16 masks that show each cell or hide it; those that cost more by their cells alone are not tried.
"""

import argparse
import sys
from itertools import combinations
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np  # noqa: E402
import torch  # noqa: E402
from scipy.stats import spearmanr  # noqa: E402

from conceptseg.catalogue import load  # noqa: E402
from conceptseg.config import ModelConfig  # noqa: E402
from conceptseg.explain.contract import Trial  # noqa: E402
from conceptseg.explain.explainers.grid_saliency import GridSaliency, _Problem  # noqa: E402
from conceptseg.explain.metrics.cbd import ContextBiasDetection  # noqa: E402
from conceptseg.explain.metrics.cbl import ContextBiasLocalisation  # noqa: E402
from conceptseg.explain.regions import Labelled  # noqa: E402
from conceptseg.explain.scene import Scene  # noqa: E402
from conceptseg.explain.target import Target  # noqa: E402
from conceptseg.network.model import load_model  # noqa: E402
from conceptseg.planted import exact, generator  # noqa: E402
from conceptseg.planted.measure import reliance_of  # noqa: E402
from conceptseg.planted.nets import load_trained  # noqa: E402
from conceptseg.planted.recipe import context_mask  # noqa: E402

METHODS = ("grid_saliency", "deep_lift", "integrated_gradients", "seg_grad_cam", "occlusion")
RELIES, NOTHING, STRONG = 0.1, 0.02, 0.5
WEIGHTS = (0.0, 0.25, 0.5, 0.75, 1.0)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("nets", nargs="*", default=["biased", "weak", "clean"])
    parser.add_argument("--methods", nargs="*", default=METHODS)
    for name, value in (("scenes", 6), ("truth", 60), ("exhaustive", 0)):
        parser.add_argument(f"--{name}", type=int, default=value)
    asked = parser.parse_args()
    rows: list[dict[str, float]] = []
    for name in asked.nets:
        net, plant = (own if Path(name).is_file() else shipped)(name), load_trained(name)[1]
        for digit in range(10):
            rows.append(told(net, plant, digit, asked))
            last = rows[-1]
            worth = " ".join(f"{m} {last[f'cbd {m}']:.3f}" for m in asked.methods)
            lying = " ".join(f"{m} {last[f'cbl {m}']:.3f}" for m in asked.methods)
            words = f"effect {last['effect']:+.3f}; CBD {worth}; CBL {lying}"
            print(f"{Path(name).stem} digit {digit}: {words}", flush=True)
        report(rows, asked.methods)
    if "biased" in asked.nets:
        constructed(asked.scenes, asked.methods)
    for number in range(asked.exhaustive):
        exhaustive(shipped("biased"), number)


def shipped(name: str):
    return load_model(ModelConfig(source="planted", name=name), [], "cpu")


def own(weights: str):
    return load_model(ModelConfig(source="planted", name="unet", weights=weights), [], "cpu")


def told(net, plant, digit: int, asked: argparse.Namespace) -> dict[str, float]:
    """The effect of a digit, and CBD and CBL of its maps by each method."""
    truth = generator.samples("test", asked.truth, 3, digits=(digit,), plant=plant)
    found = {"effect": reliance_of(net, truth, digit + 1).effect}
    scenes = generator.samples("test", asked.scenes, 5, digits=(digit,), plant=plant)
    scenes = [generator.with_context(one, True) for one in scenes]
    where = np.stack([context_mask(one) for one in scenes])
    return found | judged(net, scenes, digit + 1, where, asked.methods)


def judged(
    net, scenes, class_id: int, where: np.ndarray, methods, penalty: float | None = None
) -> dict[str, float]:
    """CBD and CBL of the class's labelled region, means over images; NaN where undefined.

    Grid Saliency with its own penalty, if none is given.
    """
    drawn = [generator.render(one) for one in scenes]
    images = torch.from_numpy(np.stack([image for image, _ in drawn]))[:, None]
    labels = torch.from_numpy(np.stack([own for _, own in drawn]).astype(np.int64))
    scene, target, found = Scene(net, images, labels), Target(class_id, Labelled(class_id)), {}
    region = scene.fix(target)
    for name in methods:
        given = {"penalty": penalty} if penalty and name == "grid_saliency" else {}
        method = load("explainers", name)(**given)
        maps = method.on(scene, [target])[0]
        trial = Trial(scene, method, target, maps, torch.from_numpy(where))
        scaling = "none" if name == "grid_saliency" else "max"
        salient = ContextBiasDetection(scaling=scaling).judge(trial, region).value
        lying = ContextBiasLocalisation().judge(trial, region).value
        found[f"cbd {name}"] = float(torch.nanmean(salient))
        found[f"cbl {name}"] = float(torch.nanmean(lying))
        found[f"defined {name}"] = float(lying.isfinite().float().mean())
    return found


def report(rows: list[dict[str, float]], methods) -> None:
    """By method, over all nets and digits so far."""
    effect = np.array([row["effect"] for row in rows])
    relies, nothing, strong = effect > RELIES, np.abs(effect) < NOTHING, effect > STRONG
    print(
        f"{len(rows)} digits: {relies.sum()} rely, {nothing.sum()} do not, {strong.sum()} strongly"
    )
    for name in methods:
        cbd, cbl, defined = (
            np.array([row[f"{what} {name}"] for row in rows]) for what in ("cbd", "cbl", "defined")
        )
        area = auroc(cbd[relies], cbd[nothing])
        print(
            f"  {name}: AUROC of CBD {area:.3f}; CBL of strong ones {cbl[strong].mean():.3f} "
            f"(least {cbl[strong].min() if strong.any() else np.nan:.3f}), defined for "
            f"{defined[strong].mean():.0%} of their maps",
            flush=True,
        )


def auroc(positive: np.ndarray, negative: np.ndarray) -> float:
    """The share of pairs in which the positive one is larger, ties as half."""
    if not (len(positive) and len(negative)):
        return float("nan")
    larger = positive[:, None] - negative[None]
    return float((larger > 0).mean() + (larger == 0).mean() / 2)


def constructed(count: int, methods) -> None:
    """Spearman's correlation of CBD, and of what the region loses alone, with w."""
    drawn = [exact.exact_sample(7 * i, digits=(generator.BIASED_DIGIT,)) for i in range(count)]
    scenes = [generator.with_context(one, True) for one in drawn]
    where, class_id = np.stack([context_mask(one) for one in scenes]), generator.BIASED_CLASS
    nets = [shipped(f"constructed-{w:g}") for w in WEIGHTS]
    # At the default a tile costs .16, and at w = 1/2 the digit loses .12 of its probability.
    each = [judged(net, scenes, class_id, where, methods, penalty=0.005) for net in nets]
    for name in methods:
        values = [one[f"cbd {name}"] for one in each]
        told = " ".join(f"{value:.3f}" for value in values)
        rank = spearmanr(WEIGHTS, values).statistic
        print(f"constructed w {WEIGHTS}: CBD {name} {told}; Spearman {rank:.3f}", flush=True)


def exhaustive(net, number: int) -> None:
    """Grid Saliency's cost against that of the best binary mask, of one scene."""
    recipes = generator.samples("test", number + 1, 5, digits=(generator.BIASED_DIGIT,))
    image, labels = generator.render(generator.with_context(recipes[number], True))
    images, method = torch.from_numpy(image)[None, None], GridSaliency(cells=(4, 4))
    scene = Scene(net, images, torch.from_numpy(labels.astype(np.int64))[None])
    target = Target(generator.BIASED_CLASS, Labelled(generator.BIASED_CLASS))
    solved = method.solve(scene, target)
    found = float(solved.drop + method.penalty * solved.mask.sum())
    copies, best, seen = 256, float(solved.alone), 0
    many = Scene(net, images.expand(copies, -1, -1, -1), scene.labels.expand(copies, -1, -1))
    problem = _Problem(method, many, many.fix(target), list(range(copies)))
    colour = solved.colour.expand(copies, -1)
    for count in range(17):
        # Losses are never below 0: where its cells alone cost as much, no mask is cheaper.
        if method.penalty * count >= best:
            break
        every = list(combinations(range(16), count))
        for start in range(0, len(every), copies):
            masks, chosen = torch.zeros(copies, 16), every[start : start + copies]
            for row, cells in zip(masks, chosen, strict=False):
                row[list(cells)] = 1.0
            lost, _ = problem._lost(masks.reshape(copies, 4, 4), colour)
            best = min(best, float(lost[: len(chosen)].min()) + method.penalty * count)
            seen += len(chosen)
    print(
        f"scene {number}: Grid Saliency costs {found:.4f}, the best of 2^16 masks {best:.4f}; gap "
        f"{found - best:+.4f} (all hidden {float(solved.alone):.4f}; {seen} masks "
        "tried, the others cost more by their cells alone)",
        flush=True,
    )


if __name__ == "__main__":
    main()
