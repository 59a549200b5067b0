"""Pictures come out of a table as they went in."""

import numpy as np
import pytest

from conceptseg.study.shared.packed import packed, unpacked


@pytest.mark.parametrize(
    "given", [[], [(4, b"abc")], [(7, b"x"), (2, b""), (9, bytes(range(256)))]]
)
def test_what_is_packed_is_unpacked(given):
    table = packed(iter(given))
    assert list(unpacked(table)) == given
    assert table["ends"].tolist() == [0, *np.cumsum([len(data) for _, data in given]).tolist()]
    assert table["data"].dtype == np.uint8 and table["row"].dtype == table["ends"].dtype == np.int64
