"""Last pass: where atoms show in the images that hold most of them, and what repairs change."""

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from conceptseg.engine.contract import Context
from conceptseg.engine.known import Key, Known
from conceptseg.network.label_map import label_map
from conceptseg.report.panels import Palette, panels
from conceptseg.report.thumbnails import outlined
from conceptseg.stats.mergeable.sample_table import SampleTable, Tables
from conceptseg.study.dictionary.assess import ATOMS, LOSSES
from conceptseg.study.dictionary.config import Dictionary
from conceptseg.study.dictionary.learn import LEARNT
from conceptseg.study.dictionary.repair import CHOSEN_ATOMS, FAILURES, editable
from conceptseg.study.dictionary.survey import SURVEY
from conceptseg.study.shared.atoms import changed, codes_of
from conceptseg.study.shared.edits import Editable
from conceptseg.study.shared.packed import packed_by_name, together_by_name
from conceptseg.study.shared.sweep import One, Sweep

MENDED = 3
"""Failing images of each class that are shown before and after the repair."""
SHOWS = 0.5
"""An atom is outlined where its code is beyond this share of the image's largest."""

SHOWN_ATOMS: Key[tuple[tuple[int, tuple[str, ...]], ...]] = Key("shown atoms", tuple)
"""Atoms with a card, those that cost most first, each with the images that hold most of it."""
PICTURED = Key("pictured", SampleTable)
DRAWN: Key[dict[str, bytes]] = Key("drawn", dict)
"""Pictures by their key in the result."""


def atom_key(atom: int, image: str) -> str:
    return f"atom {atom} {image}"


def mended_key(class_id: int, image: str, which: str) -> str:
    return f"repair {class_id} {image} {which}"


def choose_shown(study: Dictionary, context: Context, known: Known) -> Known:
    """Atoms in use first, then by what their erasure costs at most; images by the largest code."""
    table, cost = known[SURVEY], dict[int, tuple[bool, float]]()
    for one in known[LOSSES]:
        here = (one.used, -one.change.value)
        cost[one.atom] = max(cost.get(one.atom, here), here)
    repaired = set(known[CHOSEN_ATOMS].values())
    order = sorted(
        (one.number for one in known[ATOMS]),
        key=lambda a: (a not in repaired, *(-x for x in cost.get(a, (False, 0.0))), a),
    )
    peak = table.column("peak")
    chosen = []
    for atom in order[: study.cards]:
        best = np.argsort(-peak[:, atom], kind="stable")[: study.exemplars]
        chosen.append((atom, tuple(table.ids[i] for i in best if peak[i, atom] > 0)))
    return SHOWN_ATOMS(tuple(chosen))


@dataclass(frozen=True)
class Pictures(Sweep):
    """The chosen images once more."""

    study: Dictionary

    name = "pictures"
    cost = "1 forward per image that is shown"
    labels = "optional"
    rows = PICTURED

    def wanted(self, known: Known) -> Collection[str]:
        shown = {image for _, images in known[SHOWN_ATOMS] for image in images}
        return shown | {image for one in known[FAILURES] for image in one.images[1][:MENDED]}

    def forwards(self, context: Context) -> float:
        shown = self.study.cards * self.study.exemplars
        return float(min(len(context.manifest.samples), shown))

    def look(self, context: Context, one: One, known: Known) -> Tables:
        layer = editable(context, one)
        with torch.no_grad():
            codes = codes_of(known[LEARNT].atoms, layer.tail.activation)
            drawn = [
                *self._atoms(one, codes, known),
                *self._repairs(context, one, layer, codes, known),
            ]
        return packed_by_name(drawn)

    def _atoms(self, one: One, codes: Tensor, known: Known) -> list[tuple[str, bytes]]:
        image, drawn = one.image[0].float().cpu().numpy(), []
        for atom, images in known[SHOWN_ATOMS]:
            if one.id in images:
                large = F.interpolate(codes[:, atom : atom + 1].float(), one.size, mode="bilinear")[
                    0, 0
                ]
                mask = (large > SHOWS * large.max()).cpu().numpy()
                data = outlined(image, mask, self.study.picture_px)
                drawn.append((atom_key(atom, one.id), data))
        return drawn

    def _repairs(
        self, context: Context, one: One, layer: Editable, codes: Tensor, known: Known
    ) -> list[tuple[str, bytes]]:
        drawn, activation = list[tuple[str, bytes]](), layer.tail.activation
        palette = Palette.of(context.manifest, context.model.classes)
        image = one.image[0].float().cpu().numpy()
        truth = None if one.labels is None else one.labels.cpu().numpy()
        for failure in known[FAILURES]:
            if one.id not in failure.images[1][:MENDED]:
                continue
            q = known[CHOSEN_ATOMS][failure.class_id]
            step = float(failure.mean[q]) - codes[:, q]
            edited = layer.tail.resume(changed(activation, step, known[LEARNT].atoms.atoms[q]))
            for which, seen in (("before", layer.clean), ("after", label_map(edited))):
                prediction = seen[0].cpu().numpy()
                data = panels(image, truth, prediction, palette, self.study.picture_px)
                drawn.append((mended_key(failure.class_id, one.id, which), data))
        return drawn

    def gathered(self, table: SampleTable, known: Known) -> Known:
        return DRAWN(together_by_name(table))
