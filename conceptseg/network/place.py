"""Where a network's map lies on its input: all over it, or in its middle."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional as F

from conceptseg.config import Place
from conceptseg.errors import InputError
from conceptseg.network.layout import Window

PROBE_PX = 32
"""By how much the input is enlarged to see how the map grows."""
PERIOD = 32
"""Sides are tried up to this many px more: networks repeat themselves with their largest stride."""

Size = tuple[int, int]


@dataclass(frozen=True)
class Placed:
    """How inputs of one size are run.

    `margin` px are mirrored around them, half before and half after; of what comes out, cells of
    `stride` px that lack `lost` px of the widened input, half on each side, the input's own part
    is kept.
    """

    margin: Size = (0, 0)
    lost: Size = (0, 0)
    stride: int = 1

    def widened(self, x: Tensor) -> Tensor:
        """The input [n, c, h, w] with its margin."""
        return x if self.margin == (0, 0) else _mirrored(x, self.margin)

    def cut(self, maps: Tensor, size: Sequence[int]) -> Tensor:
        """The part [n, k, h, w] of the maps of a widened input that lies on the input of `size`."""
        if self.margin == (0, 0):
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

    A map of the input's size lies all over it. Any other is set beside the map of a larger input:
    where both are smaller than the input by as many pixels at one stride, they were made by
    convolutions without padding, and lie in the input's middle. Then the input is mirrored at its
    edges by as much as they cut off, so that the map covers all of the image, as Ronneberger,
    Fischer and Brox (2015, "U-Net", section 2: overlap-tile) do.

    Args:
        wanted: what the user says, `stretch` or `centre`; None leaves it to be found out.
    """

    def __init__(self, wanted: Place | None = None):
        self.wanted = wanted
        self.grid: Size | None = None
        self._covers = False
        self._known: dict[Size, Placed] = {}
        self._latest: Size | None = None

    def known(self, size: Sequence[int]) -> Placed | None:
        """How inputs of a size are run, if that has been found out."""
        return Placed() if self._covers else self._known.get((size[0], size[1]))

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

    def settle(self, x: Tensor, run: Callable[[Tensor], Tensor]) -> Placed:
        """Find out how inputs of the size of x [1, c, h, w] are run; `run` makes maps of them.

        Raises :class:`~conceptseg.errors.InputError` if two sizes do not tell where the map lies.
        """
        size = (x.shape[2], x.shape[3])
        placed = self.known(size)
        if placed is None:
            placed = self._known[size] = self._found(x, run, size)
            self._covers = placed == Placed() and self.wanted != "centre"
        return placed

    def _found(self, x: Tensor, run: Callable[[Tensor], Tensor], size: Size) -> Placed:
        grid = self.grid = _grid(run(x))
        if self.wanted == "stretch" or (self.wanted is None and grid == size):
            return Placed()
        try:
            wider = _grid(run(_mirrored(x, (PROBE_PX, PROBE_PX))))
        except InputError:
            wider = None
        stride = None if wider is None else _stride(grid, wider)
        if stride is not None:
            lost = [n - g * stride for n, g in zip(size, grid, strict=True)]
            if self.wanted == "centre" or min(lost) >= stride:
                return self._margin(x, run, size, stride)
        # What a second size shows goes before what the first may look like by chance.
        scaled = _in_proportion(grid, wider, size) if wider else by_a_stride(grid, size)
        if self.wanted is None and scaled:
            return Placed()
        raise InputError(
            f"the network puts out a map of {grid[0]} x {grid[1]} for an input of {size[0]} x "
            f"{size[1]}"
            + (f", of {wider[0]} x {wider[1]} for {PROBE_PX} px more" if wider else "")
            + "; say by model.place whether it lies all over the image (stretch) or in its middle "
            "(centre, for convolutions without padding, which must take images of any size)"
        )

    def _margin(
        self,
        x: Tensor,
        run: Callable[[Tensor], Tensor],
        size: Size,
        stride: int,
    ) -> Placed:
        """The margin with which the map covers the input, and least of the input is lost.

        Least: what a network loses to sides that its strides do not divide, it loses at one end
        alone, so the map would be off its place.
        """
        best: list[tuple[int, int]] = [(0, 0), (0, 0)]
        starts = [max(n - g * stride, 0) for n, g in zip(size, self.grid or size, strict=True)]
        found = [False, False]
        for more in range(PERIOD + 1):
            margin = (starts[0] + more, starts[1] + more)
            try:
                grid = _grid(run(_mirrored(x, margin)))
            except InputError:  # a size that the network does not take
                continue
            for axis in (0, 1):
                covered = grid[axis] * stride
                lost = size[axis] + margin[axis] - covered
                corner = margin[axis] // 2 - lost // 2
                inside = corner >= 0 and corner + size[axis] <= covered
                if inside and (not found[axis] or lost < best[axis][1]):
                    best[axis], found[axis] = (margin[axis], lost), True
        if not all(found):
            raise InputError(
                f"the network's map lies in the middle of its input, but no margin makes it cover "
                f"an image of {size[0]} x {size[1]}; give another model.preprocessing.size, or "
                "model.place: stretch"
            )
        (high, lost_y), (wide, lost_x) = best
        return Placed((high, wide), (lost_y, lost_x), stride)


def by_a_stride(grid: Size, size: Size) -> bool:
    """Whether both sides are the input's by one whole stride, or a whole number of times as large.

    Sides that the stride does not divide may be rounded up or down.
    """
    for stride in {max(1, round(size[0] / grid[0])), max(1, round(size[1] / grid[1]))}:
        if all(n // stride <= g <= -(-n // stride) for n, g in zip(size, grid, strict=True)):
            return True
    return grid[0] % size[0] == 0 and grid[0] // size[0] == grid[1] / size[1]


def _stride(grid: Size, wider: Size) -> int | None:
    """Pixels of the input for one more cell of the map, if they are as many for both sides."""
    grown = {wider[0] - grid[0], wider[1] - grid[1]}
    if len(grown) != 1 or min(grown) <= 0 or PROBE_PX % min(grown):
        return None
    return PROBE_PX // min(grown)


def _in_proportion(grid: Size, wider: Size, size: Size) -> bool:
    """Whether the map grows as its input does, up to a cell; or is of one size always."""
    grown = (g * (n + PROBE_PX) / n for g, n in zip(grid, size, strict=True))
    return wider == grid or all(abs(w - g) <= 1 for w, g in zip(wider, grown, strict=True))


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
