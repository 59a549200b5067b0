"""The passes that ask which concepts a network's mistakes lie on, and how a report shows it.

A study says where its concepts lie and how one is erased (:class:`Concepts`)::

    *mistake_steps(MyConcepts.of(study))     # among the study's steps
    known[MISTAKES]                          # for its findings, tables and report
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Hashable, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from conceptseg.data.batch import Batch
from conceptseg.data.draw import drawn
from conceptseg.data.listed import listed
from conceptseg.data.manifest import Sample
from conceptseg.engine.contract import Context, Pass, Step, Study
from conceptseg.engine.known import Key, Known
from conceptseg.network.label_map import label_map
from conceptseg.network.record import Tail
from conceptseg.report.thumbnails import outline, photo, to_rgb
from conceptseg.stats.apart import apart
from conceptseg.stats.estimate import Estimate, Sampling
from conceptseg.stats.family import Test
from conceptseg.stats.mergeable.sample_table import SampleTable, Tables
from conceptseg.study.shared.edits import Change, beyond_random, rare
from conceptseg.study.shared.mistakes import (
    KINDS,
    LEAST_EXCESS,
    Mistake,
    counted,
    judged,
    mistakes,
)
from conceptseg.study.shared.overlap import pixel_counts
from conceptseg.study.shared.sweep import One, Sweep

Edit = Callable[[Tensor], Tensor]
MOST_IMAGES = 400
ERASED_IMAGES = 30
RANDOM_EDITS = 4
"""At most so many are compared with each erasure: each is a whole pass of the tail."""
MOST_SHOWN = 12
PICTURES_EACH = 4


@dataclass(frozen=True)
class Concepts(ABC):
    """A study's concepts, q of them: where they lie, and how the layer loses one.

    Of a concept with rates in fewer than `min_images` images, or of mistakes worth less IoU than
    `smallest`, nothing is said. `random` edits are compared with each erasure; `unit` is what tests
    count.
    """

    min_images: int
    smallest: float
    random: int
    unit: Literal["auto", "group", "image"]
    picture_px: int

    @abstractmethod
    def names(self, known: Known) -> tuple[str, ...]:
        """What each is called in a sentence."""

    def lie_on(self, context: Context, known: Known) -> tuple[str, ...]:
        """What lies under each, in words, where a name is but a number; else empty."""
        return ("",) * len(self.names(known))

    @abstractmethod
    def where(
        self, context: Context, ids: Sequence[str], images: Tensor, known: Known
    ) -> tuple[Tensor, Tensor]:
        """Where each lies in n images, and where that is known: bool [n, q, h, w] each."""

    @abstractmethod
    def edits(self, context: Context, concept: int, known: Known) -> dict[Hashable, Edit] | None:
        """How the layer's activation [n, u, y, x] loses it, and `random` edits to compare with.

        Edits of one key are one, and made once for all concepts. None where the layer is not known
        to hold it.
        """


@dataclass(frozen=True)
class Erased:
    """Change of the rate of mistakes on a concept when it is erased, and what random edits do.

    `rate` is the mean before, and the change the mean, over the fewer `images` that were edited.
    """

    rate: float
    images: int
    change: Estimate
    random: float
    test: Test
    p_random: float

    @property
    def shown(self) -> bool:
        """Whether as many mistakes fewer as count at all are made, and not by most random edits."""
        fewer = self.change.below(0.0) and self.change.value <= -LEAST_EXCESS
        return self.test.passed and fewer and rare(self.p_random)


@dataclass(frozen=True)
class Mistakes:
    """All that was asked, `shown` of it in pictures; `erased` by its place in `asked`.

    `images` with labels were counted; `examples` of a place are those with most such mistakes.
    """

    names: tuple[str, ...]
    images: int
    asked: tuple[Mistake, ...]
    examples: dict[int, tuple[str, ...]]
    lie_on: tuple[str, ...] = ()
    erased: dict[int, Erased] = field(default_factory=dict)
    photos: dict[tuple[int, str], bytes] = field(default_factory=dict)
    outlines: dict[tuple[int, str], str] = field(default_factory=dict)

    @property
    def shown(self) -> list[int]:
        """The places of the mistakes that are told, the best fit first."""
        places = [i for i, one in enumerate(self.asked) if one.shown]
        return sorted(places, key=lambda i: -self.asked[i].fit)[:MOST_SHOWN]


COUNTED, ERASED = Key("counted mistakes", SampleTable), Key("erased mistakes", SampleTable)
PICTURED = Key("pictured mistakes", SampleTable)
MISTAKES = Key("mistakes", Mistakes)


def mistake_steps(concepts: Concepts) -> tuple[Step, ...]:
    """The steps that make `MISTAKES` known, for a study's plan; after its concepts are known."""

    def judge_mistakes(study: Study, context: Context, known: Known) -> Known:
        table, names = known[COUNTED], concepts.names(known)
        if not table.ids:  # no image has labels
            return MISTAKES(Mistakes(names, 0, (), {}))
        groups = [context.manifest.sample(sample_id).group for sample_id in table.ids]
        sampling = Sampling.counting(table.ids, groups, concepts.unit, context.seed)
        asked = judged(
            table,
            sampling,
            study.class_ids(context),
            smallest=concepts.smallest,
            min_images=concepts.min_images,
            seed=context.seed,
        )
        found = Mistakes(names, len(table.ids), tuple(asked), {}, concepts.lie_on(context, known))
        group = dict(zip(table.ids, groups, strict=True))
        examples = {}
        for i in found.shown:
            worst = _worst(table, asked[i])
            order = apart([group[name] for name in worst])[:PICTURES_EACH].tolist()
            examples[i] = tuple(worst[place] for place in order)
        return MISTAKES(replace(found, examples=examples))

    def judge_erased(study: Study, context: Context, known: Known) -> Known:
        found, table, changes = known[MISTAKES], known[ERASED], {}
        rates = table.column("rates") if table.ids else np.empty((0, len(found.shown), 1))
        for place, i in enumerate(found.shown):
            rows = np.flatnonzero(np.isfinite(rates[:, place, 0]))
            if len(rows):
                own = [table.ids[row] for row in rows.tolist()]
                groups = [context.manifest.sample(name).group for name in own]
                sampling = Sampling.counting(own, groups, concepts.unit, context.seed)
                lost = rates[rows, place, 1:] - rates[rows, place, :1]
                changes[i] = Change(lost[:, 0], lost[:, 1:], rates[rows, place, 0], sampling)
        tests = beyond_random(list(changes.values()), seed=context.seed)
        erased = {
            i: Erased(
                change.to_lose,
                len(change.clean),
                change.estimate,
                float(change.random.mean()),
                test,
                change.p_random,
            )
            for (i, change), test in zip(changes.items(), tests, strict=True)
        }
        return MISTAKES(replace(found, erased=erased))

    return (
        CountMistakes(concepts),
        judge_mistakes,
        EraseMistakes(concepts),
        judge_erased,
        PictureMistakes(concepts),
    )


