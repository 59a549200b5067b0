"""A study small enough to be checked by hand: two passes over images that are drawn, not read.

The first pass sums pixel means, the second sums the network's squared deviation from the first's
mean. Run as a program it makes the study's passes and dies by SIGKILL where it is told to.
"""

from __future__ import annotations

import hashlib
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch

from conceptseg.catalogue import technique
from conceptseg.config import DataConfig, ModelConfig, RunConfig
from conceptseg.data.batch import Batch
from conceptseg.data.labels import LabelBlock
from conceptseg.data.manifest import Manifest, Sample, Source
from conceptseg.engine import provenance
from conceptseg.engine.contract import Context, Pass, Step, Study
from conceptseg.engine.known import Key, Known
from conceptseg.engine.run import run_study
from conceptseg.report.blocks import Facts, Report, Section
from conceptseg.result.finding import Finding
from conceptseg.result.saved import Result
from conceptseg.result.table import Table


@dataclass(frozen=True)
class Drawn(Source):
    """Images of noise, each decided by its sample's id."""

    size_px: int = 6
    seed: int = 0
    unlabelled: tuple[str, ...] = ()

    def image(self, sample: Sample) -> np.ndarray:
        key = int.from_bytes(hashlib.sha256(f"{self.seed}{sample.id}".encode()).digest()[:4], "big")
        shape = (3, self.size_px, self.size_px)
        return np.random.default_rng(key).random(shape, dtype=np.float32)

    def labels(self, sample: Sample) -> np.ndarray | None:
        if sample.id in self.unlabelled:
            return None
        return (self.image(sample)[0] > 0.5).astype(np.int64)

    def labelled(self, sample: Sample) -> bool:
        return sample.id not in self.unlabelled

    def size(self, sample: Sample) -> tuple[int, int]:
        return (self.size_px, self.size_px)

    def stamp(self, sample: Sample) -> int:
        return self.seed

    def settings(self) -> dict[str, Any]:
        return {"size_px": self.size_px}


def manifest(count: int = 20, seed: int = 0, unlabelled: tuple[str, ...] = ()) -> Manifest:
    samples = tuple(Sample(id=f"s{index:02d}") for index in range(count))
    source = Drawn(seed=seed, unlabelled=unlabelled)
    return Manifest("drawn", LabelBlock(names=("low", "high")), 3, samples, source)


class Net(torch.nn.Module):
    """A 1x1 convolution with known weights: what a factory builds."""

    def __init__(self, classes: int = 2, slope: float = 1.0, poison: bool = False) -> None:
        super().__init__()
        self.body = torch.nn.Conv2d(3, classes, 1)
        self.poison = poison
        with torch.no_grad():
            self.body.weight.copy_(torch.arange(classes * 3.0).reshape(classes, 3, 1, 1) * slope)
            self.body.bias.zero_()

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        logits = self.body(images)
        return logits * float("nan") if self.poison else logits


class Wrapped(torch.nn.Module):
    """As much of a segmentation model as the run loop needs, for tests of the loop alone."""

    def __init__(self, slope: float = 1.0) -> None:
        super().__init__()
        self.module = Net(slope=slope)
        self.classes = ("low", "high")
        self.rest = None

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.module(images)

    def watching(self, images: torch.Tensor, ids: Sequence[str]) -> AbstractContextManager[None]:
        return nullcontext()

    def names_of(self, class_id: int) -> tuple[str, ...]:
        return (self.classes[class_id],)

    def fingerprint(self) -> str:
        weights = self.module.body.weight.detach().numpy()
        return hashlib.sha256(weights.tobytes()).hexdigest()


@dataclass(frozen=True)
class Sum:
    """Values by sample, merged into a dictionary: a sum that no order of merging can change."""

    ids: tuple[str, ...] = ()
    values: tuple[float, ...] = ()

    def merge(self, other: Sum) -> Sum:
        return Sum(self.ids + other.ids, self.values + other.values)

    def total(self) -> float:
        return float(np.sum(np.asarray(self.values, np.float64)[np.argsort(self.ids)]))

    def to_arrays(self) -> dict[str, np.ndarray]:
        return {"ids": np.asarray(self.ids, dtype=str), "values": np.asarray(self.values, float)}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> Sum:
        return cls(tuple(map(str, arrays["ids"])), tuple(map(float, arrays["values"])))


