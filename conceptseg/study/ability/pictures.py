"""Third sweep: objects that an early layer saw and the output lost, and the best units' maps."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from conceptseg.data.batch import Batch
from conceptseg.data.manifest import Sample
from conceptseg.engine.contract import Context, Pass
from conceptseg.engine.known import Key, Known
from conceptseg.network.label_map import label_map
from conceptseg.report.thumbnails import outlined, overlay
from conceptseg.stats.mergeable.sample_table import SampleTable
from conceptseg.study.ability.assess import ASSESSED
from conceptseg.study.ability.config import Ability
from conceptseg.study.ability.forgotten import Forgotten
from conceptseg.study.ability.gather import PREPARED, READINGS, recorded
from conceptseg.study.ability.linear import resized
from conceptseg.study.ability.read import ABILITIES, by_other_half
from conceptseg.study.ability.units import pooled_dice
from conceptseg.study.shared.studied import labelled

PICTURES = Key("pictures", SampleTable)
"""A picture's bytes by its name, in place of a sample's."""
DRAWN: Key[dict[str, bytes]] = Key("drawn", dict)


@dataclass(frozen=True)
class Pictures(Pass):
    """One forward of each image that is shown."""

    study: Ability

    name = "pictures"
    cost = "1 forward per image that is shown"
    labels = "required"

    def forwards(self, context: Context) -> float:
        shown = self.study.gallery + len(self.study.class_ids(context))
        return float(min(shown, len(context.manifest.samples)))

    def samples(self, context: Context, known: Known) -> Sequence[Sample]:
        wanted = {one.sample for one in shown(self.study, known)}
        wanted |= {name for name, _ in exemplars(self.study, context, known).values()}
        return [sample for sample in labelled(context) if sample.id in wanted]

    def map(self, context: Context, batch: Batch, known: Known) -> Known:
        logits, features = recorded(context.model, batch.images, known[PREPARED].layers)
        assert batch.labels is not None
        side, drawn = self.study.picture_px, dict[str, bytes]()
        lost, units_of = shown(self.study, known), exemplars(self.study, context, known)
        for i, sample_id in enumerate(batch.ids):
            image, truth, prediction = (
                each.cpu().numpy()
                for each in (batch.images[i].float(), batch.labels[i], label_map(logits[i]))
            )
            for n, one in enumerate(lost):
                if one.sample == sample_id:
                    seen = self._seen(known, one, features[one.layer][i : i + 1], prediction.shape)
                    for what, mask in (("truth", truth), ("layer", seen), ("output", prediction)):
                        drawn[f"{n}-{what}"] = outlined(image, mask == one.class_id, side)
            for class_id, (name, units) in units_of.items():
                for rank, (layer, unit) in enumerate(units if name == sample_id else ()):
                    values, mask = features[layer][i, unit], truth == class_id
                    drawn[f"unit-{class_id}-{rank}"] = unit_picture(image, values, mask, side)
        table = SampleTable.empty()
        for name, data in drawn.items():
            table = table.merge(SampleTable.of(name, {"data": np.frombuffer(data, np.uint8)}))
        return PICTURES(table)

    def _seen(self, known: Known, one: Forgotten, x: Tensor, size: Sequence[int]) -> np.ndarray:
        """The class map [h, w] by which a layer, of features x [1, u, y, x], saw an object."""
        other = torch.tensor([1 - known[PREPARED].half[one.sample]])
        maps = by_other_half(x, known[READINGS]["trained", one.layer], other, size)
        return np.asarray(maps["global"][0].cpu())

    def finish(self, context: Context, state: Known, known: Known) -> Known:
        table = state.get(PICTURES, SampleTable.empty())
        return DRAWN({name: own["data"].tobytes() for name, own in table.tables.items()})


def unit_picture(image: np.ndarray, values: Tensor, mask: np.ndarray, side: int) -> bytes:
    """A unit's map [y, x] over its image, from its smallest to its largest value."""
    large = resized(values[None, None].cpu(), image.shape[1:])[0, 0].numpy()
    low, high = float(large.min()), float(large.max())
    high = high if high > low else low + 1.0
    return overlay(image, large, low, high, scale="cividis", mask=mask, side=side)


def shown(study: Ability, known: Known) -> list[Forgotten]:
    return list(known[ASSESSED].forgotten[: study.gallery])


def exemplars(
    study: Ability, context: Context, known: Known
) -> Mapping[int, tuple[str, list[tuple[str, int]]]]:
    """Per class: the image in which its best unit reads it best, and its best units."""
    assessed, abilities = known[ASSESSED], known[ABILITIES]
    result = {}
    for class_id, leaders in assessed.leaders.items():
        if not leaders:
            continue
        best = leaders[0]
        counts = abilities.units[best.layer][:, best.unit, class_id]
        dice = np.array([float(pooled_dice(one[None])) if one[2] else -1.0 for one in counts])
        row = abilities.unit_rows[int(np.argmax(dice))]
        units = [(one.layer, one.unit) for one in leaders]
        result[class_id] = (abilities.ids[row], units)
    return result
