"""Pass 1, and the atoms: what units respond to alike, and which images are looked at."""

from dataclasses import dataclass

import numpy as np
import torch

from conceptseg.data.batch import Batch
from conceptseg.data.draw import in_turn, sample_priority
from conceptseg.engine.contract import Context, Pass
from conceptseg.engine.known import Key, Known
from conceptseg.errors import InputError
from conceptseg.network.label_map import class_areas, label_map
from conceptseg.network.record import Recorder
from conceptseg.stats.estimate import Sampling
from conceptseg.stats.intervals import Floats
from conceptseg.stats.mergeable.sample_table import SampleTable
from conceptseg.study.graph.config import Graph
from conceptseg.study.shared.stages import chosen, evenly
from conceptseg.study.shared.studied import sampling_of

LAYERS: Key[tuple[str, ...]] = Key("graph's layers", tuple)
"""In running order."""
CELLS = Key("cells", SampleTable)
"""Of each image and layer l: `cells l` [s, u] at places drawn by hash, and `mean l` [1, u]."""
STAGES = 10
"""Stages into which a network is taken apart, of which some are taken, evenly spread."""
TRIED = 64
"""Images on which random groups are tried, at most: of each, every unit's part is kept."""
PROFILE = 128
"""Components of units' responses by which they are grouped, at most."""


@dataclass(frozen=True)
class Atom:
    """A group of units of a layer that respond alike; `number` counts them in their layer."""

    layer: int
    number: int
    units: tuple[int, ...]


@dataclass(frozen=True)
class Atoms:
    """All atoms, by layer; of each layer each unit's mean [u] and deviation [u] over places."""

    layers: tuple[str, ...]
    atoms: tuple[Atom, ...]
    mean: tuple[Floats, ...]
    deviation: tuple[Floats, ...]

    def at(self, layer: int) -> list[int]:
        """The places in `atoms` of those of one layer."""
        return [place for place, one in enumerate(self.atoms) if one.layer == layer]

    def live(self, layer: int) -> np.ndarray:
        """The units of a layer that are not the same everywhere."""
        return np.flatnonzero(self.deviation[layer] > 0)

    def alone(self, layer: int) -> bool:
        """Whether each unit of a layer is an atom, so that no group could be drawn in its stead."""
        return all(len(self.atoms[place].units) == 1 for place in self.at(layer)) and len(
            self.at(layer)
        ) == len(self.live(layer))

    def name(self, place: int) -> str:
        one = self.atoms[place]
        return f"{self.layers[one.layer]}/{one.number}"

    def means(self, device: str | torch.device) -> list[torch.Tensor]:
        return [torch.from_numpy(one).float().to(device) for one in self.mean]


ATOMS = Key("atoms", Atoms)
SHOWN = 0.95
"""An atom shows where its mean standardised response is beyond this share of the places."""
BARS: Key[Floats] = Key("bars", np.ndarray)
"""The response beyond which each atom shows, [P]."""


@dataclass(frozen=True)
class Halves:
    """The images that are looked at, what they count as, and `first` [n], whether screening reads
    them; the others judge. Groups are never cut. Random groups are tried on `tried` images [n]."""

    sampling: Sampling
    first: np.ndarray
    tried: np.ndarray


HALVES = Key("halves", Halves)
CLASSES: Key[tuple[int, ...]] = Key("graph's classes", tuple)


def settle(study: Graph, context: Context, known: Known) -> Known:
    """The layers. Raises InputError for fewer than two, or one that lies in another."""
    names = chosen(context, study.layers, STAGES)
    if not study.layers:
        names = names[:-1] if _is_output(context, names[-1]) else names
        names = tuple(names[place] for place in evenly(len(names), study.most_layers).tolist())
    if len(names) < 2:
        raise InputError(
            f"layers: a graph needs two layers or more, there is {', '.join(names) or 'none'}; "
            "name others"
        )
    for one in names:
        inner = [other for other in names if other.startswith(f"{one}.")]
        if inner:
            raise InputError(
                f"layers: {inner[0]!r} lies in {one!r}, so neither comes before the other; "
                "leave one out"
            )
    return LAYERS(names)


def _is_output(context: Context, layer: str) -> bool:
    """Whether a layer's units are the classes, which are nodes already."""
    first = context.manifest.samples[0]
    image = torch.from_numpy(context.manifest.image(first))[None].to(context.run.device)
    with torch.no_grad(), Recorder(context.model, [layer]) as recorder:
        recorder(image)
    return bool(recorder.activations[layer].shape[1] == context.model.reads()[0])


