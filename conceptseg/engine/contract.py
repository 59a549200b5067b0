"""What the one loop drives: a study, its passes, and what they may see."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from conceptseg.catalogue import About
from conceptseg.config import RunConfig, StudyKeys
from conceptseg.stats.contract import Statistic

if TYPE_CHECKING:
    from conceptseg.data.batch import Batch
    from conceptseg.data.manifest import Manifest, Sample
    from conceptseg.network.model import SegmentationModel
    from conceptseg.report.blocks import Report
    from conceptseg.result.saved import Result


State = dict[str, Statistic]
Carry = dict[str, Any]


@dataclass(frozen=True)
class Context:
    """What a pass may see: the network, the data, and how to run."""

    model: SegmentationModel
    manifest: Manifest
    run: RunConfig
    layer: str
    seed: int


class Pass(ABC):
    """One sweep over samples. `map` is pure; states merge key by key."""

    name: ClassVar[str]
    cost: ClassVar[str] = "1 forward per image"
    labels: ClassVar[Literal["none", "optional", "required"]] = "none"
    """Whether batches carry labels. Optional: a sample without a mask has -1 everywhere, a batch
    without any has None. Required: a sample without a mask is an error."""

    def samples(self, context: Context, carry: Carry) -> Sequence[Sample]:
        """The samples to visit, all of the manifest's unless narrowed."""
        return context.manifest.samples

    def forwards(self, context: Context) -> float:
        """About how many network passes of one image all of it takes; for `check`'s estimate."""
        return float(len(context.manifest.samples))

    def begin(self, context: Context) -> Carry:
        """What is set going before the first image, such as a process that has to warm up."""
        return {}

    @abstractmethod
    def map(self, context: Context, batch: Batch, carry: Carry) -> State: ...

    @abstractmethod
    def finish(self, context: Context, state: State, carry: Carry) -> Carry:
        """What later passes need to know, from the merged state of all samples."""


class Study(StudyKeys, ABC):
    """A question put to a network and a data set. Its fields are the keys of its YAML file.

    A study is a folder. The class lies in `config.py`; what it does lies beside it, in files that
    all studies have: `plan.py` (the passes in their order), `conclude.py` (from what they gathered
    to the result) and `report.py` (from the result to the page).
    """

    about: ClassVar[About]

    def passes(self) -> Sequence[Pass]:
        """The sweeps over the data, in order."""
        passes: Sequence[Pass] = _beside(type(self), "plan").passes(self)
        return passes

    def finish(self, context: Context, carry: Carry) -> Result:
        """The result, from all that the passes found."""
        result: Result = _beside(type(self), "conclude").conclude(self, context, carry)
        return result

    @classmethod
    def report(cls, result: Result) -> Report:
        """The report of a result that was just computed or loaded from disk: no model, no data."""
        report: Report = _beside(cls, "report").compose(result)
        return report


def _beside(study: type[Study], name: str) -> ModuleType:
    """The file `name` in a study's folder; imported only when it is needed."""
    return import_module(f"{study.__module__.rpartition('.')[0]}.{name}")
