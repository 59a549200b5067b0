"""What a run knows: typed when it is written and when it is read, never changed, merged by key."""

import pytest

from conceptseg.engine.known import Key, Known
from tests.toys import Sum

MEAN, SUM = Key("mean", float), Key("sum", Sum)


def test_what_is_known_is_read_by_its_key():
    known = MEAN(0.5) | SUM(Sum(("a",), (1.0,)))
    assert known[MEAN] == 0.5 and known[SUM].total() == 1.0
    assert MEAN in known and Key("other", float) not in known
    assert known.get(Key("other", float)) is None and known.get(Key("other", float), 2.0) == 2.0


def test_nothing_known_ever_changes():
    first = MEAN(0.5)
    second = first | MEAN(1.5)
    assert first[MEAN] == 0.5 and second[MEAN] == 1.5


def test_what_is_missing_or_of_another_type_is_said():
    with pytest.raises(KeyError, match="'sum' is not known here; known: mean"):
        MEAN(0.5)[SUM]
    with pytest.raises(KeyError, match="known: nothing"):
        Known()[MEAN]
    with pytest.raises(TypeError, match="'mean' is of type float, its key says Sum"):
        MEAN(0.5)[Key("mean", Sum)]


def test_keys_of_a_name_are_equal_so_families_need_no_register():
    assert Key("moments/a", Sum) == Key("moments/a", Sum) != Key("moments/b", Sum)
    assert Key("moments/a", Sum)(Sum(("a",), (2.0,)))[Key("moments/a", Sum)].total() == 2.0


def test_states_merge_key_by_key():
    a, b = Sum(("a",), (1.0,)), Sum(("b",), (2.0,))
    other = Key("other", Sum)
    both = (SUM(a) | other(a)).merge(SUM(b))
    assert both[SUM] == a.merge(b) and both[other] == a
    assert Known().merge(both)[SUM] == both[SUM] == both.merge(Known())[SUM]