@dataclass(frozen=True)
class Gather(Pass):
    """One forward pass per image: the classes in it, and its units' responses at some places."""

    study: Graph

    name = "gather"
    keeps = True

    def map(self, context: Context, batch: Batch, known: Known) -> Known:
        study, layers, classes = self.study, known[LAYERS], self.study.class_ids(context)
        with torch.no_grad(), Recorder(context.model, layers) as recorder:
            logits = recorder(batch.images)
        assert logits is not None
        areas = class_areas(label_map(logits), logits.shape[1])
        least = study.min_share * logits[0, 0].numel()
        held = [sorted({c for c in classes if areas[i, c] > least}) for i in range(len(batch))]
        rows = [{"held": np.array(own, np.int64)} for own in held]
        for place, layer in enumerate(layers):
            maps = recorder.activations[layer].float().flatten(2).cpu().numpy()
            for name, found, own in zip(batch.ids, maps, rows, strict=True):
                rng = np.random.default_rng(
                    sample_priority(context.seed, f"{layer} {name}") % 2**64
                )
                taken = np.sort(rng.permutation(found.shape[1])[: study.cells])
                own[f"cells {place}"] = found[:, taken].T
                own[f"mean {place}"] = found.mean(1, dtype=np.float64)[None]
        table = SampleTable.empty(study.images)
        for name, own, inside in zip(batch.ids, rows, held, strict=True):
            one = SampleTable.of(
                name,
                own,
                priority=sample_priority(context.seed, name),
                classes=inside,
                capacity=study.images,
            )
            table = table.merge(one)
        return CELLS(table)


def split(study: Graph, context: Context, known: Known) -> Known:
    """The halves and the classes. Raises InputError where no class is in enough of either."""
    table = known[CELLS]
    ids = table.ids
    dealt = sampling_of(context, ids, study.unit, (context.seed, 61)).groups
    half = in_turn(context.seed + 1, dealt, 2)
    first = np.array([half[name] == 0 for name in dealt], bool)
    sampling = sampling_of(context, ids, study.unit, (context.seed, 61), judging=~first)
    wanted = study.class_ids(context)
    held = np.array([[c in table.tables[name]["held"] for c in wanted] for name in ids], bool)
    held = held.reshape(len(ids), len(wanted))
    least = [min(int(held[half, c].sum()) for half in (first, ~first)) for c in range(len(wanted))]
    kept = tuple(c for c, count in zip(wanted, least, strict=True) if count >= study.min_images)
    if not kept:
        best = int(np.argmax(least))
        raise InputError(
            f"{context.manifest.where}: no class is predicted in {study.min_images} images of "
            f"either half ({context.model.classes[wanted[best]]!r} comes nearest, {least[best]}); "
            "give more images, or lower min_images or min_share"
        )
    tried = np.zeros(len(ids), bool)
    tried[np.argsort([sample_priority(context.seed + 2, one) for one in ids])[:TRIED]] = True
    return HALVES(Halves(sampling, first, tried)) | CLASSES(kept)


def find_atoms(study: Graph, context: Context, known: Known) -> Known:
    """The units of each layer, grouped by how they respond."""
    table, atoms, means, deviations = known[CELLS], list[Atom](), list[Floats](), list[Floats]()
    bars = list[float]()
    for layer in range(len(known[LAYERS])):
        cells = table.column(f"cells {layer}").astype(np.float64)
        spread = cells.std(0)
        # What is the same everywhere, but for rounding, tells of nothing.
        spread[spread <= 1e-6 * np.abs(cells).max(0)] = 0.0
        means.append(table.column(f"mean {layer}").mean(0))
        deviations.append(spread)
        live = np.flatnonzero(spread > 0)
        if len(live) <= study.alone:
            groups = [(unit,) for unit in live.tolist()]
        else:
            rows = profiles(cells[:, live] / spread[live])
            members = study.concepts.fit(rows, np.arange(len(live)), context.seed).members
            groups = [tuple(live[members == q].tolist()) for q in range(int(members.max()) + 1)]
            groups += [(unit,) for unit in live[members < 0].tolist()]
        for n, units in enumerate(sorted(g for g in groups if g)):
            atoms.append(Atom(layer, n + 1, units))
            own = list(units)
            mean = ((cells[:, own] - means[-1][own]) / spread[own]).mean(1)
            bars.append(float(np.quantile(mean, SHOWN)))
    found = Atoms(known[LAYERS], tuple(atoms), tuple(means), tuple(deviations))
    return ATOMS(found) | BARS(np.array(bars))


def profiles(cells: Floats) -> Floats:
    """A row [u, d] for each unit of standardised responses [m, u]; dot products of rows are the
    units' correlations, as far as the first `PROFILE` components tell them."""
    centred = cells - cells.mean(0)
    values, vectors = np.linalg.eigh(centred.T @ centred / len(cells))
    kept = np.argsort(-values)[:PROFILE]
    rows = vectors[:, kept] * np.sqrt(np.maximum(values[kept], 0))
    signs = np.sign(rows[np.abs(rows).argmax(0), np.arange(len(kept))])
    return np.asarray(rows * np.where(signs == 0, 1.0, signs))
