"""First sweep: what each layer holds of each class, as sums over half of the images each."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from conceptseg.data.batch import Batch
from conceptseg.data.draw import drawn, sample_priority
from conceptseg.data.manifest import Sample
from conceptseg.engine.contract import Context, Pass
from conceptseg.engine.known import Key, Known
from conceptseg.network import shuffle
from conceptseg.network.model import SegmentationModel
from conceptseg.network.record import Recorder
from conceptseg.stats.mergeable.sums import Sums
from conceptseg.study.ability.config import POSITION, Ability
from conceptseg.study.ability.linear import positions, weighted_sums
from conceptseg.study.shared.stages import chosen, evenly
from conceptseg.study.shared.studied import labelled

HALVES = (0, 1)
NETS = ("trained", "shuffled")
KEPT, PROBE = ("classes", "mass", "units", "squares", "count"), ("gram", "target")
"""The sums that prototypes are made from, by block, and those that the probe is."""
BLOCKS = 10
"""Parts of each half that are left out in turn, to see how much hangs on what taught it."""
POSITION_GRID = 4
"""The baseline of positions has a grid this many times coarser than the image."""


@dataclass
class Prepared:
    """What all batches of a run share: layers, halves and their blocks, the control, its network.

    The control's images are read by noise; its network, with shuffled weights, reads all.
    """

    layers: tuple[str, ...]
    half: Mapping[str, int]
    block: Mapping[str, int]
    by_group: bool
    control: frozenset[str]
    shuffled: SegmentationModel | None


@dataclass(frozen=True)
class Reading:
    """What reads one layer of one network: prototypes and probe learnt on each half.

    `prototypes` [2, k, u] (nan for a class without weight), those of all else as `background`,
    `scale` [2, u] the units' standard deviations, `direction` [2, k, u] and `offset` [2, k] of the
    probe on all units (zeros on those it does not read), None without one. `partly` and
    `partly_scale` [2, b, k, u] and [2, b, u]: prototypes and scale with each block left out.
    """

    prototypes: np.ndarray
    background: np.ndarray
    scale: np.ndarray
    partly: np.ndarray
    partly_scale: np.ndarray
    direction: np.ndarray | None = None
    offset: np.ndarray | None = None


PREPARED = Key("prepared", Prepared)
SUMS = Key("sums", Sums)
READINGS: Key[dict[tuple[str, str], Reading]] = Key("readings", dict)
"""By network, of `NETS`, and layer."""


@dataclass(frozen=True)
class Sweep(Pass):
    """All images with labels, through the network and, if there is that control, a shuffled one."""

    study: Ability

    cost = "1 forward per image, 1 more of the shuffled network unless control_images is 0"
    labels = "required"

    def samples(self, context: Context, known: Known) -> Sequence[Sample]:
        return labelled(context)

    def forwards(self, context: Context) -> float:
        return float(len(context.manifest.samples) * (2 if self.study.control_images else 1))


@dataclass(frozen=True)
class Gather(Sweep):
    """Sums over the images, with all layers recorded, of both networks.

    Both are gathered on all images: prototypes of few images read worse than those of many, so a
    control that learnt on fewer would make any network look as if it had learnt.
    """

    name = "gather"

    def map(self, context: Context, batch: Batch, known: Known) -> Known:
        ready = known[PREPARED]
        assert batch.labels is not None
        logits, features = recorded(context.model, batch.images, ready.layers)
        of_network = {"trained": features}
        if ready.shuffled is not None:
            of_network["shuffled"] = recorded(ready.shuffled, batch.images, ready.layers)[1]
            del of_network["shuffled"][POSITION]
        p = logits.float().softmax(1)
        shares = label_shares(batch.labels, logits.shape[1])
        total = Sums.empty()
        for net, layers in of_network.items():
            for place, x in enumerate(layers.values()):
                sums = layer_sums(x, p)
                if self.study.probe:
                    sums |= probe_sums(x, shares, self.study.probe_units)
                parts = {key: value.double().cpu().numpy() for key, value in sums.items()}
                # Images are added one by one, so that batches do not matter.
                for i, name in enumerate(batch.ids):
                    heads = f"{net}/{ready.half[name]}/{place}", f"block {ready.block[name]}/"
                    own = {
                        f"{heads[0]}/{'' if key in PROBE else heads[1]}{key}": value[i]
                        for key, value in parts.items()
                    }
                    total = total.merge(Sums(own))
        return SUMS(total)


def learn(study: Ability, context: Context, known: Known) -> Known:
    """What reads each layer of each network, by what the halves of the images taught."""
    sums, names = known[SUMS].values, (*known[PREPARED].layers, POSITION)
    return READINGS(
        {
            (net, name): reading(sums, net, place)
            for net in NETS
            for place, name in enumerate(names)
            if all(_blocks(sums, f"{net}/{half}/{place}") for half in HALVES)
        }
    )


def prepare(study: Ability, context: Context, known: Known) -> Known:
    """Choose layers, deal the halves, shuffle a copy of the network; InputError for the layers."""
    samples = labelled(context)
    half, by_group = halves(samples, context.seed)
    control = frozenset(drawn(study.seed, half, study.control_images))
    other = shuffle.shuffled(context.model, context.seed) if control else None
    layers = chosen(context, study.layers, study.most_layers)
    block = blocks(samples, half, by_group, context.seed)
    return PREPARED(Prepared(layers, half, block, by_group, control, other))


def halves(samples: Sequence[Sample], seed: int) -> tuple[dict[str, int], bool]:
    """Each sample's half, 0 or 1, and whether whole groups were dealt: they are unless there is
    but one. In turn by hash, groups of many images first so that the halves are of like size."""
    groups: dict[str, list[str]] = {}
    for sample in samples:
        groups.setdefault(sample.group, []).append(sample.id)
    by_group = len(groups) > 1
    if not by_group:
        groups = {sample.id: [sample.id] for sample in samples}
    ranked = sorted(groups, key=lambda one: (-len(groups[one]), sample_priority(seed, one), one))
    found: dict[str, int] = {}
    size = [0, 0]
    for name in ranked:
        half = int(size[1] < size[0])
        size[half] += len(groups[name])
        found |= dict.fromkeys(groups[name], half)
    return found, by_group


def blocks(
    samples: Sequence[Sample], half: Mapping[str, int], by_group: bool, seed: int
) -> dict[str, int]:
    """Each sample's block in its half, of at most `BLOCKS`; whole groups where they were dealt."""
    names = {one.id: one.group if by_group else one.id for one in samples}
    place: dict[str, int] = {}
    for own in HALVES:
        mine = {name for i, name in names.items() if half[i] == own}
        ranked = sorted(mine, key=lambda one: (sample_priority(seed + 1, one), one))
        place |= {name: n % BLOCKS for n, name in enumerate(ranked)}
    return {i: place[name] for i, name in names.items()}


