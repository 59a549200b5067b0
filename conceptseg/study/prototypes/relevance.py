"""Passes 1 and 2: atoms where they are asked for, and the relevance of every region."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from conceptseg.concepts.dictionary import Dictionary as Atoms
from conceptseg.concepts.dictionary import DictionaryFinder
from conceptseg.data.batch import Batch
from conceptseg.data.draw import sample_priority
from conceptseg.data.manifest import Sample
from conceptseg.engine.contract import Context, Pass
from conceptseg.engine.known import Key, Known
from conceptseg.engine.reading import first_images
from conceptseg.errors import asked_for
from conceptseg.explain.lrp.engine import Engine, Run
from conceptseg.explain.lrp.parts import quotient, within
from conceptseg.explain.lrp.start import relevance_of_logits
from conceptseg.network.label_map import label_map
from conceptseg.network.record import encode
from conceptseg.stats.intervals import Floats
from conceptseg.stats.mergeable.sample_table import SampleTable
from conceptseg.study.prototypes.config import Prototypes
from conceptseg.study.shared.atoms import codes_of, some_positions
from conceptseg.study.shared.outcomes import right_part
from conceptseg.study.shared.parts import Part, boxes, middles, parts
from conceptseg.study.shared.studied import first

REGIONS = Key("regions", SampleTable)
"""Of each image, a row for each region: `class`, `box` [4] (top, left, bottom, right), `area` and
`middle` [2] as parts of the image, `confidence` (mean largest probability), `right` (part of its
labelled pixels, nan where fewer than half are labelled), `truth` (the class that most of these are
labelled as, -1 for none), `beside` (1 where the image holds the known context, 0 where it does not,
-1 where nobody knows), `relevance` [q] of concepts, whose absolute values sum to 1, and `outside`,
the share of it that lies outside of the region."""
ENGINE = Key("prototypes' engine", Engine)
ROWS = Key("positions", SampleTable)
ATOMS: Key[tuple[Atoms, ...]] = Key("prototypes' atoms", tuple)
"""One dictionary, or none where concepts are channels."""
LEARNT_FROM = 200
"""Images from which atoms are learnt, at most."""


def open_engine(study: Prototypes, context: Context) -> Engine:
    """The network under the study's rules.

    Raises InputError for a network or a layer that the rules cannot be applied to.
    """
    example = first_images(context.manifest, context.run)
    with asked_for(f"prototypes, composite: {study.composite}"):
        engine = Engine(
            context.model,
            example,
            study.composite,
            zero_bias=study.zero_bias,
            reference=study.reference,
        )
        engine.check_layer(context.layer)
        engine.run(example, [context.layer])
    return engine


@dataclass(frozen=True)
class Gather(Pass):
    """Some positions of a few images, drawn by their ids, from which atoms are learnt."""

    study: Prototypes

    name = "gather"
    cost = "1 forward up to the layer per image"

    def samples(self, context: Context, known: Known) -> Sequence[Sample]:
        return first(context, LEARNT_FROM)

    def forwards(self, context: Context) -> float:
        return float(min(LEARNT_FROM, len(context.manifest.samples)))

    def map(self, context: Context, batch: Batch, known: Known) -> Known:
        maps = encode(context.model, batch.images, context.levels).float()
        context.model.check_finite(maps, batch.ids, context.layer)
        drawn = some_positions({"rows": maps}, batch.ids, context.seed, self.study.positions)
        return ROWS(drawn)


def learn(study: Prototypes, context: Context, known: Known) -> Known:
    """The dictionary. InputError where there are too few positions for it."""
    finder: DictionaryFinder = study.finder  # type: ignore[assignment]
    rows = finder.some(known[ROWS].column("rows"))
    count = finder.allowed(len(rows), rows.shape[1], "positions")[0]
    return ATOMS((finder.learn(rows, count, context.seed),))


def no_atoms(study: Prototypes, context: Context, known: Known) -> Known:
    """That concepts are channels."""
    return ATOMS(())


def region_relevance(run: Run, mask: np.ndarray, class_id: int, layer: str) -> Tensor:
    """Relevance [1, u, y, x] of a region's logits of a class at a layer; mask bool [h, w]."""
    where = torch.from_numpy(mask)[None].to(run.logits.device)
    start = relevance_of_logits(run.evidence, where, class_id)
    (found,) = run.at_layers(start, [layer])
    return found


