"""What a layer puts out, read as a map [n, u, y, x], and put back into the layer's own form.

Layers speak different languages: convolutions put out [n, u, y, x], some vision transformers
[n, y, x, u], others a row of tokens [n, t, d] that may begin with class or register tokens, and
library blocks wrap any of these in tuples, dictionaries or output objects.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import copy
from functools import lru_cache
from math import floor, log2
from typing import Any, Literal

import torch
from torch import Tensor, nn

from conceptseg.errors import InputError

Restore = Callable[[Tensor], Any]
Order = Literal["first", "last"]
Window = tuple[tuple[int, int], tuple[int, int]]

MOST_EXTRA_TOKENS = 8
_PLAIN = (bool, int, float, complex, str, bytes, torch.dtype, torch.device, slice)
_HALF = (torch.float16, torch.bfloat16)


def full(tensor: Tensor) -> Tensor:
    """The tensor in float32 if it is a half type, so that sums and gradients do not underflow."""
    return tensor.float() if tensor.dtype in _HALF else tensor


def as_map(
    raw: Any, image_size: tuple[int, int], batch: int | None = None, channels: Order | None = None
) -> tuple[Tensor, Restore]:
    """A layer's raw output as a map [n, u, y, x], and the function that undoes this.

    `image_size` is the (h, w) that the network was given; `batch` the number of images, if the
    raw output is to have one row for each; `channels` says where a 4-D output has its channels
    when both readings suit the image. Of a tuple, list, mapping or output object the first tensor
    with a spatial map is taken, and with it all that hold the same numbers in another form.
    Leading class and register tokens are dropped: their number is what is left when a grid of the
    image's proportions is taken out of t.

    `restore(map')` rebuilds the raw structure around a map' of r * n rows (rows i*r .. i*r+r-1
    belong to image i) in the raw dtype and memory order; everything else, class tokens among it,
    stays as it was in the pass that made `raw`, repeated r times. It shares no memory with map'.

    Half types come as float32. Raises InputError if there is no spatial map or more than one
    reading of it.
    """
    if isinstance(raw, Tensor):
        return _tensor_map(raw, image_size, batch, channels)
    seen = []
    maps: dict[tuple[Any, ...], tuple[Tensor, Restore]] = {}
    for path, part in leaves(raw):
        try:
            maps[path] = _tensor_map(part, image_size, batch, channels)
        except InputError as error:
            seen.append(str(error))
    if maps:
        first, *others = maps
        inner = maps[first][0]
        same = [path for path in others if _equal(maps[path][0], inner)]
        restores = {path: maps[path][1] for path in (first, *same)}
        return inner, _Container(raw, restores, inner.shape[0])
    raise InputError(seen[0] if seen else f"it puts out {_describe(raw)}, no spatial map")


def read(
    layer: str,
    module: nn.Module,
    raw: Any,
    image_size: tuple[int, int],
    batch: int,
    window: Window | None,
) -> tuple[Tensor, Restore]:
    """:func:`as_map` for a named layer, of it the part that lies on the image; the error names it.

    `window` says where the image lies on the network's input, None if all over.
    """
    try:
        found, restore = as_map(raw, image_size, batch, channel_order(module))
    except InputError as error:
        raise InputError(f"layer {layer!r} has no spatial output: {error}") from None
    return (found, restore) if window is None else within(found, restore, image_size, window)


def within(
    found: Tensor, restore: Restore, outer: tuple[int, int], inner: Window
) -> tuple[Tensor, Restore]:
    """The part of a map that lies on a window of its input, and the function that undoes this.

    `outer` is the size of the input, `inner` the window's corner and size on it. The map's cells
    are taken to be of the largest power of two px with which it fits into the input, and to lie in
    its middle. What lies outside stays, for `restore`, as it was in the pass.
    """
    grid = (found.shape[2], found.shape[3])
    cell = 2.0 ** floor(log2(min(n / g for n, g in zip(outer, grid, strict=True))) + 1e-9)
    spans = []
    for side, cells, corner, length in zip(outer, grid, *inner, strict=True):
        start = (corner - (side - cells * cell) / 2) / cell
        first = min(max(round(start), 0), cells - 1)
        spans.append(slice(first, max(min(round(start + length / cell), cells), first + 1)))
    rows, columns = spans
    kept = found.detach()

    def around(new: Tensor) -> Any:
        whole = kept.repeat_interleave(new.shape[0] // kept.shape[0], 0)
        whole[:, :, rows, columns] = new
        return restore(whole)

    return found[:, :, rows, columns], around


def channel_order(module: nn.Module) -> Order | None:
    """Where a module has its channels, as far as its parts tell: a tie-breaker for `as_map`."""
    parts = [part for _, part in module.named_modules()]
    first = any(isinstance(part, _CHANNELS_FIRST) for part in parts)
    last = any(isinstance(part, (nn.LayerNorm, nn.Linear)) for part in parts)
    if first == last:
        return None
    return "first" if first else "last"


_CHANNELS_FIRST = (
    nn.modules.conv._ConvNd,
    nn.modules.batchnorm._NormBase,
    nn.GroupNorm,
    nn.modules.pooling._MaxPoolNd,
    nn.modules.pooling._AvgPoolNd,
    nn.Upsample,
    nn.Dropout2d,
)


def rows_match(value: Any, n: int) -> bool:
    """Whether every tensor within has n rows, one for each image.

    Not so of objects that cannot be looked into, such as torchvision's `ImageList`: what they
    hold of each image cannot be repeated.
    """
    if isinstance(value, Tensor):
        return value.dim() > 0 and value.shape[0] == n
    if isinstance(value, (Mapping, tuple, list)):
        return all(rows_match(part, n) for _, part in _parts(value))
    return value is None or isinstance(value, _PLAIN)


def spread(value: Any, n: int, repeats: int) -> Any:
    """A copy of all tensors within, those of n rows with each row repeated."""
    if isinstance(value, Tensor):
        rows = value.dim() > 0 and value.shape[0] == n and repeats > 1
        return value.repeat_interleave(repeats, 0) if rows else value.clone()
    for key, part in _parts(value):
        value = _replaced(value, key, spread(part, n, repeats))
    return value


def tensors_in(value: Any) -> Iterator[Tensor]:
    """All tensors within a raw output."""
    for _, tensor in leaves(value):
        yield tensor


def leaves(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], Tensor]]:
    """All tensors within a raw output, each with the keys that lead to it."""
    if isinstance(value, Tensor):
        yield path, value
    for key, part in _parts(value):
        yield from leaves(part, (*path, key))


class _Container:
    """Rebuilds a tuple, list or mapping around the part that is a map, and parts equal to it."""

    def __init__(self, raw: Any, restores: dict[tuple[Any, ...], Restore], n: int):
        self.raw, self.restores, self.n = raw, restores, n

    def __call__(self, new: Tensor) -> Any:
        repeats = new.shape[0] // self.n
        result = self.raw
        if repeats > 1:
            result = spread(result, self.n, repeats)
        for path, restore in self.restores.items():
            result = _deep_replaced(result, path, restore(new))
        return result


def _equal(one: Tensor, other: Tensor) -> bool:
    """Whether two maps hold the same numbers, as where a block returns its output in two forms."""
    return one.shape == other.shape and bool(torch.equal(one.detach(), other.detach()))


def _parts(value: Any) -> list[tuple[Any, Any]]:
    if isinstance(value, Mapping):
        return list(value.items())
    if isinstance(value, (tuple, list)):
        return list(enumerate(value))
    return []


def _replaced(value: Any, key: Any, part: Any) -> Any:
    """A shallow copy of a container with one part replaced, of the container's own type."""
    if isinstance(value, tuple):
        parts = [*value[:key], part, *value[key + 1 :]]
        return type(value)(*parts) if hasattr(value, "_fields") else type(value)(parts)
    changed = copy(value)
    changed[key] = part
    return changed