def _worst(table: SampleTable, one: Mistake) -> tuple[str, ...]:
    """The images with mistakes of that kind on that concept, those with most first."""
    made = table.column("made")[:, one.concept, 0, KINDS.index(one.kind), one.class_id]
    order = np.argsort(-made, kind="stable")
    return tuple(table.ids[i] for i in order.tolist() if made[i])


@dataclass(frozen=True)
class CountMistakes(Pass):
    """What is mistaken on each concept and off it, in images with labels that hashing draws."""

    concepts: Concepts

    name = "mistakes"
    cost = "1 forward per image with labels, at most 400"
    labels = "required"

    def samples(self, context: Context, known: Known) -> Sequence[Sample]:
        own = listed(context.manifest.labelled_samples())
        return list(map(context.manifest.sample, drawn(context.seed, own.ids, MOST_IMAGES)))

    def forwards(self, context: Context) -> float:
        return float(len(self.samples(context, Known())))

    def map(self, context: Context, batch: Batch, known: Known) -> Known:
        classes = len(context.model.classes)
        with torch.no_grad():
            prediction = label_map(context.model(batch.images))
        assert batch.labels is not None
        rows = counted(
            *mistakes(batch.labels, prediction, classes),
            *self.concepts.where(context, batch.ids, batch.images, known),
        )
        sizes = pixel_counts(prediction, batch.labels, classes).transpose(0, 1)
        return COUNTED(SampleTable.batch(batch.ids, rows | {"sizes": sizes.numpy()}))

    def finish(self, context: Context, state: Known, known: Known) -> Known:
        return COUNTED(state.get(COUNTED, SampleTable.empty()))