def of_concepts(relevance: Tensor, worth: Tensor, atoms: Sequence[Atoms]) -> Tensor:
    """Relevance [1, q, y, x] of the layer's concepts, from that of its channels [1, u, y, x].

    Of an atom it is what its part of each position's values, its code times itself, counts for:
    R_q = code_q sum_k atom_qk R_k / A_k. The last concept is what no atom explains, so that all add
    up to the relevance of the channels.
    """
    if not atoms:
        return relevance
    per_unit = quotient(relevance, worth)
    codes = codes_of(atoms[0], worth)
    along = torch.as_tensor(atoms[0].atoms).to(per_unit)
    own = codes.to(per_unit) * torch.einsum("nuyx,qu->nqyx", per_unit, along)
    rest = relevance.sum(1, keepdim=True) - own.sum(1, keepdim=True)
    return torch.cat([own, rest], 1)


@dataclass(frozen=True)
class Describe(Pass):
    """The relevance of each region, one after the other, and whether it is right."""

    study: Prototypes

    name = "describe"
    cost = "1 forward + 1 backward of the part after the layer per region, per image"
    labels = "optional"
    keeps = True

    def forwards(self, context: Context) -> float:
        regions = min(6.0, self.study.per_image * len(self.study.class_ids(context)))
        return len(context.manifest.samples) * (1.5 + 1.0 * regions)

    @contextmanager
    def open(self, context: Context, known: Known) -> Iterator[Known]:
        yield ENGINE(open_engine(self.study, context))

    def map(self, context: Context, batch: Batch, known: Known) -> Known:
        table = SampleTable.empty(self.study.images)
        for i, name in enumerate(batch.ids):
            truth = None if batch.labels is None else batch.labels[i].cpu().numpy()
            rows = self._rows(context, name, batch.images[i : i + 1], truth, known)
            if rows is None:
                continue
            one = SampleTable.of(
                name,
                rows,
                priority=sample_priority(context.seed, name),
                classes=set(rows["class"].tolist()),
                capacity=self.study.images,
            )
            table = table.merge(one)
        return REGIONS(table)

    def _rows(
        self, context: Context, name: str, image: Tensor, labels: np.ndarray | None, known: Known
    ) -> dict[str, np.ndarray] | None:
        study, layer = self.study, context.layer
        # One by one: sums near zero magnify the rounding by which batches differ.
        run = known[ENGINE].run(image, [layer])
        context.model.check_finite(run.logits, [name])
        predicted = label_map(run.logits)[0].cpu().numpy()
        sure = run.logits.float().softmax(1).amax(1)[0].cpu().numpy()
        truth = np.full_like(predicted, -1) if labels is None else labels
        least = study.min_share * predicted.size
        found, shares, outside = list[Part](), list[Floats](), list[float]()
        for part in parts(predicted, study.class_ids(context), study.per_image, least):
            relevance = region_relevance(run, part.mask, part.class_id, layer)
            each = of_concepts(relevance, run.worth(layer), known[ATOMS]).double()
            values, total = each.sum((0, 2, 3)), float(relevance.double().abs().sum())
            size = float(values.abs().sum())
            if not size > 0:
                continue
            mask = torch.from_numpy(part.mask)[None].to(relevance.device)
            inside = float(within(relevance.abs(), mask).double().sum()) / total
            found.append(part)
            shares.append((values / size).cpu().numpy())
            outside.append(1.0 - inside)
        if not found:
            return None
        shown = context.manifest.context(context.manifest.sample(name))
        return {
            **described(found, predicted, truth, sure),
            "beside": np.full(len(found), -1 if shown is None else int(shown.any()), np.int64),
            "relevance": np.stack(shares).astype(np.float32),
            "outside": np.array(outside, np.float32),
        }


def described(
    found: Sequence[Part], predicted: np.ndarray, truth: np.ndarray, sure: np.ndarray
) -> dict[str, np.ndarray]:
    """What an image's regions look like, and what they are labelled as, from maps [h, w]."""
    masks = [one.mask for one in found]
    most = []
    for mask in masks:
        own = truth[mask & (truth >= 0)]
        most.append(int(np.bincount(own).argmax()) if 2 * len(own) >= mask.sum() else -1)
    return {
        "class": np.array([one.class_id for one in found], np.int64),
        "box": boxes(masks),
        "area": np.array([mask.mean() for mask in masks]),
        "middle": middles(masks),
        "confidence": np.array([sure[mask].mean() for mask in masks], np.float32),
        "right": np.array([right_part(one, predicted, truth) for one in masks], np.float32),
        "truth": np.array(most, np.int64),
    }
