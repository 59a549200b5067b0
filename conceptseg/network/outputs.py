"""Whatever a segmentation network returns -> one tensor of class maps."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from conceptseg.errors import InputError, nearest
from conceptseg.network.instances import are_instances, fold_instances

KEYS = ("out", "logits", "seg_logits", "sem_seg", "output", "pred", "masks", "seg", "main")
"""Entries of dictionaries and output objects that hold class maps."""

QUERIES = (("class_queries_logits", "masks_queries_logits"), ("logits", "pred_masks"))
"""Pairs of entries, class and mask logits of queries: of MaskFormer and its heirs, and of DETR."""

FOLDED = {
    "queries, folded": "logarithms of sums over queries",
    "instances, folded": "logarithms of the largest score x mask of a class",
}
"""Rules that make logits of something else than maps, and what these are."""

AGREE = 0.5
"""Cohen's kappa of the labels of two maps from which on one is a coarser version of the other."""

Size = Sequence[int]
Wanted = int | str


@dataclasses.dataclass(frozen=True)
class Taken:
    """The class maps [n, k, y, x] that were taken, from where in the output, and by what rule.

    `coarser` are others of their kind that were left for their size alone.
    """

    maps: Tensor
    path: tuple[str, ...] = ()
    rule: str = "the output itself"
    coarser: tuple["Taken", ...] = ()

    @property
    def where(self) -> str:
        """The place in words: "the output itself", or "out", "1", "aux.0"."""
        return ".".join(self.path) if self.path else "the output itself"

    def within(self, key: object, rule: str | None = None) -> "Taken":
        """The same maps, seen from a container that holds them under `key`."""
        others = tuple(one.within(key) for one in self.coarser)
        return Taken(self.maps, (str(key), *self.path), rule or self.rule, others)


def take(
    output: Any, classes: int, images: int, size: Size | None = None, wanted: Wanted | None = None
) -> Taken:
    """Class maps [n, k, y, x] of any size, from what a network returned.

    =====================================  =======================================================
    output                                 taken
    =====================================  =======================================================
    tensor [n, k, y, x]                    itself; [n, y, x] of the image's proportions is one map
    mapping or output object               query outputs folded (:func:`fold_queries`), else the
                                           entry of :data:`KEYS`, else its only class map
    list of instances, for each image      folded (:func:`fold_instances`)
    other tuple or list                    the class maps with `classes` channels (of two classes
                                           or one), else any; of these the finest (deep
                                           supervision, logits beside features)
    =====================================  =======================================================

    `images` is n, `size` the height and width of the network's input. `wanted` names the part to
    take instead: an index, a key, several of both joined by dots, or "last".

    Nothing is chosen among equals: of several maps that suit the classes and are equally fine, one
    may be the result and another a training aid, and only the network's author knows. So it is
    where two classes have two maps, and a single map is finer. Whether coarser maps show what the
    finest does is for :func:`check_alike`.

    Raises :class:`~conceptseg.errors.InputError` naming what came when there is no class map in
    it, when several would do (with the choices), when `wanted` names none, or when it holds class
    indices.
    """
    search = _Search(classes, images, size)
    if wanted is None:
        found = search.find(output)
    else:
        path, part = _part(output, wanted)
        found = search.find(part)
        for key in reversed(path):
            found = found and found.within(key, "by model.output")
    if found is None:
        what = describe(output) if wanted is None else f"{describe(part)} at {wanted!r}"
        raise InputError(
            f"the network returned {what}, which holds no class maps [n, k, y, x] of "
            f"{_plural(images, 'image')}; wrap it in a module that returns its logits "
            "(source: factory)"
        )
    if not found.maps.dtype.is_floating_point:
        raise InputError(
            f"the network returned {describe(found.maps)}: class indices; logits are needed, so "
            "leave out its argmax"
        )
    return found


