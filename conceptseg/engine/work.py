"""What is done of a pass at once: the state of some of its samples."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from conceptseg.data.part import part
from conceptseg.data.reads import Reads, recording
from conceptseg.engine.base import ADVANCE
from conceptseg.engine.contract import Context, Pass
from conceptseg.engine.cut import Tree
from conceptseg.engine.known import Known
from conceptseg.engine.reading import read
from conceptseg.engine.start import precision
from conceptseg.engine.store import Made

if TYPE_CHECKING:
    from conceptseg.data.manifest import Sample


@dataclass(frozen=True, eq=False)
class Task:
    """A pass as the makers of its parts need it, `key` telling it from all others.

    Samples are taken in batches of `batch`.
    """

    key: str
    step: Pass
    context: Context
    known: Known
    batch: int


def map_part(task: Task, samples: Sequence[Sample], reads: Reads | None = None) -> Made:
    """The merged state of consecutive samples, and what was read of the data set to make it.

    The pass sees these samples alone. Raises InputError for a file that changes meanwhile.
    """
    reads = Reads() if reads is None else reads
    with recording(reads):
        # Rows of a table are made into samples each time they are asked for: once is enough.
        return Made(_mapped(task, tuple(samples)), reads)


def _mapped(task: Task, samples: Sequence[Sample]) -> Known:
    step, manifest = task.step, part(task.context.manifest, samples)
    context = dataclasses.replace(task.context, manifest=manifest)
    inside = task.known | _opened(task)
    tree = Tree[Known](-(-len(samples) // task.batch))
    leaf, seen = Known(), 0
    for batch in read(context, samples, step.labels, task.batch):
        with precision(context.run), context.model.watching(batch.images, batch.ids):
            leaf = leaf.merge(step.map(context, batch, inside))
        seen += len(batch)
        if seen % task.batch == 0 or seen == len(samples):
            tree.put((seen - 1) // task.batch, leaf)
            leaf = Known()
        if (advance := ADVANCE.get()) is not None:
            advance(len(batch))
    return tree.root(Known())


class _Open:
    """What the pass that is under way in this process has opened, and how to close it."""

    def __init__(self) -> None:
        self.key, self.known, self.stack = "", Known(), ExitStack()

    def close(self) -> None:
        self.key, self.known = "", Known()
        self.stack.close()


_OPEN = _Open()


def _opened(task: Task) -> Known:
    """What the pass opens, once in a process as long as its parts follow one another."""
    if _OPEN.key != task.key:
        _OPEN.close()
        _OPEN.known = _OPEN.stack.enter_context(task.step.open(task.context, task.known))
        _OPEN.key = task.key
    return _OPEN.known


@contextmanager
def opened(task: Task) -> Iterator[Known]:
    """What the pass knows besides, in this process, until its end."""
    try:
        yield task.known | _opened(task)
    finally:
        _OPEN.close()
