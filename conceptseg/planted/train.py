"""Training of the shipped nets, seeded from the first weight to the last batch.

Loss: cross-entropy of the labels, plus, while training, an auxiliary loss read linearly (1 x 1
convolution, thrown away afterwards) from each position of the bottleneck: which texture lies
there. Without it the pair stays confused for many epochs before a net finds the context; with it
every net *encodes* the textures, and the bias of the data alone decides whether the net *uses*
one of them. That the clean net has the concept and does not rely on it makes it the harder
control. A mark is read like a texture, where its centre lies; that is one position of 64 where a
tile has 32, so it weighs as much as 32. A place is not read at all.
"""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from conceptseg.planted import generator, measure
from conceptseg.planted.nets import PlantedUNet, load_trained
from conceptseg.planted.plant import DEFAULT, Plant, to_header
from conceptseg.planted.recipe import MARK, Recipe

CELLS = 8  # the bottleneck has 8 x 8 positions, so the halves meet between positions


@dataclass(frozen=True)
class TrainingRecipe:
    """What decides a training run, and so its weights on one machine and torch version.

    Args:
        strength: bias of the training data, s of `generator`.
        n: training scenes, rendered once. pair_share: share of them that is of the pair.
        epochs, batch, rate, decay: AdamW under a one-cycle schedule that peaks at `rate`.
        context_loss: weight of the auxiliary loss.
        background_weight: weight of a background pixel in the cross-entropy; a digit's has 1.
        start: the net whose weights to start from, a shipped one or a file; None for random
            weights.
        seed: of data, weights and batch order. plant: which reliance the data plant.
    """

    strength: float
    n: int = 10_000
    pair_share: float = 0.5
    epochs: int = 12
    batch: int = 64
    rate: float = 8e-3
    decay: float = 1e-3
    context_loss: float = 0.3
    background_weight: float = 0.5
    start: str | None = None
    seed: int = 0
    plant: Plant = DEFAULT


@dataclass(frozen=True)
class TrainingSet:
    """Levels, labels (uint8 [n, 64, 64]) and cell textures (int64 [n, 8, 8])."""

    levels: Tensor
    labels: Tensor
    cells: Tensor


def cell_names(plant: Plant) -> tuple[str, ...]:
    """What a position of the bottleneck can show, in the order of `TrainingSet.cells`."""
    first = {"tile": (plant.texture,), "mark": ("mark",), "place": ()}
    return (*first[plant.kind], *plant.grounds)


GROUND_NAMES = cell_names(DEFAULT)


def training_set(recipe: TrainingRecipe) -> TrainingSet:
    """Render the training scenes of `recipe`: noisy glyphs, biased context."""
    scenes = generator.samples(
        "train",
        recipe.n,
        recipe.seed,
        strength=recipe.strength,
        context="biased",
        label_noise=True,
        pair_share=recipe.pair_share,
        plant=recipe.plant,
    )
    levels, labels = generator.render_all(scenes)
    names = cell_names(recipe.plant)
    cells = np.stack([_cells(scene, names) for scene in scenes])
    return TrainingSet(*(torch.from_numpy(array) for array in (levels, labels, cells)))


