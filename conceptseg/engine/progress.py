"""How a run says what it is doing: bars on a terminal, lines elsewhere, nothing when quiet.

Everything goes to the error stream; the output stream carries the report's path alone.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol, Self, TextIO

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress
    from rich.progress import TaskID


class Progress(Protocol):
    """What `run` tells while it works. Counts are images."""

    def note(self, text: str) -> None:
        """One line about the run."""

    def expect(self, passes: Sequence[str]) -> None:
        """The names of all passes that will be made, in their order."""

    def begin(self, name: str, images: int | None, shards: int) -> None:
        """A pass starts, or a function of what is known, which reads no images."""

    def advance(self, images: int) -> None:
        """Images of the current pass are done."""

    def shard(self, number: int, resumed: bool) -> None:
        """A shard of the current pass is done (counted from 1), or was found saved."""

    def end(self) -> None:
        """The current pass is done, its results included."""


class Quiet:
    """Says nothing."""

    def note(self, text: str) -> None: ...

    def expect(self, passes: Sequence[str]) -> None: ...

    def begin(self, name: str, images: int | None, shards: int) -> None: ...

    def advance(self, images: int) -> None: ...

    def shard(self, number: int, resumed: bool) -> None: ...

    def end(self) -> None: ...

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None: ...


class Lines(Quiet):
    """Plain lines: start and end of each pass, and each shard, with the time of day."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self.stream = stream or sys.stderr
        self.passes: list[str] = []
        self.name, self.images, self.shards, self.done, self.started = "", 0, 0, 0, 0.0

    def note(self, text: str) -> None:
        print(text, file=self.stream, flush=True)

    def begin(self, name: str, images: int | None, shards: int) -> None:
        self.name, self.images, self.shards = name, images or 0, shards
        self.done, self.started = 0, time.monotonic()
        cut = f" in {shards} shard{'s' if shards != 1 else ''}" if shards else ""
        if images is not None:
            place = f", pass {self.place}" if self.place else ""
            self.note(
                f"{name}: {images or 'no'} images{cut}{place}, at {time.strftime('%H:%M:%S')}"
            )

    def expect(self, passes: Sequence[str]) -> None:
        self.passes = list(passes)

    @property
    def place(self) -> str:
        """Which of the passes is made: "2 of 5"; "" where it is none of them."""
        if self.name not in self.passes:
            return ""
        return f"{self.passes.index(self.name) + 1} of {len(self.passes)}"

    def left(self) -> str:
        """How long the rest of the pass will take at the rate so far: "about 3 min left"."""
        seconds = time.monotonic() - self.started
        if not 0 < self.done < self.images or seconds < 1:
            return ""
        rest = seconds * (self.images - self.done) / self.done
        return f", about {rest:.0f} s left" if rest < 90 else f", about {rest / 60:.0f} min left"

    def advance(self, images: int) -> None:
        self.done += images

    def shard(self, number: int, resumed: bool) -> None:
        how = "found saved" if resumed else "done"
        self.note(
            f"{self.name}: shard {number}/{self.shards} {how}, {self.done} of {self.images} images"
            + ("" if resumed else self.left())
        )

    def end(self) -> None:
        seconds = time.monotonic() - self.started
        rate = f", {self.done / seconds:.1f} images/s" if self.done and seconds > 0 else ""
        self.note(f"{self.name}: finished in {seconds:.1f} s{rate}, at {time.strftime('%H:%M:%S')}")


class Bars(Lines):
    """One bar per pass: images done, rate, time left."""

    _bars: RichProgress
    _task: TaskID

    def __enter__(self) -> Self:
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )
        from rich.progress import Progress as RichProgress

        self._bars = RichProgress(
            TextColumn("{task.description:<18}"),
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=Console(file=self.stream),
        )
        self._bars.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._bars.stop()

    def note(self, text: str) -> None:
        self._bars.console.print(text, markup=False, highlight=False)

    def begin(self, name: str, images: int | None, shards: int) -> None:
        self.name, self.images, self.shards = name, images or 0, shards
        self.done, self.started = 0, time.monotonic()
        # An empty total draws a moving bar, which says "working" while results are put together.
        place = f"{self.place.replace(' of ', '/')} " if self.place else ""
        self._task = self._bars.add_task(f"{place}{name}", total=images or None, rate="")

    def advance(self, images: int) -> None:
        self.done += images
        seconds = max(time.monotonic() - self.started, 1e-6)
        rate = f"{self.done / seconds:.1f} images/s"
        self._bars.update(self._task, completed=self.done, rate=rate)

    def shard(self, number: int, resumed: bool) -> None:
        if resumed:
            self.note(f"{self.name}: shard {number}/{self.shards} found saved")

    def end(self) -> None:
        self._bars.update(self._task, total=max(self.images, 1), completed=max(self.images, 1))


def choose(quiet: bool, stream: TextIO | None = None) -> Quiet:
    """Bars on a terminal, lines elsewhere, nothing when `quiet`; used as a context manager."""
    stream = stream or sys.stderr
    if quiet:
        return Quiet()
    return Bars(stream) if stream.isatty() else Lines(stream)
