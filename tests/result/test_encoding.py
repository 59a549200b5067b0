"""Arrays as bytes: the same for equal arrays, however they lie in memory."""

import numpy as np
import pytest

from conceptseg.result.encoding import pack, unpack


def test_equal_arrays_are_equal_bytes(tmp_path):
    rows = np.arange(24.0).reshape(4, 6)
    kinds = [rows, np.asfortranarray(rows), np.repeat(rows, 2, axis=1)[:, ::2]]
    packed = {pack({"rows": kind, "one": np.float32(3)}) for kind in kinds}
    assert len(packed) == 1
    found = unpack(tmp_path, packed.pop())
    np.testing.assert_array_equal(found["rows"], rows)
    assert found["one"].shape == ()


def test_objects_are_refused():
    with pytest.raises(ValueError, match="[Oo]bject"):
        pack({"rows": np.array([{}], dtype=object)})
