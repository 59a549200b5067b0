"""Weights fitted to a network: by its own loader, whatever stands before the keys, or refused.

A checkpoint seldom holds a network's keys alone: they stand under `state_dict` or
`network_weights`, behind `module.` or `model._orig_mod.`, beside loss weights and optimisers, and
the network may itself be held by a wrapper as `self.net`. So no list of such names is kept: what
precedes a key of the network is its prefix, and the prefix under which most of the network is
found is taken off. What is then left over is named and left if it lies outside of the network, and
refused if it lies within, where it shows that another network was saved.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from conceptseg.errors import InputError, nearest
from conceptseg.network.blame import where
from conceptseg.network.checkpoint import States, hash_tensors, load_state
from conceptseg.network.leftover import COUNTERS, described, is_foreign
from conceptseg.network.weight_norm import renormed

WRAPPING = {"module", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"}
"""What torch puts into keys, before them or within, where it wraps a module."""

TRIED = 4


@dataclass(frozen=True)
class Reading:
    """One way to read a checkpoint: a mapping in it, and a prefix that is taken off its keys.

    `state` are the tensors behind the prefix, `outside` the mapping's other keys.
    """

    place: str
    prefix: str
    state: dict[str, Tensor]
    outside: tuple[str, ...]

    @property
    def name(self) -> str:
        return ".".join(filter(None, (self.place, self.prefix.rstrip(".")))) or "its top level"

    def within(self, other: "Reading") -> bool:
        return self.place == other.place and self.prefix.startswith(other.prefix)


def load_weights(module: nn.Module, path: Path | str, part: str | None = None) -> tuple[str, ...]:
    """:func:`~conceptseg.network.checkpoint.load_state`, then :func:`fit_state`."""
    return fit_state(module, load_state(path), str(path), part)


def fit_state(
    module: nn.Module, states: States, source: str, part: str | None = None
) -> tuple[str, ...]:
    """Load a checkpoint's tensors into a network, all of the network or nothing.

    The network's own `load_state_dict`, with its hooks, does it, so keys that it renames fit. Old
    and new `weight_norm` are taken for each other. `part` names the entry or prefix to take where
    a checkpoint holds several networks; `source` names the checkpoint in messages.

    Returns the keys that were left: those outside of the network, and constants, heads of
    backbones and auxiliary heads within.

    Raises :class:`~conceptseg.errors.InputError` naming the first keys that are missing, that
    belong to another network, or are of another shape, and for several networks that fit; the
    network is then as it was.
    """
    core, before = _core(module)
    wanted = core.state_dict()
    readings = _readings(states, wanted, source, part)
    before_loading = {key: value.clone() for key, value in _tensors(module).items()}
    problems: list[str] = []
    for reading in readings[:TRIED]:
        state = renormed(reading.state, wanted)
        for target, start in ((module, before), (core, ""))[: 2 if before else 1]:
            try:
                given = {start + key: value for key, value in state.items()}
                extra = _load(target, given)
                extra = [key.removeprefix(start) for key in extra]
                foreign = [key for key in extra if is_foreign(key, state[key], core)]
                if not foreign:
                    return _left(reading, extra)
                problems.append(described([], foreign, []))
            except _Unfit as unfit:
                problems.append(unfit.words or _compared(state, wanted, core))
            _restore(module, before_loading)
    raise InputError(
        f"{source}: does not fit the network: {problems[0]}; check model.name, model.arguments "
        "and model.classes"
    )


class _Unfit(Exception):
    """A state does not fill a network; `words` are its own loader's, if it said anything."""

    def __init__(self, words: str = ""):
        super().__init__(words)
        self.words = words


def _core(module: nn.Module) -> tuple[nn.Module, str]:
    """What a user's wrapper holds, if it holds nothing else, and the prefix of its keys."""
    before = ""
    while True:
        keys = list(module.state_dict())
        first = {key.partition(".")[0] for key in keys}
        child = module._modules.get(next(iter(first))) if len(first) == 1 else None
        # One layer alone is no network that a checkpoint could hold: any like it would do.
        single = child is None or not any("." in key for key in child.state_dict())
        if child is None or single or isinstance(module, torch.jit.ScriptModule):
            return module, before
        before += next(iter(first)) + "."
        module = child