class Calls:
    """How many batches were mapped in this process, and what happens at one of them."""

    count = 0
    at: int | None = None
    error: BaseException | None = None

    @classmethod
    def reset(cls, at: int | None = None, error: BaseException | None = None) -> None:
        cls.count, cls.at, cls.error = 0, at, error

    @classmethod
    def tick(cls) -> None:
        cls.count += 1
        if cls.count == cls.at:
            if cls.error is None:
                os.kill(os.getpid(), signal.SIGKILL)
            else:
                raise cls.error


SUM, SQUARE, HIGH = Key("sum", Sum), Key("square", Sum), Key("high", Sum)
MEAN = Key("mean", float)


class Means(Pass):
    name: ClassVar[str] = "means"

    def map(self, context: Context, batch: Batch, known: Known) -> Known:
        Calls.tick()
        return SUM(Sum(batch.ids, tuple(batch.images.double().mean((1, 2, 3)).tolist())))


def average(study: Toy, context: Context, known: Known) -> Known:
    return MEAN(known[SUM].total() / len(context.manifest.samples))


class Deviations(Pass):
    """Half of the samples, to show that a pass may narrow them."""

    name: ClassVar[str] = "deviations"
    labels = "required"

    def samples(self, context: Context, known: Known) -> Sequence[Sample]:
        return context.manifest.samples[::2]

    def map(self, context: Context, batch: Batch, known: Known) -> Known:
        Calls.tick()
        with torch.no_grad():
            logits = context.model(batch.images).double()
        square = (logits.mean((1, 2, 3)) - known[MEAN]) ** 2
        assert batch.labels is not None
        high = batch.labels.double().sum((1, 2))
        return SQUARE(Sum(batch.ids, tuple(square.tolist()))) | HIGH(
            Sum(batch.ids, tuple(high.tolist()))
        )


@technique(family="toy", source="none")
class Toy(Study):
    """Sums some numbers."""

    power: float = 1.0

    def local_methods(self) -> tuple[str, ...]:
        """None: `Wrapped` is too little of a network to be explained."""
        return ()

    def remarks(self, context):
        return []

    def work(self, context, shape):
        return []

    def check(self, context: Context) -> None:
        """Nothing to refuse; a study that is no folder has no file that would."""

    def plan(self) -> Sequence[Step]:
        return (Means(), average, Deviations())

    def finish(self, context: Context, known: Known) -> Result:
        values = {"mean": known[MEAN], **{k.name: known[k].total() for k in (SQUARE, HIGH)}}
        finding = Finding(
            claim="Images deviate",
            effect=values["square"] * self.power,
            n=len(context.manifest.samples),
            evidence="sums",
        )
        rows = [{"name": name, "value": value} for name, value in values.items()]
        return Result("toy", [finding], {"sums": Table(rows)})

    @staticmethod
    def report(result: Result) -> Report:
        facts = Facts([(row["name"], row["value"]) for row in result.tables["sums"].rows])
        return Report("Toy", sections=[Section("sums", "Sums", blocks=[facts])])


def toy(**changes: Any) -> Toy:
    fields: dict[str, Any] = {
        "data": DataConfig(manifest="toy.yaml"),
        "model": ModelConfig(source="factory", name="tests.toys:Net"),
    }
    return Toy(**{**fields, **changes})


def context(batch_size: int = 2, shards: int | None = 5, **kinds: Any) -> Context:
    run = RunConfig(device="cpu", batch_size=batch_size, shards=shards, threads=1)
    slope = kinds.pop("slope", 1.0)
    return Context(Wrapped(slope), manifest(**kinds), run, "body", 0)  # type: ignore[arg-type]


def content(result: Result) -> str:
    """All of a result but its timings."""
    import dataclasses

    return dataclasses.replace(result, timings={}).to_json()


if __name__ == "__main__":
    # The module's name must be the one that tests import, or saved states would be foreign.
    from tests import toys

    toys.Calls.reset(at=int(sys.argv[2]))
    # Files of the package may be edited while tests run; that must not be taken for the crash.
    provenance.code_digest = lambda: "the same"  # type: ignore[assignment]
    print(content(run_study(toys.toy(), toys.context(), Path(sys.argv[1]))))
