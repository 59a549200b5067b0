"""Codes of a layer as maps, edits along atoms, and where atoms lie and what they overlap."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from conceptseg.concepts.dictionary import Dictionary
from conceptseg.data.draw import sample_priority
from conceptseg.data.manifest import Manifest
from conceptseg.stats.mergeable.joint_counts import JointCounts
from conceptseg.stats.mergeable.sample_table import SampleTable

NONE = "unnamed"
ZONES = ("inside", "boundary", "ring", "elsewhere")
BAND_PX, RING = 2, 0.1
"""Half the width of a class's boundary in pixels; its ring's, as a part of the diagonal."""
LIKELY = 2.0
"""Times the overlap by chance, which a name has to reach on either half."""
LEAST_OVERLAP = 0.1
CONTEXT, UNKNOWN = "known context", -1


def codes_of(atoms: Dictionary, activation: Tensor) -> Tensor:
    """The codes of an activation [n, u, y, x], [n, q, y, x]."""
    return shaped(atoms.codes(flat(activation)), activation)


def flat(activation: Tensor) -> Tensor:
    """[n, u, y, x] -> rows [n y x, u]."""
    return activation.permute(0, 2, 3, 1).reshape(-1, activation.shape[1])


def some_positions(
    maps: Mapping[str, Tensor], ids: Sequence[str], seed: int, count: int
) -> SampleTable:
    """Of each image at most `count` positions, drawn by its id: rows [m, u] of float32 under each
    map's name, the same positions of all maps [n, u, y, x]."""
    table = SampleTable.empty()
    for i, name in enumerate(ids):
        rows = {key: flat(one[i : i + 1]).cpu().numpy() for key, one in maps.items()}
        rng = np.random.default_rng(sample_priority(seed, name) % 2**64)
        kept = np.sort(rng.permutation(len(next(iter(rows.values()))))[:count])
        own = {key: one[kept].astype(np.float32) for key, one in rows.items()}
        table = table.merge(SampleTable.of(name, own))
    return table


def shaped(rows: Tensor, like: Tensor) -> Tensor:
    """Rows [n y x, q] -> maps [n, q, y, x] on the grid of an activation."""
    n, _, y, x = like.shape
    return rows.reshape(n, y, x, -1).permute(0, 3, 1, 2)


def changed(activation: Tensor, change: Tensor, direction: np.ndarray) -> Tensor:
    """The activation [n, u, y, x] with a change of code [n, y, x] along a direction [u] added."""
    along = torch.as_tensor(direction).to(activation)
    return activation + change[:, None].to(activation) * along[:, None, None]


def joint_counts(shows: Tensor, slots: Tensor, count: int) -> JointCounts:
    """Joint counts of atoms [n, q, y, x] that show, and slots [g, n, h, w] on any grid."""
    grid = shows.shape[-2:]
    at = [
        ((torch.arange(g) + 0.5) * s / g).long()
        for g, s in zip(grid, slots.shape[-2:], strict=True)
    ]
    read = slots[..., at[0][:, None], at[1][None, :]].flatten(1).cpu().numpy()
    bins = shows.transpose(0, 1).flatten(1).cpu().numpy()
    known = (read != UNKNOWN).all(0)
    return JointCounts.of(bins[:, known], read[:, known], 2, count)


def concept_names(classes: Sequence[str]) -> list[str]:
    """The concepts that atoms may be called by: classes as labelled (or predicted), and context."""
    return [*classes, CONTEXT]


def concept_slots(manifest: Manifest, ids: Sequence[str], seen: Tensor, k: int) -> Tensor:
    """Slots [2, n, h, w]: the class of each pixel; k where the known context is, else k + 1."""
    context = torch.full_like(seen, k + 1)
    for i, name in enumerate(ids):
        shown = manifest.context(manifest.sample(name))
        if shown is not None:
            context[i][torch.from_numpy(shown).to(seen.device)] = k
    return torch.stack([seen, context])