def _deep_replaced(value: Any, path: Sequence[Any], part: Any) -> Any:
    """A copy of nested containers with the part at the end of a path of keys replaced."""
    if not path:
        return part
    key, *rest = path
    return _replaced(value, key, _deep_replaced(value[key], rest, part))


def _describe(raw: Any) -> str:
    if isinstance(raw, Tensor):
        return "shape [" + ", ".join(map(str, raw.shape)) + "]"
    return f"a {type(raw).__name__}"


def _tensor_map(
    raw: Tensor, image_size: tuple[int, int], batch: int | None, channels: Order | None
) -> tuple[Tensor, Restore]:
    if not raw.is_floating_point():
        raise InputError(f"it puts out {_describe(raw)} of {raw.dtype}, no activations")
    if batch is not None and raw.dim() > 0 and raw.shape[0] != batch:
        raise InputError(
            f"it puts out {_describe(raw)}, not one row for each of {batch} images; "
            "name the block around it"
        )
    if raw.dim() == 3:
        return _token_map(raw, image_size)
    if raw.dim() == 4:
        return _image_map(raw, image_size, channels)
    raise InputError(f"it puts out {_describe(raw)}, no spatial map [n, channels, y, x]")


def _image_map(
    raw: Tensor, image_size: tuple[int, int], channels: Order | None
) -> tuple[Tensor, Restore]:
    order = _order_of(raw, image_size, channels)
    dtype = raw.dtype
    if order == "first":
        last_in_memory = not raw.is_contiguous() and raw.is_contiguous(
            memory_format=torch.channels_last
        )
        memory = torch.channels_last if last_in_memory else torch.contiguous_format
        return full(raw), lambda new: new.to(dtype).clone(memory_format=memory)

    def restore(new: Tensor) -> Tensor:
        return new.to(dtype).permute(0, 2, 3, 1).clone(memory_format=torch.contiguous_format)

    return full(raw).permute(0, 3, 1, 2), restore