def _readings(
    states: States, wanted: Mapping[str, Tensor], source: str, part: str | None
) -> list[Reading]:
    """The ways to read a checkpoint, those first that fill most of the network."""
    if part is not None:
        states = _chosen(states, part, source)
    found: dict[tuple[str, str], Reading] = {}
    for place, state in [*states.items(), *_joined(states)]:
        for variant in (state, _unwrapped(state)):
            for prefix in _prefixes(variant, wanted):
                inside = {
                    key.removeprefix(prefix): value
                    for key, value in variant.items()
                    if key.startswith(prefix)
                }
                outside = tuple(key for key in variant if not key.startswith(prefix))
                reading = Reading(place, prefix, inside, outside)
                if place not in states and any(
                    f"{reading.name}.".startswith(f"{p}.") for p in states
                ):
                    continue  # one piece alone, which is read from its own place
                known = found.get((place, prefix))
                if known is None or _worth(reading, wanted) > _worth(known, wanted):
                    found[place, prefix] = reading
    ranked = sorted(found.values(), key=lambda one: _worth(one, wanted), reverse=True)
    _refuse_several(ranked, wanted, source)
    return ranked


def _worth(reading: Reading, wanted: Mapping[str, Tensor]) -> tuple[int, int, int]:
    """Keys of the network that a reading holds in the right shape, then in any; then brevity."""
    both = reading.state.keys() & wanted.keys()
    fitting = sum(reading.state[key].shape == _shape(wanted[key]) for key in both)
    return fitting, len(both), -len(reading.prefix)


def _chosen(states: States, part: str, source: str) -> States:
    chosen: States = {}
    for place, state in states.items():
        if place == part or place.startswith(part + "."):
            chosen[place] = state
            continue
        start = part.removeprefix(place).lstrip(".") + "." if part.startswith(place) else "\0"
        inside = {key: value for key, value in state.items() if key.startswith(start)}
        if inside:
            chosen[place] = inside
    if not chosen:
        known = {*states, *(key.partition(".")[0] for state in states.values() for key in state)}
        raise InputError(
            f"{source}: model.weights_key: it has no {part!r}; {nearest(part, known - {''})}"
        )
    return chosen


def _joined(states: States) -> Iterator[tuple[str, dict[str, Tensor]]]:
    """Networks saved in pieces, `{encoder: {...}, decoder: {...}}`, put together again."""
    parents = {place.rpartition(".")[0] for place in states if place}
    for parent in sorted(parents):
        start = f"{parent}." if parent else ""
        pieces = {
            f"{place.removeprefix(start)}.{key}": value
            for place, state in states.items()
            if place and place.startswith(start)
            for key, value in state.items()
        }
        if parent not in states:
            yield parent, pieces