def recorded(
    model: SegmentationModel, images: Tensor, layers: Sequence[str]
) -> tuple[Tensor, dict[str, Tensor]]:
    """Logits, and the features of all layers and of positions, from one pass."""
    with torch.no_grad(), Recorder(model, layers) as recorder:
        logits = recorder(images)
    assert logits is not None
    found = {name: recorder.activations[name].detach().float() for name in layers}
    height, width = (max(1, side // POSITION_GRID) for side in images.shape[2:])
    return logits, {**found, POSITION: positions(images, (height, width))}


def label_shares(labels: Tensor, k: int) -> Tensor:
    """One-hot labels float32 [n, k, h, w], all zero where ignored."""
    known = (labels >= 0) & (labels < k)
    hot = F.one_hot(labels.clamp(0, k - 1), k).movedim(-1, 1).float()
    return hot * known[:, None]


def layer_sums(x: Tensor, p: Tensor) -> dict[str, Tensor]:
    """Per image: `classes` [n, k, u] and `mass` [n, k], weighted by the predicted probability, and
    over the layer's own positions `units` and `squares` [n, u], and their `count` [n]."""
    classes, mass = weighted_sums(x, p)
    flat = x.flatten(2).double()
    sums = {"units": flat.sum(2), "squares": (flat**2).sum(2)}
    count = flat.new_full((len(x),), flat.shape[2])
    return {"classes": classes, "mass": mass, **sums, "count": count}


def probe_sums(x: Tensor, shares: Tensor, most: int) -> dict[str, Tensor]:
    """Per image: `gram` [n, m + 1, m + 1] of units and a one, `target` [n, m + 1, k].

    Positions weigh by how much of them is labelled; the target is the share of each class there.
    """
    kept = torch.from_numpy(evenly(x.shape[1], most)).to(x.device)
    share = F.adaptive_avg_pool2d(shares, (x.shape[2], x.shape[3])).flatten(2)
    weight = share.sum(1, keepdim=True)
    rows = torch.cat([x[:, kept].flatten(2), torch.ones_like(weight)], 1)
    gram = torch.einsum("nup,nvp->nuv", rows * weight, rows)
    return {"gram": gram, "target": torch.einsum("nup,nkp->nuk", rows, share)}


def reading(sums: Mapping[str, np.ndarray], net: str, place: int) -> Reading:
    """What reads a layer, learnt on each half."""
    halves = [_learnt(sums, f"{net}/{half}/{place}") for half in HALVES]
    return Reading(**{name: np.stack([half[name] for half in halves]) for name in halves[0]})


def _learnt(sums: Mapping[str, np.ndarray], head: str) -> dict[str, np.ndarray]:
    """What one half teaches, by the names of :class:`Reading`."""
    each = _blocks(sums, head)
    total = {key: np.stack([one[key] for one in each.values()]).sum(0) for key in KEPT}
    classes, mass = total["classes"], total["mass"]
    learnt = {
        "prototypes": _means(classes, mass),
        "background": _means(classes.sum(0)[None] - classes, mass.sum() - mass),
        "scale": _scale(total),
    }
    partly = [
        {key: total[key] - each[b][key] for key in KEPT} if b in each and len(each) > 1 else total
        for b in range(BLOCKS)
    ]
    learnt["partly"] = np.stack([_means(one["classes"], one["mass"]) for one in partly])
    learnt["partly_scale"] = np.stack([_scale(one) for one in partly])
    if f"{head}/gram" in sums:
        gram, target = (sums[f"{head}/{key}"] for key in PROBE)
        learnt["direction"], learnt["offset"] = ridge(gram, target, len(learnt["scale"]))
    return learnt


def _blocks(sums: Mapping[str, np.ndarray], head: str) -> dict[int, dict[str, np.ndarray]]:
    """The sums of each block of a half."""
    keys = {b: {key: f"{head}/block {b}/{key}" for key in KEPT} for b in range(BLOCKS)}
    return {
        b: {key: sums[name] for key, name in own.items()}
        for b, own in keys.items()
        if own["mass"] in sums
    }


def _scale(total: Mapping[str, np.ndarray]) -> np.ndarray:
    """The units' standard deviations [u], inf where a unit does not vary."""
    mean = total["units"] / total["count"]
    spread = np.sqrt(np.maximum(total["squares"] / total["count"] - mean**2, 0))
    floor = 1e-6 * max(float(np.abs(mean).max(initial=0)), float(spread.max(initial=0)), 1e-30)
    return np.where(spread > floor, spread, np.inf)


def _means(sums: np.ndarray, mass: np.ndarray) -> np.ndarray:
    return np.asarray(sums / np.where(mass > 0, mass, np.nan)[:, None])


def ridge(gram: np.ndarray, target: np.ndarray, units: int) -> tuple[np.ndarray, np.ndarray]:
    """Least squares of the classes' shares on the units: directions [k, u] and offsets [k].

    Units are scaled to unit variance and a ridge of 1e-3 is put on them, not on the offset. A class
    that no position holds gets -inf. Directions are zero on units that the probe did not read.
    """
    m = len(gram) - 1
    count = max(float(gram[m, m]), 1e-30)
    mean = gram[:m, m] / count
    covariance = gram[:m, :m] / count - np.outer(mean, mean)
    cross = target[:m] / count - np.outer(mean, target[m] / count)
    scale = np.sqrt(np.maximum(np.diag(covariance), 0))
    dead = scale <= 1e-6 * max(float(scale.max(initial=0)), 1e-30)
    inverse = np.where(dead, 0.0, 1 / np.where(dead, 1.0, scale))
    scaled = covariance * np.outer(inverse, inverse) + 1e-3 * np.eye(m)
    weights = np.linalg.solve(scaled, cross * inverse[:, None]) * inverse[:, None]
    offset = target[m] / count - mean @ weights
    held = target[m] > 0
    direction = np.zeros((target.shape[1], units))
    direction[:, evenly(units, m)] = np.where(held, weights, 0.0).T
    return direction, np.where(held, offset, -np.inf)
