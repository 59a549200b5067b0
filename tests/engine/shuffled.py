"""An engine that does everything which a cluster may do: late, out of order, twice, elsewhere."""

import pickle
import random
from collections.abc import Callable, Sequence
from typing import Any

from conceptseg.engine.base import Engine, Ref


class Given(Ref[Any]):
    """A value or a call in bytes, as it would travel."""

    def __init__(self, value: Any) -> None:
        self.content = pickle.dumps(value)
        self.result: bytes | Exception | None = None


class ShuffledEngine(Engine):
    """Calls are made in an order drawn at random; of three, one dies at its end and is made again.

    As by machines with files of their own, which here are the same.
    Calls, what they are given and what they give are pickled, as between processes.
    """

    elsewhere = True

    def __init__(self, seed: int = 0) -> None:
        self.random = random.Random(seed)
        self.made = self.killed = 0
        self.out_of_order = False

    def slots(self) -> int:
        return 3

    def share(self, value: Any) -> Ref[Any]:
        return Given(value)

    def submit(self, call: Callable[..., Any], *arguments: Any) -> Ref[Any]:
        # What is shared goes as it was given, once; the call names it by its place.
        refs = [one for one in arguments if isinstance(one, Given)]
        plain = [refs.index(one) if isinstance(one, Given) else one for one in arguments]
        ref = Given((call, plain, [isinstance(one, Given) for one in arguments]))
        ref.refs = refs  # type: ignore[attr-defined]
        return ref

    def done(self, refs: Sequence[Ref[Any]]) -> Sequence[Ref[Any]]:
        chosen: Any = self.random.choice(refs)
        self.out_of_order |= chosen is not refs[0]
        self.made += 1
        call, plain, shared = pickle.loads(chosen.content)
        values = [pickle.loads(one.content) for one in chosen.refs]
        arguments = [values[a] if s else a for a, s in zip(plain, shared, strict=True)]
        try:
            result: Any = pickle.dumps(call(*arguments))
        except Exception as error:
            result = error
        if self.random.random() < 1 / 3:
            self.killed += 1
            return self.done(refs)
        chosen.result = result
        return [chosen]

    def result(self, ref: Ref[Any]) -> Any:
        assert isinstance(ref, Given) and ref.result is not None
        if isinstance(ref.result, Exception):
            raise ref.result
        return pickle.loads(ref.result)

    def cancel(self, refs: Sequence[Ref[Any]]) -> None:
        pass