def _unwrapped(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Keys without what torch puts into them; as they are if two would then be one."""
    short = {
        ".".join(part for part in key.split(".") if part not in WRAPPING): value
        for key, value in state.items()
    }
    return short if len(short) == len(state) else dict(state)


def _prefixes(state: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> list[str]:
    """What stands before keys of the network, most frequent first; and nothing, and what all have.

    The last two are for keys that the network's own loader renames.
    """
    counts: Counter[str] = Counter()
    for key in state:
        parts = key.split(".")
        for cut in range(len(parts)):
            if ".".join(parts[cut:]) in wanted:
                counts["".join(part + "." for part in parts[:cut])] += 1
    first = Counter(key.partition(".")[0] for key in state).most_common(1)
    common = [f"{name}." for name, count in first if 2 * count > len(state)]
    return list(dict.fromkeys([*(prefix for prefix, _ in counts.most_common(TRIED)), "", *common]))


def _refuse_several(ranked: Sequence[Reading], wanted: Mapping[str, Tensor], source: str) -> None:
    """Of readings that fit equally well with other weights none is better than another."""
    best = _worth(ranked[0], wanted)[:2]
    if best[0] == 0:
        return
    equal = [one for one in ranked if _worth(one, wanted)[:2] == best]
    outer = [
        one for one in equal if not any(one.within(other) for other in equal if other is not one)
    ]
    shared = [{k: v for k, v in one.state.items() if k in wanted} for one in outer]
    if len({hash_tensors(state.items()) for state in shared}) > 1:
        names = sorted(one.name for one in outer)
        raise InputError(
            f"{source}: holds several networks ({', '.join(names)}); name the one to study by "
            "model.weights_key"
        )


def _load(target: nn.Module, state: Mapping[str, Tensor]) -> list[str]:
    """Fill a module by its own loader; returns the keys that it did not want.

    Tensors are not numbers before, so what the loader leaves out shows, whatever it says itself.
    """
    tensors = _tensors(target)
    for key in tensors.keys() & state.keys():
        given, own = state[key].dtype, tensors[key].dtype
        if _kind(given) != _kind(own) and not key.endswith(COUNTERS):
            words = f"{key} holds {given}, the network's {own}".replace("torch.", "")
            raise _Unfit(f"{words}; convert it as it is meant")
    with torch.no_grad():
        for tensor in tensors.values():
            if tensor.is_floating_point():
                tensor.fill_(float("nan"))
    try:
        said: Any = _ask(target, dict(state))
    except Exception as error:  # whatever a loader of the user's own raises
        text = str(error)
        if "size mismatch" in text:
            raise _Unfit from error
        words = (text.strip() or "no message").splitlines()[0][:160]
        raise _Unfit(
            f"its own loader says {type(error).__name__}: {words}{where(error)}"
        ) from error
    after = _tensors(target)
    empty = [
        key
        for key, tensor in after.items()
        if tensor.is_floating_point() and tensor.numel() and bool(tensor.isnan().all())
        if not (key in state and bool(state[key].isnan().all()))
    ]
    missing = [key for key in getattr(said, "missing_keys", ()) if not key.endswith(COUNTERS)]
    unread = [key for key in missing if key in after and not after[key].is_floating_point()]
    if empty or unread:
        raise _Unfit
    extra = getattr(said, "unexpected_keys", None)
    if extra is None:
        extra = [key for key in state if key not in after] if state.keys() >= after.keys() else []
    return [key for key in extra if key in state and not key.endswith(COUNTERS)]


def _kind(dtype: torch.dtype) -> str:
    """What numbers a tensor holds: one kind becomes another only by losing what it means."""
    if dtype in (torch.float64, torch.float32, torch.float16, torch.bfloat16):
        return "real"
    if dtype.is_complex:
        return "complex"
    return str(dtype) if dtype.is_floating_point else "whole"


def _ask(target: nn.Module, state: dict[str, Tensor]) -> Any:
    try:
        return target.load_state_dict(state, strict=False)
    except TypeError as error:
        if "strict" not in str(error):
            raise
    return target.load_state_dict(state)


def _tensors(module: nn.Module) -> dict[str, Tensor]:
    """A module's weights and saved buffers themselves, not copies."""
    return {
        key: value
        for key, value in module.state_dict().items()
        if isinstance(value, Tensor) and not nn.parameter.is_lazy(value)
    }


def _restore(module: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    with torch.no_grad():
        for key, value in _tensors(module).items():
            value.copy_(tensors[key])


def _left(reading: Reading, extra: Iterable[str]) -> tuple[str, ...]:
    inside = [reading.prefix + key for key in extra]
    return tuple(key for key in (*inside, *reading.outside) if not key.endswith(COUNTERS))


def _compared(state: Mapping[str, Tensor], wanted: Mapping[str, Tensor], core: nn.Module) -> str:
    """What keeps a state from filling a network, key by key."""
    missing = [key for key in wanted if key not in state and not key.endswith(COUNTERS)]
    extra = [key for key in state if key not in wanted and not key.endswith(COUNTERS)]
    foreign = [key for key in extra if missing or is_foreign(key, state[key], core)]
    other = [
        f"{key} is {list(state[key].shape)}, the network's {list(_shape(wanted[key]))}"
        for key in wanted
        if key in state and state[key].shape != _shape(wanted[key])
    ]
    return described(missing, foreign, other)


def _shape(tensor: Tensor) -> Sequence[int]:
    return () if nn.parameter.is_lazy(tensor) else tensor.shape
