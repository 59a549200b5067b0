"""Parts that are made on machines with files of their own: what they read, held against ours.

Such a machine says of each sample that it read what its rows say of it (name, size and time of
modification of files), and the SHA-256 of what it read. Where the rows are ours, so are the bytes,
as between two runs on one machine. Where they are not, as of copies, the machine that asks reads
the sample once itself. A part that such a machine has left in a store says the same, and is held
against ours by whoever finds it there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from conceptseg.data.hashed import digest_file
from conceptseg.data.reads import IMAGE, LABELS, Filed, Reads, file_of, recording
from conceptseg.data.sample import Sample
from conceptseg.engine.base import host
from conceptseg.engine.store import DamagedError, Made, ShardStore
from conceptseg.engine.work import Task, map_part
from conceptseg.errors import RESUMES, InputError
from conceptseg.settings import digest

if TYPE_CHECKING:
    from conceptseg.data.ledger import Ledger
    from conceptseg.data.manifest import Manifest


@dataclass(frozen=True)
class Stamped(Reads):
    """What was read, with what the rows there say of each sample that was."""

    samples: dict[str, Filed] = field(default_factory=dict)

    def record(self, kind: str, sample: Filed, digest: bytes, file: str) -> None:
        super().record(kind, sample, digest, file)
        self.samples[sample.id] = sample

    def stamps(self, manifest: Manifest) -> dict[str, str]:
        """What the rows say, by sample, as SHA-256; of labels only where they were read."""
        labelled = self.digests.get(LABELS, {})
        return {
            name: stamp(manifest, sample, name in labelled)
            for name, sample in self.samples.items()
            if isinstance(sample, Sample)
        }


@dataclass(frozen=True)
class Left:
    """That a machine of that name has left a part in the run's store, and the file's SHA-256."""

    host: str
    sha256: str


def map_elsewhere(
    task: Task, samples: Sequence[Sample], store: ShardStore | None, start: int, stop: int
) -> Made | Left:
    """:func:`~conceptseg.engine.work.map_part` on another machine, of samples `start` to `stop` of
    the pass: what was made, or that it was left in a store that all machines reach."""
    reads = Stamped()
    made = map_part(task, samples, reads)
    stamps = reads.stamps(task.context.manifest)
    made = replace(made, reads=Reads(reads.digests), host=host(), stamps=stamps)
    return made if store is None else Left(made.host, store.save(start, stop, made))


def taken_in(
    found: Made | Left, store: ShardStore, part: tuple[int, int], manifest: Manifest, ledger: Ledger
) -> Made:
    """What another machine has made or left, once it was held against ours and is in the store.

    Raises :class:`~conceptseg.errors.InputError` with the machine and the file.
    """
    made = _fetched(found, store, *part) if isinstance(found, Left) else found
    take(made, manifest, ledger)
    if made is found:
        store.save(*part, replace(made, host="", stamps={}))
    return made


def _fetched(left: Left, store: ShardStore, start: int, stop: int) -> Made:
    try:
        made, why = store.load(start, stop, left.sha256), "it is gone"
    except DamagedError as error:
        made, why = None, str(error)
    if made is None:
        raise InputError(
            f"host {left.host} has written {store.shelf}/{store.name(start, stop)}, which is not "
            f"found there so ({why}); let all machines have one store, and one command at a time "
            f"its name there; {RESUMES}"
        )
    return made


def stamp(manifest: Manifest, sample: Sample, labelled: bool) -> str:
    """SHA-256 of what this machine's rows say of a sample, and of how it is read here.

    Raises :class:`~conceptseg.errors.InputError` for a file that is missing.
    """
    if not labelled:
        sample = replace(sample, mask=None, masks=())
    return digest([str(manifest.source.stamp(sample)), str(manifest.source.settings())])


def take(made: Made, manifest: Manifest, ledger: Ledger) -> None:
    """Add what was read for a part to the ledger: what another machine read if it is what this one
    has.

    Raises :class:`~conceptseg.errors.InputError` with the file, and the machine if it is another.
    """
    if not made.host:
        ledger.take(made.reads)
        return
    reads = made.reads
    for name, there in made.stamps.items():
        sample = manifest.sample(name)
        told = {kind: of[name] for kind, of in reads.digests.items() if name in of}
        own = {kind: told.pop(kind) for kind in (IMAGE, LABELS) if kind in told}
        alike = there == stamp(manifest, sample, LABELS in own)
        if not alike and not ledger.holds(own, name):
            for kind, digest_here in _read(manifest, sample, LABELS in own).items():
                if own.get(kind, digest_here) != digest_here:
                    raise _other(made.host, file_of(sample, manifest.root, kind))
        for kind, digest_there in told.items():
            file = ledger.file(kind, sample)
            if not ledger.holds([kind], name) and digest_file(Path(file)) != digest_there.hex():
                raise _other(made.host, file)
    try:
        ledger.take(reads)
    except InputError as error:
        raise InputError(f"host {made.host}: {error}") from None


def _read(manifest: Manifest, sample: Sample, labelled: bool) -> dict[str, bytes]:
    """SHA-256 of what this machine reads of a sample, by kind."""
    reads = Reads()
    with recording(reads):
        if labelled:
            manifest.pair(sample)
        else:
            manifest.image(sample)
    return {kind: of[sample.id] for kind, of in reads.digests.items()}


def _other(host: str, file: str) -> InputError:
    return InputError(
        f"host {host}: {file} holds other bytes there than where the run was started; give all "
        "machines the same files"
    )
