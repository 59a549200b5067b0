"""The one loop over a study's steps: passes with their parts, and functions of what is known.

Whatever a step found out is kept beside the parts, so a run that broke off repeats none of it.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from conceptseg.data.ledger import Ledger
from conceptseg.data.reads import Reads, recording
from conceptseg.engine.base import Engine, each
from conceptseg.engine.contract import Context, Pass, Study
from conceptseg.engine.cut import ON_DEVICE, WORK, Cut, Tree
from conceptseg.engine.known import Known
from conceptseg.engine.progress import Progress
from conceptseg.engine.store import CarryStore, DamagedError, Made, ShardStore
from conceptseg.engine.work import ADVANCE, Task, map_part, opened
from conceptseg.settings import digest

if TYPE_CHECKING:
    from conceptseg.data.manifest import Sample

T = TypeVar("T")


@dataclass(frozen=True)
class Swept:
    """What one pass did: images seen, parts in all and parts found saved."""

    images: int
    shards: int
    resumed: int


@dataclass(frozen=True)
class Taken:
    """A step that was taken, in so many seconds, or found taken (`resumed`)."""

    name: str
    seconds: float
    resumed: bool = False
    swept: Swept | None = None


@dataclass
class Steps:
    """The steps of a study, as far as they were taken; the ledger tells what was read for them."""

    study: Study
    context: Context
    out: Path
    progress: Progress
    engine: Engine
    ledger: Ledger
    known: Known = field(default_factory=Known)
    gathered: Known = field(default_factory=Known)
    _begun: bool = False

    def take(self, key: str) -> tuple[Known, list[Taken]]:
        """Take all: what is known then, and what each did.

        `key` hashes all that every step depends on; a pass adds its samples, so that nothing is
        ever resumed on another past.
        """
        taken = []
        for step in self.study.plan():
            started = time.monotonic()
            if isinstance(step, Pass):
                self._begun, self.gathered = True, Known()  # freed before the next pass gathers
                key, swept, resumed = self._sweep(step, key)
                seconds = time.monotonic() - started
                taken.append(Taken(step.name, seconds, resumed, swept))
            else:
                resumed = self._find_out(step, key)
                taken.append(Taken(step.__name__, time.monotonic() - started, resumed))
        return self.gathered | self.known, taken

    def _find_out(self, step: Callable[[Any, Context, Known], Known], key: str) -> bool:
        """Have a function say what follows from what is known; whether it was kept."""
        known = self.gathered | self.known
        self.progress.begin(step.__name__, None, 0)
        found, resumed = self._kept(
            step.__module__, step.__name__, key, lambda: step(self.study, self.context, known)
        )
        self.known |= found
        self.progress.end()
        return resumed

    def _sweep(self, step: Pass, key: str) -> tuple[str, Swept, bool]:
        """Make one pass: its key, what it did, and whether its end was found taken."""
        context, progress = self.context, self.progress
        samples = step.samples(context, self.known)
        key = digest([key, step.name, _ids_digest(samples)])
        parts = cut(step, context, samples) if samples else Cut(0, 1)
        ranges = parts.parts()
        task = Task(key, step, context, self.known, parts.batch)
        store = ShardStore(self.out, step.name, key, _packages(step.__module__))
        progress.begin(step.name, len(samples), len(ranges))
        tree = Tree[Known](len(ranges))
        with opened(task) as inside:
            todo = []
            for number, (start, stop) in enumerate(ranges):
                shard = self._loaded(lambda a=start, b=stop: store.load(a, b))  # type: ignore[misc]
                if shard is None:
                    todo.append(number)
                    continue
                progress.advance(stop - start)
                progress.shard(number + 1, True)
                self.ledger.take(shard.reads)
                tree.put(number, shard.known)
            for number, shard in self._mapped(task, samples, [ranges[n] for n in todo]):
                self.ledger.take(shard.reads)
                store.save(*ranges[todo[number]], shard)
                progress.shard(todo[number] + 1, False)
                tree.put(todo[number], shard.known)
            self.gathered = state = tree.root(Known())
            found, resumed = self._kept(
                step.__module__, step.name, key, lambda: step.finish(context, state, inside)
            )
            self.known |= found
        progress.end()
        return key, Swept(len(samples), len(ranges), len(ranges) - len(todo)), resumed

    def _mapped(
        self, task: Task, samples: Sequence[Sample], ranges: Sequence[tuple[int, int]]
    ) -> Iterator[tuple[int, Made]]:
        """Parts with their numbers, as the engine makes them."""
        if not ranges:
            return
        engine, progress = self.engine, self.progress
        shared = engine.share(task)
        calls = [(map_part, (shared, samples[start:stop])) for start, stop in ranges]
        # Where the work is done in this process, images count as they are done.
        with _told(progress.advance if engine.here else lambda images: None):
            for number, made in each(engine, calls):
                if not engine.here:
                    progress.advance(ranges[number][1] - ranges[number][0])
                yield number, made

    def _kept(
        self, module: str, name: str, key: str, find_out: Callable[[], Known]
    ) -> tuple[Known, bool]:
        """What a step finds out, and whether it was there already.

        Before the first pass nothing is kept: it costs little, and a study that is refused there
        leaves nothing behind.
        """
        if not self._begun:
            return find_out(), False
        store, own = CarryStore(self.out, _packages(module)), digest([key, module, name])
        made = self._loaded(lambda: store.load(name, own))
        resumed = made is not None
        if made is None:
            reads = Reads()
            with recording(reads):
                made = Made(find_out(), reads)
        self.ledger.take(made.reads)
        if not resumed:
            store.save(name, own, made)
        return made.known, resumed

    def _loaded(self, load: Callable[[], T | None]) -> T | None:
        try:
            return load()
        except DamagedError as error:
            self.progress.note(f"saved shard {error}; it is computed again")
            return None


@contextmanager
def _told(advance: Callable[[int], None]) -> Iterator[None]:
    token = ADVANCE.set(advance)
    try:
        yield
    finally:
        ADVANCE.reset(token)


def _ids_digest(samples: Sequence[Sample]) -> str:
    """SHA-256 of which samples a pass visits; what they are is in the key that all steps share."""
    total = hashlib.sha256()
    for sample in samples:
        total.update(f"{sample.id}\n".encode())
    return total.hexdigest()


def _packages(module: str) -> frozenset[str]:
    return frozenset({module.partition(".")[0]})


def cut(step: Pass, context: Context, samples: Sequence[Sample]) -> Cut:
    """Parts of like cost, for a pass over some samples: as its passes of the network and the size
    of the first image tell, or about as many as `run.shards` asks for."""
    run, count = context.run, len(samples)
    height, width = context.manifest.size(samples[0])
    work = WORK * (1 if run.device.startswith("cpu") else ON_DEVICE)
    each_image = max(step.forwards(context) / count, 1.0) * height * width
    return Cut.of(count, run.batch_size, max(1.0, work / each_image), run.shards)