def zoned(codes: Tensor, regions: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Mass [n, q, k, 4] of codes, and share of the image [n, k, 4], in the zones of each class.

    Zones are those of the region in which the class is predicted, on the codes' grid: inside, a
    band along its border, a ring around, elsewhere. They add up to all; 0 of a class not there.
    """
    n, q, y, x = codes.shape
    h, w = regions.shape[1:]
    ring = max(1, round(RING * (h * h + w * w) ** 0.5))
    mass, area = codes.new_zeros(n, q, k, len(ZONES)), codes.new_zeros(n, k, len(ZONES))
    for c in torch.unique(regions).tolist():
        rows = (regions == c).flatten(1).any(1)
        inside = (regions[rows] == c)[:, None].to(codes)
        wide, core = _grown(inside, BAND_PX), 1 - _grown(1 - inside, BAND_PX)
        far = torch.maximum(_grown(inside, BAND_PX + ring), wide)
        zones = torch.cat([core, wide - core, far - wide, 1 - far], 1)
        grid = F.adaptive_avg_pool2d(zones, (y, x))
        mass[rows, :, c] = torch.einsum("nqyx,nzyx->nqz", codes[rows], grid) / (y * x)
        area[rows, c] = grid.mean((2, 3))
    return mass, area


def _grown(mask: Tensor, by: int) -> Tensor:
    """A mask [n, 1, h, w] of 0 and 1 dilated by so many pixels, by rows and then by columns."""
    by_rows = F.max_pool2d(mask, (2 * by + 1, 1), stride=1, padding=(by, 0))
    return F.max_pool2d(by_rows, (1, 2 * by + 1), stride=1, padding=(0, by))


@dataclass(frozen=True)
class Name:
    """What an atom is called: its overlap with the concept on the half that did not choose it."""

    name: str
    overlap: float
    by_chance: float


def names(halves: Sequence[np.ndarray | None], classes: Sequence[str], count: int) -> list[Name]:
    """Each atom's concept of largest overlap on one half, if the other half bears it out.

    Of either half the joint counts, None of one without images. Overlap is IoU over the layer's
    positions of the atom's showing and the concept. It has to be 0.1 or more, and twice what
    independent maps of these sizes have, on either half.
    """
    every, counts = concept_names(classes), [one for one in halves if one is not None]
    if len(counts) < 2:
        return [Name(NONE, float("nan"), float("nan"))] * count
    tables = [_overlaps(one, len(every)) for one in counts]
    found = []
    for atom in range(count):
        iou, chance = tables[0][0][atom], tables[0][1][atom]
        best = int(np.argmax(np.where(iou >= LIKELY * chance, iou, -1.0)))
        sure = all(
            one[atom, best] >= max(LEAST_OVERLAP, LIKELY * by_chance[atom, best])
            for one, by_chance in tables
        )
        told = tables[1][0][atom, best], tables[1][1][atom, best]
        found.append(Name(every[best] if sure else NONE, *map(float, told)))
    return found


def _overlaps(counts: np.ndarray, concepts: int) -> tuple[np.ndarray, np.ndarray]:
    """IoU [q, l] of atoms and concepts from joint counts [q, 2, s], and that of independent maps.

    Every position counts in two slots, one of the classes and one of the context.
    """
    both = np.zeros((len(counts), 2, concepts))
    both[:, :, : min(concepts, counts.shape[2])] = counts[:, :, :concepts]
    total = counts.sum((1, 2))[:, None] / 2
    shown, held = counts[:, 1].sum(1)[:, None] / 2, both.sum(1)
    iou = both[:, 1] / np.maximum(shown + held - both[:, 1], 1)
    alike = shown * held / np.maximum(total, 1)
    return iou, alike / np.maximum(shown + held - alike, 1)


def tags(mass: np.ndarray, area: np.ndarray, class_ids: np.ndarray) -> list[tuple[str, float]]:
    """Where each atom [q] lies of its class: the zone in which it is densest, and how many times
    as dense as over the image. From sums over images: mass [q, k, 4], area [k, 4]."""
    found = []
    for atom, c in enumerate(class_ids.tolist()):
        whole = mass[atom, c].sum()
        density = mass[atom, c] / np.maximum(whole, 1e-12) / np.maximum(area[c], 1e-12)
        density = np.where(area[c] > 1e-3 * area[c].sum(), density * area[c].sum(), 0.0)
        place = int(np.argmax(density))
        found.append((ZONES[place] if whole > 0 else "nowhere", float(density[place])))
    return found
