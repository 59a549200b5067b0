"""The one loop over a study's steps: passes with their parts, and functions of what is known.

Whatever a step found out is kept beside the parts, so a run that broke off repeats none of it.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, TypeVar

from conceptseg.data.ledger import Ledger
from conceptseg.data.reads import Reads, recording
from conceptseg.engine import provenance
from conceptseg.engine.base import ADVANCE, Engine, each
from conceptseg.engine.compared import map_elsewhere, take, taken_in
from conceptseg.engine.contract import Context, Pass, Step, Study
from conceptseg.engine.cut import ON_DEVICE, WORK, Cut, Tree, as_before
from conceptseg.engine.cut import ranges as cut_into
from conceptseg.engine.fits import Fits, made_by
from conceptseg.engine.job import Job
from conceptseg.engine.known import Known
from conceptseg.engine.progress import Progress, Quiet
from conceptseg.engine.shelf import Shelf
from conceptseg.engine.store import CarryStore, DamagedError, Made, ShardStore
from conceptseg.engine.work import Task, map_part, opened
from conceptseg.errors import InputError
from conceptseg.settings import digest

if TYPE_CHECKING:
    from conceptseg.data.manifest import Sample
    from conceptseg.result.saved import Result

T = TypeVar("T")


@dataclass(frozen=True)
class Swept:
    """What one pass did: images seen, parts in all and parts found saved."""

    images: int
    shards: int
    resumed: int


@dataclass(frozen=True)
class Taken:
    """A step that was taken, in so many seconds, or found taken (`resumed`).

    `fits` are those that its conclusions took, made and found kept.
    """

    name: str
    seconds: float = 0.0
    resumed: bool = False
    swept: Swept | None = None
    fits: tuple[int, int] = (0, 0)


@dataclass
class Steps:
    """The steps of a study, as far as they were taken.

    `engine` makes the parts of passes, `fitting` the fits of what follows from them. `ledger` tells
    what was read. What is finished is kept on `shelf`. `key` hashes all that every step depends on;
    each pass adds its samples, so that nothing is ever resumed on another past.
    """

    study: Study
    context: Context
    shelf: Shelf
    progress: Progress
    engine: Engine
    fitting: Engine
    ledger: Ledger
    key: str
    known: Known = field(default_factory=Known)
    gathered: Known = field(default_factory=Known)
    taken: list[Taken] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    _begun: bool = False
    _proven: bool = False

    def take(self) -> Result:
        """Take all, to the result that is concluded of what is known then."""
        plan = self.study.plan()
        self.progress.expect([step.name for step in plan if isinstance(step, Pass)])
        self.go(plan)
        self.progress.note("all steps are done; drawing conclusions")
        started, self.known = time.monotonic(), self.gathered | self.known
        with self._fitting("finish", type(self.study).__module__) as fits:
            result = self.study.finish(self.context, self.known)
        seconds = time.monotonic() - started
        self.taken.append(Taken("finish", seconds, fits=fits.counts))
        return result

    def go(self, plan: Sequence[Step]) -> None:
        """Take some steps, each of which may know what those before it have found out."""
        for step in plan:
            started = time.monotonic()
            if isinstance(step, Pass):
                self._begun, self.gathered = True, Known()  # freed before the next pass gathers
                taken = self.sweep(step)
            else:
                taken = self._find_out(step)
            self.taken.append(replace(taken, seconds=time.monotonic() - started))

    def _find_out(self, step: Callable[[Any, Context, Known], Known]) -> Taken:
        """Have a function say what follows from what is known."""
        known = self.gathered | self.known
        self.progress.begin(step.__name__, None, 0)
        taken = self._kept(
            step.__module__, step.__name__, lambda: step(self.study, self.context, known)
        )
        self.progress.end()
        return taken

    def sweep(self, step: Pass) -> Taken:
        """Make one pass; what it gathers is `gathered` until the next one."""
        context, progress = self.context, self.progress
        samples = step.samples(context, self.known)
        self.key = key = digest([self.key, step.name, _ids_digest(samples)])
        parts = cut(step, context, samples) if samples else Cut(0, 1)
        task = Task(key, step, context, self.known, parts.batch)
        store = ShardStore(self.shelf, step.name, key, _packages(step.__module__))
        before = as_before(parts.images, store.saved()) or parts.images_per_part
        ranges = cut_into(parts.images, before)
        if before != parts.images_per_part:
            progress.note(f"{step.name}: {before} images in each shard, as in the run before")
        progress.begin(step.name, len(samples), len(ranges))
        tree = Tree[Known](len(ranges))
        with opened(task) as inside:
            todo = []
            for number, (start, stop) in enumerate(ranges):
                shard = self._loaded(lambda a=start, b=stop: self._found(store, a, b))  # type: ignore[misc]
                if shard is None:
                    todo.append(number)
                    continue
                progress.advance(stop - start)
                progress.shard(number + 1, True)
                tree.put(number, shard.known)
            for number, shard in self._mapped(task, samples, store, [ranges[n] for n in todo]):
                progress.shard(todo[number] + 1, False)
                tree.put(todo[number], shard.known)
            self.gathered = state = tree.root(Known())
            taken = self._kept(
                step.__module__, step.name, lambda: step.finish(context, state, inside)
            )
        progress.end()
        return replace(taken, swept=Swept(len(samples), len(ranges), len(ranges) - len(todo)))

    def _found(self, store: ShardStore, start: int, stop: int) -> Made | None:
        """A part that was saved, held against what this machine has if another one has left it."""
        made = store.load(start, stop)
        if made is not None:
            try:
                take(made, self.context.manifest, self.ledger)
            except InputError as error:
                if not made.host:
                    raise
                raise DamagedError(f"{store.name(start, stop)}: {error}") from error
        return made

    def _mapped(
        self,
        task: Task,
        samples: Sequence[Sample],
        store: ShardStore,
        ranges: Sequence[tuple[int, int]],
    ) -> Iterator[tuple[int, Made]]:
        """Parts with their numbers, as the engine makes them, when they are saved."""
        if not ranges:
            return
        engine, progress = self.engine, self.progress
        if engine.elsewhere:
            yield from self._elsewhere(task, samples, store, ranges)
            return
        shared = engine.share(task)
        calls = [(map_part, (shared, samples[start:stop])) for start, stop in ranges]
        with _told(progress if engine.here else Quiet()):
            for number, made in each(engine, calls):
                if not engine.here:
                    progress.advance(ranges[number][1] - ranges[number][0])
                self.ledger.take(made.reads)
                store.save(*ranges[number], made)
                yield number, made

    def _elsewhere(
        self,
        task: Task,
        samples: Sequence[Sample],
        store: ShardStore,
        ranges: Sequence[tuple[int, int]],
    ) -> Iterator[tuple[int, Made]]:
        """The same by other machines, of whose files nothing is taken for granted.

        With a store that all of them reach they leave parts there; else these come to this one.
        """
        self._prove()
        shared, manifest = self.engine.share(task), self.context.manifest
        far = None if self.context.run.store is None else store
        calls = ((map_elsewhere, (shared, tuple(samples[a:b]), far, a, b)) for a, b in ranges)
        with _told(self.progress):
            for number, found in each(self.engine, calls):
                yield number, taken_in(found, store, ranges[number], manifest, self.ledger)

    def _prove(self) -> None:
        """Refuse machines that have other code, weights or data, once, before the first part."""
        if self._proven:
            return
        assert isinstance(self.context.job, Job)
        hosts, own = self.engine.prove(self.context.job), provenance.kind(self.context.run.device)
        if wrong := [one.wrong for one in hosts if one.wrong]:
            raise InputError("; ".join(wrong))
        rooms = sum(one.rooms for one in hosts)
        self.progress.note(f"up to {rooms} workers on {len(hosts)} machines")
        if kinds := sorted({one.kind for one in hosts} - {own}):
            self.remarks.append(f"machines of other kinds ({', '.join((own, *kinds))}) round apart")
            self.progress.note(self.remarks[-1])
        self._proven = True

    def _kept(self, module: str, name: str, find_out: Callable[[], Known]) -> Taken:
        """Have a step find something out, unless that is there already.

        Before the first pass nothing is kept: it costs little, and a study that is refused there
        leaves nothing behind.
        """
        store, own = CarryStore(self.shelf, _packages(module)), digest([self.key, module, name])
        made = self._loaded(lambda: store.load(name, own)) if self._begun else None
        if made is not None:
            self.ledger.take(made.reads)
            self.known |= made.known
            return Taken(name, resumed=True)
        reads = Reads()
        with self._fitting(name, module) as fits, recording(reads):
            made = Made(find_out(), reads)
        self.ledger.take(reads)
        if self._begun:
            store.save(name, own, made)
        self.known |= made.known
        return Taken(name, fits=fits.counts)

    def _fitting(self, name: str, module: str) -> AbstractContextManager[Fits]:
        """That the fits of a step are made by the run's processes, and kept."""
        store = CarryStore(self.shelf, _packages(module)) if self._begun else None
        return made_by(Fits(self.fitting, store, digest([self.key, module, name])))

    def _loaded(self, load: Callable[[], T | None]) -> T | None:
        try:
            return load()
        except DamagedError as error:
            self.progress.note(f"saved shard {error}; it is computed again")
            return None


@contextmanager
def _told(progress: Progress) -> Iterator[None]:
    """Within it images count as they are done, if that is shown."""
    token = ADVANCE.set(None if type(progress) is Quiet else progress.advance)
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