class _Search:
    """Looks for class maps of so many classes, images and a size in nested outputs."""

    def __init__(self, classes: int, images: int, size: Size | None):
        self.classes, self.images, self.size = classes, images, size

    def find(self, output: Any) -> Taken | None:
        if isinstance(output, Tensor):
            return self._tensor(output)
        entries = _entries(output)
        if entries is not None:
            return self._entry(entries)
        if are_instances(output, self.images):
            return Taken(fold_instances(output, self.classes), rule="instances, folded")
        if isinstance(output, (tuple, list)):
            parts = [self.find(part) for part in output]
            return self._of_several({i: part for i, part in enumerate(parts) if part})
        return None

    def _tensor(self, tensor: Tensor) -> Taken | None:
        if not tensor.ndim or tensor.shape[0] != self.images:
            return None
        if tensor.ndim == 3 and (self.size is None or fits(tensor.shape[1:], self.size)):
            return Taken(tensor.unsqueeze(1), rule="one map without an axis of classes")
        return Taken(tensor) if tensor.ndim == 4 else None

    def _entry(self, entries: Mapping[str, Any]) -> Taken | None:
        for names in QUERIES:
            pair = [part for name in names if isinstance(part := entries.get(name), Tensor)]
            if [part.ndim for part in pair] == [3, 4]:
                maps = fold_queries(*pair)
                return Taken(maps, (" and ".join(names),), "queries, folded")
        named = {key: entries[key] for key in KEYS if entries.get(key) is not None}
        known = {key: found for key, one in named.items() if (found := self.find(one))}
        if known:
            return self._of_several(known, rule="the entry that usually holds the result")
        rest = {k: self._tensor(v) for k, v in entries.items() if isinstance(v, Tensor)}
        return self._of_several({k: v for k, v in rest.items() if v is not None}, finest=False)

    def _of_several(
        self, maps: Mapping[Any, Taken], rule: str = "the only one", finest: bool = True
    ) -> Taken | None:
        """The (finest) one of those that suit the classes; an error where that leaves several."""
        exact = {k: m for k, m in maps.items() if m.maps.shape[1] == self.classes}
        # One map tells two classes apart, and no more.
        either = {k: m for k, m in maps.items() if m.maps.shape[1] in (self.classes, 1)}
        suit = (exact if self.classes > 2 else {}) or either or maps
        if not suit:
            return None
        pixels = {key: one.maps.shape[2] * one.maps.shape[3] for key, one in suit.items()}
        left = [key for key in suit if not finest or pixels[key] == max(pixels.values())]
        first, *further = left
        mixed = bool(exact) and not any(key in exact for key in left)
        if mixed or any(not _same(suit[first].maps, suit[key].maps) for key in further):
            choices = [suit[key].within(key) for key in (suit if mixed else left)]
            raise _several(choices, next(iter(exact)) if mixed else first)
        if len(suit) > 1:
            rule = f"the finest of {len(suit)}"
        elif len(maps) > 1:
            rule = f"the only one of {len(maps)} with a map for each class"
        taken, kind = suit[first], suit[first].maps.shape[1]
        rest = (k for k, m in suit.items() if k not in left and m.maps.shape[1] == kind)
        others = [suit[key].within(key) for key in rest]
        found = taken.within(first, rule)
        return dataclasses.replace(found, coarser=(*found.coarser, *others))


def _several(choices: Sequence[Taken], first: object) -> InputError:
    listed = "; ".join(f"{one.where}: {_shape(one)}" for one in choices)
    return InputError(
        f"the network returned {len(choices)} maps that could be its result ({listed}); "
        f"say which by model.output, an index or key, such as {first!r} or last"
    )


def check_alike(taken: Taken) -> bool:
    """Whether it is told that maps taken for being the finest show what coarser ones do.

    Heads of deep supervision learn one and the same; maps of features, of edges or of another task
    may have as many channels. Told by the labels (:data:`AGREE`), which the finest ones must share
    with one other at least; not by labels that are the same everywhere.

    Raises :class:`~conceptseg.errors.InputError` where they share them with none.
    """
    agreed = [_kappa(taken.maps, one.maps) for one in taken.coarser]
    told = [one for one in agreed if one is not None]
    if not agreed or any(one >= AGREE for one in told):
        return True
    if len(told) < len(agreed):
        return False
    listed = "; ".join(f"{one.where}: {_shape(one)}" for one in (taken, *taken.coarser))
    raise InputError(
        f"the network returned {len(agreed) + 1} maps that could be its result ({listed}), and the "
        f"finest labels other pixels than the rest (kappa {max(told):.2f} at most); say which by "
        f"model.output, such as {taken.where} or {taken.coarser[-1].where}"
    )


def _kappa(fine: Tensor, coarse: Tensor) -> float | None:
    """Cohen's kappa of two class maps' labels, on the second's grid; None where all are one."""
    grid = [coarse.shape[2], coarse.shape[3]]
    one = F.interpolate(_labels(fine)[:, None].float(), grid, mode="nearest-exact")[:, 0]
    other = _labels(coarse).float()
    shares = [
        [float((each == c).float().mean()) for c in range(max(fine.shape[1], 2))]
        for each in (one, other)
    ]
    chance = sum(a * b for a, b in zip(*shares, strict=True))
    agreed = float((one == other).float().mean())
    return None if chance > 1 - 1e-6 else (agreed - chance) / (1 - chance)


