"""Third sweep: objects that an early layer saw and the output lost, and the best units' maps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor

from conceptseg.engine.contract import Context, Pass
from conceptseg.engine.known import Key, Known
from conceptseg.report.thumbnails import outlined, overlay
from conceptseg.stats.mergeable.sample_table import SampleTable
from conceptseg.study.ability.assess import ASSESSED
from conceptseg.study.ability.forgotten import Forgotten
from conceptseg.study.ability.gather import PREPARED, READINGS, Reading, labelled, recorded
from conceptseg.study.ability.read import ABILITIES
from conceptseg.study.ability.units import pooled_dice

if TYPE_CHECKING:
    from conceptseg.data.batch import Batch
    from conceptseg.data.manifest import Sample
    from conceptseg.study.ability.config import Ability


PICTURES = Key("pictures", SampleTable)
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
        ready = known[PREPARED]
        logits, features = recorded(context.model, batch.images, ready.layers)
        assert batch.labels is not None
        side = self.study.picture_px
        table = SampleTable.empty()
        for i, sample_id in enumerate(batch.ids):
            image = batch.images[i].float().cpu().numpy()
            truth = batch.labels[i].cpu().numpy()
            prediction = logits[i].argmax(0).cpu().numpy()
            drawn: dict[str, bytes] = {}
            for n, one in enumerate(shown(self.study, known)):
                if one.sample != sample_id:
                    continue
                x = features[one.layer][i : i + 1]
                reading = known[READINGS]["trained", one.layer]
                seen = read_map(x, reading, 1 - ready.half[sample_id], prediction.shape)
                for what, mask in (("truth", truth), ("layer", seen), ("output", prediction)):
                    drawn[f"{n}-{what}"] = outlined(image, mask == one.class_id, side)
            for class_id, (name, units) in exemplars(self.study, context, known).items():
                for rank, (layer, unit) in enumerate(units if name == sample_id else ()):
                    x = features[layer][i, unit]
                    mask = truth == class_id
                    drawn[f"unit-{class_id}-{rank}"] = unit_picture(
                        image, x.cpu().numpy(), mask, side
                    )
            joined = b"".join(drawn.values())
            one_table: dict[str, np.ndarray] = {
                "names": np.frombuffer("\n".join(drawn).encode(), dtype=np.uint8),
                "sizes": np.array([len(data) for data in drawn.values()], dtype=np.int64),
                "data": np.frombuffer(joined, dtype=np.uint8),
            }
            table = table.merge(SampleTable.of(sample_id, one_table))
        return PICTURES(table)

    def finish(self, context: Context, state: Known, known: Known) -> Known:
        table = state.get(PICTURES, SampleTable.empty())
        found: dict[str, bytes] = {}
        for sample_id in table.ids:
            one = table.tables[sample_id]
            names = one["names"].tobytes().decode().split("\n") if len(one["sizes"]) else []
            ends = np.cumsum(one["sizes"])
            parts = np.split(one["data"], ends[:-1]) if len(names) else []
            found |= {name: part.tobytes() for name, part in zip(names, parts, strict=True)}
        return DRAWN(found)


def read_map(x: Tensor, reading: Reading, half: int, size: tuple[int, int]) -> np.ndarray:
    """The class map [h, w] of one image's features [1, u, y, x] by the prototypes of a half."""
    import torch

    from conceptseg.study.ability.linear import nearest

    mu = torch.from_numpy(reading.prototypes[half].astype(np.float32)).to(x.device)[None]
    scale = torch.from_numpy(reading.scale[half].astype(np.float32)).to(x.device)
    classes: np.ndarray = nearest(x, mu, scale, size)[0].cpu().numpy()
    return classes


def unit_picture(image: np.ndarray, values: np.ndarray, mask: np.ndarray, side: int) -> bytes:
    """A unit's map [y, x] over its image, from its smallest to its largest value."""
    import torch

    from conceptseg.study.ability.linear import resized

    size = (image.shape[1], image.shape[2])
    large = resized(torch.from_numpy(values)[None, None].float(), size)[0, 0].numpy()
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
