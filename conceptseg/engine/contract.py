"""What the one loop drives: a study, its passes, and what they may see."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol

from conceptseg.catalogue import About, Choice, Unsuited
from conceptseg.config import Reads, RunConfig, StudyKeys
from conceptseg.engine.known import Key, Known
from conceptseg.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

    from conceptseg.data.batch import Batch
    from conceptseg.data.manifest import Manifest, Sample
    from conceptseg.network.choice import Choice as LayerChoice
    from conceptseg.network.levels import Levels
    from conceptseg.network.model import SegmentationModel
    from conceptseg.report.blocks import Report
    from conceptseg.result.saved import Result
    from conceptseg.result.verdict import Verdict


@dataclass(frozen=True)
class Context:
    """What a pass may see: the network, the data, and how to run.

    `held` are the network's classes that masks can hold, None where there are no masks. `choice`
    is what layers are worth to the decision, None where that was not or cannot be measured.
    `unsuited` are the local methods that cannot explain the first image. `layer` is the name of
    what is studied; where that are several layers, `joint` says which. Pickled, it is the `job`
    from which another process makes its own, which a run gives it.
    """

    model: SegmentationModel
    manifest: Manifest
    run: RunConfig
    layer: str
    seed: int
    held: frozenset[int] | None = None
    choice: LayerChoice | None = None
    unsuited: tuple[Unsuited, ...] = ()
    joint: Levels | None = None
    job: Origin | None = None

    @property
    def levels(self) -> Levels:
        """The layers that are studied, mostly one: what is read and edited as one map."""
        from conceptseg.network.levels import Levels

        return self.joint or Levels((self.layer,))

    @property
    def single(self) -> str:
        """The layer that local methods look at: `layer`, or of several the one that `layer: auto`
        takes, else the last."""
        if len(self.levels.names) == 1:
            return self.layer
        return self.levels.names[-1] if self.choice is None else self.choice.layer

    def __reduce__(self) -> tuple[Any, ...]:
        if self.job is None:
            raise TypeError("a context outside of a run cannot leave its process")
        own = {"layer": self.layer, "joint": self.joint, "choice": self.choice}
        return _restored, (self.job, {**own, "unsuited": self.unsuited})

    def suiting(self, entries: Sequence[Choice]) -> tuple[Choice, ...]:
        """Of local methods, as entries, those that can explain the first image."""
        bad = [one.entry for one in self.unsuited]
        return tuple(entry for entry in entries if entry not in bad)

    def nothing_suits(self, key: str) -> InputError:
        """The error of a study that cannot do without the methods of `key`, none of which suits."""
        reasons = "; ".join(f"{one.label}: {one.reason}" for one in self.unsuited)
        return InputError(f"{key}: none of the methods suits the network or the images: {reasons}")


class Origin(Protocol):
    """From what another process makes its own context (:class:`~conceptseg.engine.job.Job`)."""

    def context(self) -> Context: ...


def _restored(job: Origin, own: dict[str, Any]) -> Context:
    return replace(job.context(), job=job, **own)


class Pass(ABC):
    """One sweep over samples. `map` is pure; states, of statistics, merge key by key.

    Whatever cannot be made of the samples is for a function of what is known (see :data:`Step`).
    """

    name: str
    """Of the class, or of one pass where a plan holds several of a kind."""
    cost: ClassVar[str] = "1 forward per image"
    labels: ClassVar[Literal["none", "optional", "required"]] = "none"
    """Whether batches carry labels. Optional: a sample without a mask has -1 everywhere, a batch
    without any has None. Required: a sample without a mask is an error."""
    keeps: ClassVar[bool] = False
    """Whether the merged state stays known after the next pass, to all later steps."""

    def samples(self, context: Context, known: Known) -> Sequence[Sample]:
        """The samples to visit, all of the manifest's unless narrowed."""
        return context.manifest.samples

    def forwards(self, context: Context) -> float:
        """About how many network passes of one image all of it takes; for `check`'s estimate."""
        return float(len(context.manifest.samples))

    def beside(self, context: Context, logits: Tensor) -> object:
        """What else each pass of the network costs, done once, for `check`'s estimate to time.

        It is given an image's logits [1, k, h, w], and stands for what is computed of them where
        that may take as long as the pass, as of hundreds of classes.
        """
        return None

    def open(self, context: Context, known: Known) -> AbstractContextManager[Known]:
        """What `map` and `finish` also know, which lives as long as the pass: another network."""
        return nullcontext(Known())

    @abstractmethod
    def map(self, context: Context, batch: Batch, known: Known) -> Known:
        """The state of a batch: statistics."""

    def finish(self, context: Context, state: Known, known: Known) -> Known:
        """What of the merged state all later steps know; it draws no conclusions.

        The state itself is known to the functions that follow the pass, up to the next pass, and
        longer where the pass `keeps` it.
        """
        return state if self.keeps else Known()


def left_out(step: str) -> Key[tuple[dict[str, Any], ...]]:
    """The key of what a step had to leave out: rows of the result's `skipped`."""
    return Key(f"{LEFT_OUT}{step}", tuple)


