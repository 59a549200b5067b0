"""A pass over chosen images that looks at them one by one, and keeps a few arrays of each."""

from abc import abstractmethod
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from conceptseg.data.batch import Batch
from conceptseg.data.manifest import Sample
from conceptseg.engine.contract import Context, Pass
from conceptseg.engine.known import Key, Known
from conceptseg.stats.mergeable.sample_table import SampleTable, Tables


@dataclass(frozen=True)
class One:
    """One image [1, c, h, w] with its labels [h, w], if it has some."""

    id: str
    image: Tensor
    labels: Tensor | None

    @property
    def size(self) -> tuple[int, int]:
        return int(self.image.shape[2]), int(self.image.shape[3])


class Sweep(Pass):
    """What `look` makes of each image that is `wanted`, kept under `rows`."""

    rows: ClassVar[Key[SampleTable]]

    @abstractmethod
    def wanted(self, known: Known) -> Collection[str]:
        """The ids of the images to visit."""

    @abstractmethod
    def look(self, context: Context, one: One, known: Known) -> Tables:
        """The arrays of an image, of the same names for each."""

    def gathered(self, table: SampleTable, known: Known) -> Known:
        """What of the arrays of all images later steps know."""
        return Known()

    def samples(self, context: Context, known: Known) -> Sequence[Sample]:
        wanted = self.wanted(known)
        return context.manifest.named(wanted)

    def map(self, context: Context, batch: Batch, known: Known) -> Known:
        table = SampleTable.empty()
        for i, sample_id in enumerate(batch.ids):
            labels = None if batch.labels is None else batch.labels[i]
            one = One(sample_id, batch.images[i : i + 1], labels)
            table = table.merge(SampleTable.of(sample_id, self.look(context, one, known)))
        return self.rows(table)

    def finish(self, context: Context, state: Known, known: Known) -> Known:
        return self.gathered(state.get(self.rows, SampleTable.empty()), known)
