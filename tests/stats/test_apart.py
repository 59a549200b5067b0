import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from conceptseg.stats.apart import apart


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 2)), max_size=12))
def test_the_first_of_each_kind_come_first(pairs):
    """By loops: the first of each group, then of each image that none is of yet, then the rest."""
    groups = np.array([f"g{g}" for g, _ in pairs], np.str_)
    images = np.array([f"g{g}-{i}" for g, i in pairs], np.str_)
    expected = []
    for kind in (groups, images, range(len(pairs))):
        held = {kind[place] for place in expected}
        for place in range(len(pairs)):
            if kind[place] not in held:
                held.add(kind[place])
                expected.append(place)
    assert apart(groups, images).tolist() == expected
    assert apart(images).tolist() == apart(images, images).tolist()