@dataclass(frozen=True)
class EraseMistakes(Pass):
    """The tail of the network runs for each mistake that was shown, and for each random edit."""

    concepts: Concepts

    name = "mistakes erased"
    cost = "1 forward + 1 tail per edit, of mistakes shown and random ones, on images that hold any"
    labels = "required"

    def samples(self, context: Context, known: Known) -> Sequence[Sample]:
        wanted = {name for i in known[MISTAKES].shown for name in self._of(i, context, known)}
        return context.manifest.named(wanted)

    def forwards(self, context: Context) -> float:
        return 0.0  # none, unless mistakes are found

    def _of(self, place: int, context: Context, known: Known) -> list[str]:
        own = _worst(known[COUNTED], known[MISTAKES].asked[place])
        return drawn(context.seed, own, ERASED_IMAGES)

    def map(self, context: Context, batch: Batch, known: Known) -> Known:
        found, rows = known[MISTAKES], []
        without: dict[Hashable, Tensor] = {}  # predictions, by edit
        with torch.no_grad():
            tail = Tail.of(context.model, batch.images, context.levels)
            clean = label_map(tail.logits)
            shows, told = self.concepts.where(context, batch.ids, batch.images, known)
            assert batch.labels is not None
            possible, _ = mistakes(batch.labels, clean, len(context.model.classes))
            random = min(self.concepts.random, RANDOM_EDITS)
            for i in found.shown:
                one, own = found.asked[i], set(self._of(i, context, known))
                edits = self.concepts.edits(context, one.concept, known)
                meant = torch.tensor([name in own and edits is not None for name in batch.ids])
                on = (shows & told)[:, one.concept] & possible[
                    :, KINDS.index(one.kind), one.class_id
                ]
                predictions = [clean]
                for key, edit in list((edits or {}).items())[: 1 + random] if meant.any() else ():
                    if key not in without:
                        without[key] = label_map(tail.resume(edit(tail.activation))).short()
                    predictions.append(without[key])
                rates = [_rate(each, one, on) for each in predictions]
                rates += [rates[0]] * (2 + random - len(rates))
                rows.append(torch.where(meant[:, None], torch.stack(rates, 1), torch.nan))
        return ERASED(SampleTable.batch(batch.ids, {"rates": torch.stack(rows, 1).numpy()}))

    def finish(self, context: Context, state: Known, known: Known) -> Known:
        return ERASED(state.get(ERASED, SampleTable.empty()))


def _rate(prediction: Tensor, one: Mistake, on: Tensor) -> Tensor:
    """The rate of mistakes in each image, [n], of `on` [n, h, w], where they could be made."""
    called = prediction == one.class_id
    made = on & (called if one.kind == "false" else ~called)
    return (made.sum((1, 2)) / on.sum((1, 2)).clamp(min=1)).cpu()


@dataclass(frozen=True)
class PictureMistakes(Sweep):
    """A few images of each mistake that was shown: where the concept lies, and what is mistaken."""

    concepts: Concepts

    name = "mistakes pictured"
    cost = "1 forward per image that is shown"
    labels = "required"
    rows = PICTURED

    def wanted(self, known: Known) -> Collection[str]:
        return {name for names in known[MISTAKES].examples.values() for name in names}

    def forwards(self, context: Context) -> float:
        return 0.0  # none, unless mistakes are found

    def look(self, context: Context, one: One, known: Known) -> Tables:
        assert one.labels is not None
        found, side = known[MISTAKES], self.concepts.picture_px
        with torch.no_grad():
            prediction = label_map(context.model(one.image))
            shows, told = self.concepts.where(context, (one.id,), one.image, known)
        _, made = mistakes(one.labels[None], prediction, len(context.model.classes))
        image = one.image[0].float().cpu().numpy()
        places = [i for i, names in found.examples.items() if one.id in names]
        photos, lines = [], []
        for asked in (found.asked[i] for i in places):
            on = (shows & told)[0, asked.concept]
            wrong = (made[0, KINDS.index(asked.kind), asked.class_id] & on).cpu().numpy()
            photos.append(np.frombuffer(photo(marked(image, wrong), side), np.uint8))
            lines.append(outline(on.cpu().numpy()))
        return {
            "place": np.array(places),
            "photo": np.concatenate(photos),
            "bytes": np.array([len(data) for data in photos]),
            "outline": np.array(lines, np.str_),
        }

    def gathered(self, table: SampleTable, known: Known) -> Known:
        photos, lines = {}, {}
        for name, own in table.tables.items():
            each = np.split(own["photo"], np.cumsum(own["bytes"])[:-1])
            for i, data, line in zip(own["place"].tolist(), each, own["outline"], strict=True):
                photos[i, name], lines[i, name] = data.tobytes(), str(line)
        return MISTAKES(replace(known[MISTAKES], photos=photos, outlines=lines))


def marked(image: np.ndarray, wrong: np.ndarray) -> np.ndarray:
    """An image [c, h, w] in [0, 1] as red, green, blue, with the pixels of a mask [h, w] in red."""
    rgb = to_rgb(image).transpose(2, 0, 1) / 255
    red = np.array([0.9, 0.1, 0.1])[:, None, None]
    return np.where(wrong, 0.35 * rgb + 0.65 * red, rgb)
