from hypothesis import given
from hypothesis import strategies as st

from conceptseg.data.draw import drawn, in_turn, lowest, sample_priority


@given(ids=st.lists(st.text(max_size=4), unique=True), most=st.integers(-1, 12), seed=st.integers())
def test_the_lowest_are_those_that_are_drawn(ids, most, seed):
    ranked = sorted(ids, key=lambda one: (sample_priority(seed, one), one))[: max(most, 0)]
    assert drawn(seed, ids, most) == ranked
    assert [ids[i] for i in lowest(seed, ids, most)] == [one for one in ids if one in ranked]


def test_names_fall_to_parts_in_turn_whatever_their_order():
    names = [f"n{i}" for i in range(10)] * 2
    found = in_turn(3, iter(names), 4)
    ranked = sorted(set(names), key=lambda one: sample_priority(3, one))
    assert found == {name: k % 4 for k, name in enumerate(ranked)} == in_turn(3, names[::-1], 4)


def test_priorities_that_begin_alike_are_told_by_the_rest(monkeypatch):
    """With all heads equal, as two of 64 bits may be, what follows decides."""
    from conceptseg.data import draw

    class Even:
        def __init__(self, text):
            self.text = text

        def digest(self):
            return b"\0" * 8 + self.text.rpartition(b":")[2].rjust(24, b"\0")

    monkeypatch.setattr(draw.hashlib, "sha256", Even)
    assert draw.lowest(0, ["d", "b", "a", "c"], 2).tolist() == [1, 2]
