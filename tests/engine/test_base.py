"""Calls through the seam: results by their numbers, few at a time, the first error of all."""

import pytest

from conceptseg.engine.base import each
from conceptseg.engine.local import LocalEngine
from tests.engine.shuffled import ShuffledEngine


def squared(base, number):
    return (base + number) ** 2


def failing(number):
    if number in (5, 7, 30):
        raise ValueError(f"call {number}")
    return number


@pytest.mark.parametrize("make", [LocalEngine, *(lambda s=s: ShuffledEngine(s) for s in range(4))])
def test_results_come_with_their_numbers(make):
    engine = make()
    base = engine.share(10)
    found = dict(each(engine, [(squared, (base, n)) for n in range(40)]))
    assert found == {n: (10 + n) ** 2 for n in range(40)}
    if isinstance(engine, ShuffledEngine):
        assert engine.out_of_order and engine.made == 40 + engine.killed > 40


@pytest.mark.parametrize("seed", range(6))
def test_of_several_errors_the_first_in_their_order_is_raised(seed):
    found = {}
    with pytest.raises(ValueError, match="call 5"):
        for number, value in each(ShuffledEngine(seed), [(failing, (n,)) for n in range(40)]):
            found[number] = value
    # All that comes before it is there, and nothing far behind it was begun.
    assert set(range(5)) <= set(found) and 30 not in found


def test_in_this_process_nothing_is_made_before_it_is_asked_for():
    made = []
    calls = each(LocalEngine(), [(made.append, (n,)) for n in range(10)])
    assert made == []
    next(calls)
    assert made == [0]


def test_no_calls_are_no_results():
    assert list(each(LocalEngine(), [])) == []
