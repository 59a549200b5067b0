from hypothesis import given
from hypothesis import strategies as st

from conceptseg.data.draw import drawn, lowest, sample_priority


@given(ids=st.lists(st.text(max_size=4), unique=True), most=st.integers(-1, 12), seed=st.integers())
def test_the_lowest_are_those_that_are_drawn(ids, most, seed):
    ranked = sorted(ids, key=lambda one: (sample_priority(seed, one), one))[: max(most, 0)]
    assert drawn(seed, ids, most) == ranked
    assert [ids[i] for i in lowest(seed, ids, most)] == [one for one in ids if one in ranked]


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