def _labels(maps: Tensor) -> Tensor:
    """Labels [n, y, x] of maps of any numbers."""
    maps = maps.detach().float()
    if maps.shape[1] > 1:
        return maps.argmax(1)
    low, high = maps.aminmax()
    return maps[:, 0] > (0.5 if low >= 0 and high <= 1 else 0)


def fits(grid: Size, size: Size) -> bool:
    """Whether a grid may lie on an image: one scale for both sides, up to a cell; or cut alike."""
    (y, x), (h, w) = grid, size
    low, high = max((y - 1) / h, (x - 1) / w), min((y + 1) / h, (x + 1) / w)
    return low <= high or h - y == w - x > 0


def fold_queries(class_logits: Tensor, mask_logits: Tensor) -> Tensor:
    """Log class maps of a query network: log sum_q p_q(c) m_q(y, x), shape [n, k, y, x], <= log q.

    p_q = softmax of `class_logits` [n, q, k + 1] without its last entry, the null class (the
    softmax is taken with it); m_q = sigmoid of `mask_logits` [n, q, y, x]. This is the semantic
    inference of Cheng et al., NeurIPS 2021 (MaskFormer), section 3.4, in log form, so that it
    behaves as a logit; its argmax is theirs. It is taken on the masks' own grid and the log is
    resized afterwards, where the authors resize masks first: 16 times the memory at stride 4.

    The largest class and mask logarithms are factored out, so no sum underflows where one query
    holds both.
    """
    classes = F.log_softmax(class_logits.float(), dim=2)[..., :-1]
    masks = F.logsigmoid(mask_logits.float())
    class_top = classes.amax(1, keepdim=True).detach()
    mask_top = masks.amax(1, keepdim=True).detach()
    total = torch.einsum("nqk,nqyx->nkyx", (classes - class_top).exp(), (masks - mask_top).exp())
    tiny = torch.finfo(total.dtype).tiny
    return (total + tiny).log() + class_top[:, 0, :, None, None] + mask_top


def describe(output: Any, depth: int = 0) -> str:
    """A short name of what a network returned: types, keys and shapes."""
    if isinstance(output, Tensor):
        return f"a tensor {list(output.shape)} of {str(output.dtype).removeprefix('torch.')}"
    entries = _entries(output)
    if entries is not None:
        listed = ", ".join(map(str, list(entries)[:6])) or "nothing"
        return f"{type(output).__name__} with {listed}"
    if isinstance(output, (tuple, list)) and depth < 2:
        return f"{type(output).__name__} of " + ", ".join(
            describe(o, depth + 1) for o in output[:4]
        )
    return type(output).__name__


def _part(output: Any, wanted: Wanted) -> tuple[list[str], Any]:
    """The part of an output that `wanted` names, and the keys that lead to it."""
    path, part = [], output
    for key in str(wanted).split("."):
        entries = dict(_choices(part))
        if key == "last" and entries and "last" not in entries:
            key = list(entries)[-1]
        if key not in entries:
            raise InputError(
                f"model.output is {wanted!r}, but the network returned {describe(output)}; "
                f"{nearest(key, list(entries)) if entries else 'leave the key out'}"
            )
        part = entries[key]
        path.append(key)
    return path, part


def _choices(part: Any) -> Iterator[tuple[str, Any]]:
    """The parts of a mapping, output object, tuple or list, by key."""
    entries = _entries(part)
    if entries is not None:
        yield from ((str(key), one) for key, one in entries.items() if one is not None)
    elif isinstance(part, (tuple, list)):
        yield from ((str(index), one) for index, one in enumerate(part))


def _entries(output: Any) -> Mapping[str, Any] | None:
    if isinstance(output, Mapping):
        return output
    if dataclasses.is_dataclass(output) and not isinstance(output, type):
        return {f.name: getattr(output, f.name) for f in dataclasses.fields(output)}
    if isinstance(output, tuple) and hasattr(output, "_fields"):
        named = dict(zip(output._fields, output, strict=True))
        known = {*KEYS, *(name for names in QUERIES for name in names)}
        return named if named.keys() & known else None
    return None


def _same(one: Tensor, other: Tensor) -> bool:
    return one is other or (one.shape == other.shape and bool(torch.equal(one, other)))


def _shape(taken: Taken) -> str:
    return str(list(taken.maps.shape))


def _plural(count: int, noun: str) -> str:
    return f"{count} {noun}" + ("s" if count != 1 else "")