def _cells(scene: Recipe, names: Sequence[str]) -> NDArray[np.int64]:
    """What each position shows, indices into `names`, [8, 8]."""
    step = generator.SIDE // CELLS
    first, second = (names.index(crop.texture) for crop in scene.grounds())
    half = generator.half_mask(scene, 1)[::step, ::step]
    cells = np.where(half, second, first)
    if scene.mark is not None and scene.bias_present:
        top, left = scene.mark
        cells[(top + MARK // 2) // step, (left + MARK // 2) // step] = names.index("mark")
    return cells


def context_loss(
    scores: Float[Tensor, "n t 8 8"],
    cells: Int[Tensor, "n 8 8"],
    weight: Float[Tensor, " t"] | None = None,
) -> Tensor:
    """Cross-entropy of the texture at each position; `scores` has one channel per texture.

    With `weight` positions weigh as the texture there does, in a weighted mean.
    """
    return functional.cross_entropy(scores, cells, weight)


def cell_weights(plant: Plant) -> Float[Tensor, " t"] | None:
    """What a position weighs in the auxiliary loss, by what it shows (`cell_names`); None: 1."""
    if plant.kind != "mark":
        return None
    weights = torch.ones(len(cell_names(plant)))
    weights[0] = CELLS * CELLS / 2
    return weights


class _BottleneckReader(nn.Module):
    """The net with the auxiliary 1 x 1 convolution on its bottleneck."""

    def __init__(self, net: PlantedUNet, names: Sequence[str]) -> None:
        super().__init__()
        self.net = net
        self.read = nn.Conv2d(net.bottleneck_width, len(names), 1)
        self.seen: Tensor | None = None
        self.hook = net.bottleneck.register_forward_hook(self._keep)

    def _keep(self, module: nn.Module, inputs: object, output: Tensor) -> None:
        self.seen = output

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        logits = self.net(images)
        return logits.float(), self.read(self.seen).float()


def _step(
    reader: _BottleneckReader, data: TrainingSet, rows: Tensor, recipe: TrainingRecipe
) -> tuple[Tensor, Tensor]:
    """Segmentation loss and auxiliary loss of one batch."""
    images = (data.levels[rows].unsqueeze(1).float() / 255.0).contiguous(
        memory_format=torch.channels_last
    )
    # bfloat16 convolutions are 1.5 to 2 times faster on the CPUs at hand; losses are float32.
    with torch.autocast("cpu", torch.bfloat16):
        logits, scores = reader(images)
    weight = torch.ones(len(generator.CLASSES))
    weight[0] = recipe.background_weight
    loss = functional.cross_entropy(logits, data.labels[rows].long(), weight)
    return loss, context_loss(scores, data.cells[rows], cell_weights(recipe.plant))


def train(
    recipe: TrainingRecipe, log: Callable[[dict[str, float]], None] | None = None
) -> PlantedUNet:
    """Train a net and return it in eval mode; `log` gets one row per epoch.

    The row holds losses, seconds, and on validation scenes the digits' mean IoU and the
    effect of the context; validation chooses nothing, the last epoch's weights are returned.
    """
    torch.manual_seed(recipe.seed)
    data = training_set(recipe)
    net = PlantedUNet()
    if recipe.start is not None:
        net.load_state_dict(load_trained(recipe.start)[0].state_dict())
    reader = _BottleneckReader(net, cell_names(recipe.plant)).to(memory_format=torch.channels_last)
    optimiser = torch.optim.AdamW(
        reader.parameters(), lr=recipe.rate, weight_decay=recipe.decay, fused=True
    )
    batches = recipe.n // recipe.batch
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, recipe.rate, total_steps=max(1, recipe.epochs * batches), pct_start=0.3
    )
    for epoch in range(recipe.epochs):
        begun = time.monotonic()
        reader.train()
        sums = np.zeros(2)
        for rows in torch.randperm(recipe.n)[: batches * recipe.batch].split(recipe.batch):
            loss, auxiliary = _step(reader, data, rows, recipe)
            optimiser.zero_grad(set_to_none=True)
            (loss + recipe.context_loss * auxiliary).backward()
            optimiser.step()
            schedule.step()
            sums += (float(loss.detach()), float(auxiliary.detach()))
        if log is not None:
            seconds = time.monotonic() - begun
            log(_row(net, recipe.plant, epoch + 1, seconds, sums / batches))
    reader.hook.remove()
    net.to(memory_format=torch.contiguous_format)
    return net.eval()


def _row(
    net: PlantedUNet, plant: Plant, epoch: int, seconds: float, losses: np.ndarray
) -> dict[str, float]:
    net.eval()
    reliance = measure.measured_reliance(net, n=100, split="val", plant=plant)
    ious = measure.measured_iou(net, n=200, split="val", plant=plant)
    return {
        "epoch": epoch,
        "seconds": seconds,
        "loss": losses[0],
        "context_loss": losses[1],
        "digits_iou": measure.digits_mean(ious),
        "effect": reliance.effect,
        "iou_with": reliance.iou_with,
        "iou_without": reliance.iou_without,
    }


def blend(start: str, end: str, share: float) -> PlantedUNet:
    """The net `share` of the way from one net's weights to another's, in eval mode.

    Each is a shipped net or a file. Between nets of which one was fine-tuned from the other,
    behaviour changes gradually along the line, which training data do not offer here: a net trained
    on mixed cues takes one or the other.

    Source: Wortsman et al. 2022, Robust fine-tuning of zero-shot models (arXiv 2109.01903).
    """
    first, last = (load_trained(name)[0].state_dict() for name in (start, end))
    net = PlantedUNet()
    net.load_state_dict({
        name: torch.lerp(value, last[name], share) if value.is_floating_point() else last[name]
        for name, value in first.items()
    })  # fmt: skip
    return net.eval()


def save(
    net: PlantedUNet,
    recipe: Mapping[str, Any],
    command: str,
    path: Path,
    plant: Plant = DEFAULT,
    scenes: int = 400,
) -> dict[str, measure.Reliance]:
    """Write the weights, and the model card next to them (same name, .json).

    The weights' header says what is planted. The card holds the command, the training recipe, IoU
    per class and the measured reliance, of the biased digit and of every class, over `scenes` of
    each digit. Returns the latter.
    """
    from safetensors.torch import save_file

    path.parent.mkdir(parents=True, exist_ok=True)
    tensors = {name: value.contiguous() for name, value in net.state_dict().items()}
    save_file(tensors, path, metadata={"plant": to_header(plant)})
    ious = measure.measured_iou(net, plant=plant)
    reliances = measure.measured_reliances(net, scenes, plant=plant)
    card = {
        "command": command,
        "training": {key: _told(key, value) for key, value in recipe.items()},
        "torch": torch.__version__.split("+")[0],
        "parameters": sum(value.numel() for value in net.parameters()),
        "test_iou": ious,
        "test_digits_mean_iou": measure.digits_mean(ious),
        "plant": asdict(plant),
        "reliance": asdict(reliances[generator.CLASSES[plant.biased + 1]]),
        "reliances": {name: asdict(one) for name, one in reliances.items()},
    }
    path.with_suffix(".json").write_text(json.dumps(card, indent=2) + "\n", encoding="utf-8")
    return reliances


def _told(key: str, value: Any) -> Any:
    """A file that a run started from by its name: cards tell no folders."""
    return Path(value).name if key in ("start", "end") and value is not None else value
