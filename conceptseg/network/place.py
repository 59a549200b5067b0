"""Where a network's map lies on its input: all over it, or in its middle."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import count
from math import gcd

from torch import Tensor
from torch.nn import functional as F

from conceptseg.config import Place
from conceptseg.errors import InputError
from conceptseg.network.layout import Window

PROBE_PX = 32
"""By how much the input is enlarged to see how the map grows."""
PERIOD = 32
"""Sides are tried up to this many px more: networks repeat themselves with their largest stride."""

PRIMES = 2 * 3 * 5 * 7
"""A side that shares none of these divisors shows whether a network rounds its sides."""
STEPS = (1, 2, 4, 8, 16, 32)
"""Networks that do not take sides of any length take multiples of one of these."""

Size = tuple[int, int]
Run = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Placed:
    """How inputs of one size are run.

    `margin` px are mirrored around them, half before and half after; of what comes out, cells of
    `stride` px that lack `lost` px of the widened input, half on each side, the input's own part
    is kept. With `equal` the map must be of the input's size.
    """

    margin: Size = (0, 0)
    lost: Size = (0, 0)
    stride: int = 1
    equal: bool = False

    def widened(self, x: Tensor) -> Tensor:
        """The input [n, c, h, w] with its margin."""
        return x if self.margin == (0, 0) else _mirrored(x, self.margin)

    def cut(self, maps: Tensor, size: Sequence[int]) -> Tensor:
        """The part [n, k, h, w] of the maps of a widened input that lies on the input of `size`.

        Raises :class:`~conceptseg.errors.InputError` for maps of another size than they must have.
        """
        if self.equal and _grid(maps) != tuple(size):
            raise InputError(
                f"the network puts out a map of {maps.shape[2]} x {maps.shape[3]} for an input of "
                f"{size[0]} x {size[1]}, but for others one of the input's size; say by "
                "model.place: stretch that it lies all over the image, or let the module cut it"
            )
        if self.margin == self.lost == (0, 0):
            return maps
        if self.stride > 1:
            y, x = (side * self.stride for side in maps.shape[2:])
            maps = F.interpolate(maps, (y, x), mode="bilinear", align_corners=False)
        top, left = self.corner
        return maps[:, :, top : top + size[0], left : left + size[1]]

    def size_of(self, size: Size) -> Size:
        """The size of a widened input of `size`."""
        return size[0] + self.margin[0], size[1] + self.margin[1]

    @property
    def corner(self) -> Size:
        """Where the input's first pixel lies on the map, in px."""
        y, x = (m // 2 - lost // 2 for m, lost in zip(self.margin, self.lost, strict=True))
        return y, x


class Placement:
    """Where a network's map lies, found out by trying, once for each size of its input.

    Once for all where the map has the input's size for the sides too that its strides divide least.

    A map of the input's size lies all over it. Any other is set beside the map of a larger input:
    where both are smaller than the input by as many pixels at one stride, they were made by
    convolutions without padding, and lie in the input's middle. Then the input is mirrored at its
    edges by as much as they cut off, so that the map covers all of the image, as Ronneberger,
    Fischer and Brox (2015, "U-Net", section 2: overlap-tile) do. Where a network rounds its input
    to sides of its own, up or down, and its map with it, the input is mirrored to such sides.

    Args:
        wanted: what the user says, `stretch` or `centre`; None leaves it to be found out.
    """

    def __init__(self, wanted: Place | None = None):
        self.wanted = wanted
        self._known: dict[Size, Placed] = {}
        self._grids: dict[Size, Size] = {}
        self._equal = False
        self._strides: set[int] = set()
        self._always: Size | None = None
        self._latest: Size | None = None

    @property
    def grid(self) -> Size | None:
        """The map's size for an input, without a margin, of the size that was run last."""
        return self._grids.get(self._latest) if self._latest else None

    def known(self, size: Sequence[int]) -> Placed | None:
        """How inputs of a size are run, if that has been found out."""
        if self.wanted == "stretch" and self._known:
            return Placed()
        found = self._known.get((size[0], size[1]))
        return Placed(equal=True) if found is None and self._equal else found

    def widened(self, x: Tensor) -> tuple[Tensor, Placed]:
        """The input [n, c, h, w] with its margin, and how it is run."""
        self._latest = (x.shape[2], x.shape[3])
        placed = self.known(self._latest) or Placed()
        return placed.widened(x), placed

    def window(self, widened: Size) -> Window | None:
        """Corner and size of the image on a widened input; None where none was widened to that.

        Inputs of several sizes may be widened to one: the latest that was run is meant then.
        """
        latest = {size: self._known[size] for size in [self._latest] if size in self._known}
        for size, placed in (latest | self._known).items():
            if placed.margin != (0, 0) and widened == placed.size_of(size):
                return (placed.margin[0] // 2, placed.margin[1] // 2), size
        return None

    def settle(self, x: Tensor, run: Run) -> Placed:
        """Find out how inputs of the size of x [1, c, h, w] are run; `run` makes maps of them.

        Raises :class:`~conceptseg.errors.InputError` if two sizes do not tell where the map lies.
        """
        size = (x.shape[2], x.shape[3])
        placed = self.known(size)
        if placed is None:
            placed = self._known[size] = self._found(x, run, size)
        return placed

    def _found(self, x: Tensor, run: Run, size: Size) -> Placed:
        grid = self._grids[size] = _grid(run(x))
        if self.wanted == "stretch" or (self.wanted is None and self._as_before(grid, size)):
            if grid == size and not self._known and self.wanted is None:
                self._equal = _never_rounds(x, run)
            return Placed()
        wider = _tried(x, run, (PROBE_PX, PROBE_PX))
        stride = None if wider is None else _stride(grid, wider)
        lost = (0, 0) if stride is None else _lost(size, grid, stride)
        if stride is not None and (self.wanted == "centre" or min(lost) >= stride):
            return _margin(x, run, grid, stride)
        if self.wanted is None:
            # What a second size shows goes before what the first may look like by chance.
            scaled = self._scaled(x, run, wider) if wider else by_a_stride(grid, size)
            if scaled and (stride is None or max(map(abs, lost)) <= stride):
                self._strides |= {stride} if stride else set()
                return Placed()
            # Off by more than a cell, it lies somewhere on the input and is no scaled image of it.
            rounded = stride and _rounded(x, run, grid, stride)
            if rounded:
                return rounded
        raise InputError(
            f"the network puts out a map of {grid[0]} x {grid[1]} for an input of {size[0]} x "
            f"{size[1]}"
            + (f", of {wider[0]} x {wider[1]} for {PROBE_PX} px more" if wider else "")
            + "; say by model.place whether it lies all over the image (stretch) or in its middle "
            "(centre, for convolutions without padding, which must take images of any size); if "
            "neither, let the module cut its map to the image"
        )

    def _as_before(self, grid: Size, size: Size) -> bool:
        """Whether a map covers its input in a way that was found of another size already."""
        return grid in (size, self._always) or any(_by(s, grid, size) for s in self._strides)

    def _scaled(self, x: Tensor, run: Run, wider: Size) -> bool:
        """Whether the map grows as its input does, up to a cell; or is of one size always."""
        size = (x.shape[2], x.shape[3])
        grid = self._grids[size]
        if wider != grid:
            grown = (g * (n + PROBE_PX) / n for g, n in zip(grid, size, strict=True))
            return all(abs(w - g) <= 1 for w, g in zip(wider, grown, strict=True))
        # A map of an input that was rounded up grows no sooner than the input is larger than it.
        past = [max(PROBE_PX, g - n + 1) for g, n in zip(grid, size, strict=True)]
        if max(past) > PROBE_PX and _tried(x, run, (past[0], past[1])) != grid:
            return False
        self._always = grid
        return True


def _never_rounds(x: Tensor, run: Run) -> bool:
    """Whether the map is of the input's size for sides of the smallest step that is taken."""
    for step in STEPS:
        alone = PRIMES if step == 1 else 14
        sides = [next(s for s in count(-(-n // step)) if gcd(s, alone) == 1) for n in x.shape[2:]]
        wanted = (sides[0] * step, sides[1] * step)
        grid = _tried(x, run, (wanted[0] - x.shape[2], wanted[1] - x.shape[3]))
        if grid is not None:
            return grid == wanted
    return False


def _margin(x: Tensor, run: Run, grid: Size, stride: int) -> Placed:
    """The margin with which the map covers the input, and least of the input is lost.

    `grid` is the map's size without one. Least: what a network loses to sides that its strides do
    not divide, or adds to them, it does at one end alone, so the map would be off its place.
    """
    size = (x.shape[2], x.shape[3])
    best: list[tuple[int, int]] = [(0, 0), (0, 0)]
    starts = [max(lost, 0) for lost in _lost(size, grid, stride)]
    found = [False, False]
    for more in range(PERIOD + 1):
        margin = (starts[0] + more, starts[1] + more)
        tried = _tried(x, run, margin)
        if tried is None:  # a size that the network does not take
            continue
        for axis in (0, 1):
            covered = tried[axis] * stride
            lost = size[axis] + margin[axis] - covered
            corner = margin[axis] // 2 - lost // 2
            inside = corner >= 0 and corner + size[axis] <= covered
            if inside and (not found[axis] or abs(lost) < abs(best[axis][1])):
                best[axis], found[axis] = (margin[axis], lost), True
        if all(found) and best[0][1] == best[1][1] == 0:
            break
    if not all(found):
        raise InputError(
            f"the network's map lies in the middle of its input, but no margin makes it cover "
            f"an image of {size[0]} x {size[1]}; give another model.preprocessing.size, or "
            "model.place: stretch"
        )
    (high, lost_y), (wide, lost_x) = best
    return Placed((high, wide), (lost_y, lost_x), stride)


def _rounded(x: Tensor, run: Run, grid: Size, stride: int) -> Placed | None:
    """The margin with which the map lies all over the widened input, to the pixel; if any does."""
    try:
        placed = _margin(x, run, grid, stride)
    except InputError:
        return None
    sides = placed.size_of((x.shape[2], x.shape[3]))
    made = _tried(x, run, placed.margin)  # each side was found by itself
    whole = made is not None and (made[0] * stride, made[1] * stride) == sides
    return placed if whole else None


def by_a_stride(grid: Size, size: Size) -> bool:
    """Whether both sides are the input's by one whole stride, or a whole number of times as large.

    Sides that the stride does not divide may be rounded up or down.
    """
    for stride in {max(1, round(size[0] / grid[0])), max(1, round(size[1] / grid[1]))}:
        if _by(stride, grid, size):
            return True
    return grid[0] % size[0] == 0 and grid[0] // size[0] == grid[1] / size[1]


def _stride(grid: Size, wider: Size) -> int | None:
    """Pixels of the input for one more cell of the map, if they are as many for both sides."""
    grown = {wider[0] - grid[0], wider[1] - grid[1]}
    if len(grown) != 1 or min(grown) <= 0 or PROBE_PX % min(grown):
        return None
    return PROBE_PX // min(grown)


def _by(stride: int, grid: Size, size: Size) -> bool:
    return all(n // stride <= g <= -(-n // stride) for n, g in zip(size, grid, strict=True))


def _lost(size: Size, grid: Size, stride: int) -> Size:
    """Pixels of an input that its map lacks in height and width, below 0 where it has more."""
    return size[0] - grid[0] * stride, size[1] - grid[1] * stride


def _mirrored(x: Tensor, margin: Size) -> Tensor:
    """The images [n, c, h, w] with a margin of mirrored pixels, of height and width in all."""
    for axis, total in ((2, margin[0]), (3, margin[1])):
        before = total // 2
        after = total - before
        while before or after:  # no mirror shows more than the image is long
            most = max(x.shape[axis] - 1, 1)
            now = min(before, most), min(after, most)
            pads = (0, 0, *now) if axis == 2 else (*now, 0, 0)
            x = F.pad(x, pads, mode="reflect" if x.shape[axis] > 1 else "replicate")
            before, after = before - now[0], after - now[1]
    return x


def _grid(maps: Tensor) -> Size:
    return maps.shape[2], maps.shape[3]


def _tried(x: Tensor, run: Run, margin: Size) -> Size | None:
    """The map's size for an input with a margin; None for a size that the network does not take."""
    try:
        return _grid(run(_mirrored(x, margin)))
    except InputError:
        return None