def _order_of(raw: Tensor, image_size: tuple[int, int], channels: Order | None) -> Order:
    """Whether [n, a, b, c] has its channels in a or in c: the reading that suits the image."""
    _, a, b, c = raw.shape
    fits: dict[Order, int] = {
        "first": _fit(b, c, *image_size),
        "last": _fit(a, b, *image_size),
    }
    if max(fits.values()) == 0:
        if channels == "first" and b * c > 1:
            return "first"
        raise InputError(
            f"it puts out {_describe(raw)}, which has no grid of the proportions of the "
            f"network's input {image_size[0]} x {image_size[1]}"
        )
    if fits["first"] == fits["last"]:
        return channels or "first"
    return "first" if fits["first"] > fits["last"] else "last"


def _fit(y: int, x: int, h: int, w: int) -> int:
    """How well a grid suits an image: 2 at one whole stride, 1 up to rounding, 0 not at all.

    Up to rounding: some stride s has h / s within 1 of y and w / s within 1 of x.
    """
    if y * x <= 1 or y > h or x > w:
        return 0
    if h % y == 0 and w % x == 0 and h // y == w // x:
        return 2
    lowest = max(h / (y + 1), w / (x + 1))
    highest = min(h / max(y - 1, 1e-9), w / max(x - 1, 1e-9))
    return int(lowest <= highest)


def _token_map(raw: Tensor, image_size: tuple[int, int]) -> tuple[Tensor, Restore]:
    n, t, d = raw.shape
    y, x = token_grid(t, image_size)
    extra = t - y * x
    kept, dtype = raw[:, :extra].detach(), raw.dtype

    def restore(new: Tensor) -> Tensor:
        tokens = new.to(dtype).flatten(2).transpose(1, 2)
        before = kept.repeat_interleave(new.shape[0] // n, 0) if extra else tokens[:, :0]
        return torch.cat((before, tokens), 1)

    return full(raw)[:, extra:].transpose(1, 2).reshape(n, d, y, x), restore


@lru_cache(maxsize=256)
def token_grid(t: int, image_size: tuple[int, int]) -> tuple[int, int]:
    """The (y, x) with y * x = t minus a few extra tokens, in the image's proportions.

    Both sides are divided by one stride and rounded the same way. A stride that divides both
    sides is believed before one that does not, and fewer extra tokens before more; where these
    two rules disagree the layer is ambiguous.
    """
    h, w = image_size
    whole: dict[tuple[int, int], int] = {}
    rounded: dict[tuple[int, int], int] = {}
    for stride in range(1, max(h, w) + 1):
        for grid in ((h // stride, w // stride), (-(-h // stride), -(-w // stride))):
            extra = t - grid[0] * grid[1]
            if grid[0] * grid[1] > 1 and 0 <= extra <= MOST_EXTRA_TOKENS:
                divides = h % stride == 0 and w % stride == 0
                (whole if divides else rounded)[grid] = extra
    if not whole and not rounded:
        raise InputError(
            f"it puts out {t} tokens, which no grid of the proportions of the network's input "
            f"{h} x {w} explains with at most {MOST_EXTRA_TOKENS} class tokens"
        )
    best = [min(found.items(), key=lambda item: item[1]) for found in (whole, rounded) if found]
    if len(best) == 2 and best[1][1] < best[0][1] and best[0][0] != best[1][0]:
        told = " or ".join(f"{y} x {x} and {extra} class tokens" for (y, x), extra in best)
        raise InputError(
            f"it puts out {t} tokens, which may be {told} for an input of {h} x {w}; "
            "give images whose sides are multiples of the patch"
        )
    return best[0][0]