LEFT_OUT = "left out/"
MOST = 10_000
"""Images that a study takes at most, unless asked for more, if it keeps something of each: tables
of so many fit into memory, and their intervals are narrow."""

Step = Pass | Callable[[Any, Context, Known], Known]
"""A pass, which touches the network, or a function of the study, the context and what is known,
which does not, and says what is known besides."""
Named = type[Pass] | Callable[[Any, Context, Known], Known]
"""A step as its module names it: the class of a pass, or a function."""


@dataclass(frozen=True)
class Work:
    """A computation without the network that is made `count` times; `one` of them, to be timed.

    `one` needs numbers of the right shapes, not the right numbers. With `fits` several are made at
    once, where a run may take several processes.
    """

    what: str
    count: float
    one: Callable[[], object]
    fits: bool = True


class Study(StudyKeys, ABC):
    """A question put to a network and a data set. Its fields are the keys of its YAML file.

    A study is a folder. The class lies in `config.py`; what it does lies beside it, in files that
    all studies have: `plan.py` (the steps in their order), `conclude.py` (from what is known after
    them to the result) and `report.py` (from the result to the page).
    """

    about: ClassVar[About]
    reads: ClassVar[Reads] = "one"

    def class_ids(self, context: Context) -> tuple[int, ...]:
        """The classes that are studied: those asked for, or all but the background.

        Where there are masks, classes that none of them can hold are left out unless asked for.
        """
        model, held = context.model, context.held
        if self.data.classes:
            return tuple(model.class_id(name) for name in self.data.classes)
        every = [c for c, n in enumerate(model.classes) if n != context.manifest.background]
        return tuple(c for c in every if held is None or c in held) or tuple(every)

    def local_methods(self) -> tuple[Choice, ...]:
        """All entries of the study's file that name local methods."""
        return self.compare

    def compared_with(self, *entries: Choice) -> tuple[Choice, ...]:
        """The methods of `compare` and further ones, each once.

        Those with parameters are mappings, which have no hash.
        """
        every = (*self.compare, *entries)
        return tuple(one for place, one in enumerate(every) if one not in every[:place])

    def check(self, context: Context) -> None:
        """Refuse by InputError whatever can be known to fail before the first step.

        That is what follows from the configuration, the manifest, the network and the layer. A run
        asks before all else, and so does the command's `check`.
        """
        check = getattr(_beside(type(self), "plan"), "check", None)
        if check is not None:
            check(self, context)

    def remarks(self, context: Context) -> list[tuple[str, str]]:
        """What the user should know before the first step, besides what :meth:`check` refuses.

        As (what, text), such as tests that could not pass with so many groups. The command's
        `check` prints them.
        """
        remarks = getattr(_beside(type(self), "plan"), "remarks", None)
        return [] if remarks is None else list(remarks(self, context))

    def work(self, context: Context, shape: Sequence[int]) -> list[Work]:
        """What its functions compute that grows with classes or images, for `check`'s estimate.

        `shape` is that of the layer for one image, (units, rows, columns).
        """
        work = getattr(_beside(type(self), "plan"), "work", None)
        return [] if work is None else list(work(self, context, shape))

    def plan(self) -> Sequence[Step]:
        """The steps in order: all passes, and all functions of what is known."""
        steps: Sequence[Step] = _beside(type(self), "plan").steps(self)
        return steps

    def finish(self, context: Context, known: Known) -> Result:
        """The result, from all that is known after the last step."""
        result: Result = _beside(type(self), "conclude").conclude(self, context, known)
        return result

    @classmethod
    def report(cls, result: Result) -> Report:
        """The report of a result that was just computed or loaded from disk: no model, no data."""
        from conceptseg.report import joined
        from conceptseg.result.joined import parts_of

        compose: Callable[[Result], Report] = _beside(cls, "report").compose
        made = joined.compose(result, compose) if parts_of(result) else compose(result)
        return replace(made, verdict=cls.verdict(result))

    @classmethod
    def verdict(cls, result: Result) -> Verdict | None:
        """What a whole result says, by the study's own rule; None of a study that has none.

        The rule is `verdict(result)` in the study's `verdict.py`. Of independent classes, each of
        which has its own, the gravest decides.
        """
        from conceptseg.result.joined import parts_of
        from conceptseg.result.verdict import among, weakened

        file = f"{cls.__module__.rpartition('.')[0]}.verdict"
        if find_spec(file) is None:
            return None
        rule: Callable[[Result], Verdict] = import_module(file).verdict
        parts = parts_of(result)
        if not parts:
            return weakened(rule(result), result.notes, result.provenance, result.altered)
        each = {k: weakened(rule(one), one.notes, one.provenance) for k, one in parts.items()}
        shown = {one.class_ for one in result.findings if one.standing == "evidence"}
        whole = among(each, {name for name in each if name in shown})
        return weakened(whole, result.notes, result.provenance, result.altered)


def _beside(study: type[Study], name: str) -> ModuleType:
    """The file `name` in a study's folder; imported only when it is needed."""
    return import_module(f"{study.__module__.rpartition('.')[0]}.{name}")
