"""Directions are read from sound files alone."""

import io
import os

import numpy as np
import pytest

from conceptseg.concepts.directions import load_directions
from conceptseg.errors import InputError
from conceptseg.result.saved import Result

ROWS = np.array([[1.0, 2.0], [0.0, -1.0]])
OF = {"layer": "body", "weights": "a" * 64}


def load(path):
    return load_directions(str(path), OF["layer"], lambda: OF["weights"])


def ace(folder, **of):
    return Result("ace", arrays={"cav": ROWS}, provenance=OF | of).save(folder)


def npy(array):
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def npz(**arrays):
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


def test_rows_of_a_file_and_of_a_result(tmp_path):
    np.save(tmp_path / "rows.npy", ROWS.astype(np.float32))
    ace(tmp_path / "ace")
    for name in ("rows.npy", "ace"):
        np.testing.assert_array_equal(load(tmp_path / name), ROWS)


@pytest.mark.parametrize(
    "data",
    [
        *(b"", b"PK\x03\x04" + bytes(40), b"\x93NUMPY", npy(ROWS)[:-3], npz(cav=ROWS)[:-30]),
        *(npz(cav=ROWS), npy(np.array("text")), npy(ROWS * 1j), npy(ROWS + np.inf), npy(ROWS * 0)),
        *(
            npy(ROWS[0]),
            npy(ROWS[:0]),
            npy(np.array([True])),
            npy(ROWS).replace(b"(2, 2)", b"(2, x)"),
        ),
    ],
)
def test_a_file_of_anything_else_is_one_line(tmp_path, data):
    (tmp_path / "rows.npy").write_bytes(data)
    with pytest.raises(InputError, match=r"^directions: .*rows.npy") as caught:
        load(tmp_path / "rows.npy")
    assert "\n" not in str(caught.value)


def test_a_folder_that_holds_none_and_one_that_was_edited(tmp_path):
    Result("dissect", arrays={"other": ROWS}).save(tmp_path / "other")
    ace(tmp_path / "edited")
    (tmp_path / "edited/arrays.npz").write_bytes(npz(cav=-ROWS))
    (tmp_path / "empty").mkdir()
    os.mkfifo(tmp_path / "pipe")
    for name, said in [
        ("other", "must hold finite rows"),
        ("edited", "was altered since it was saved"),
        ("empty", "does not exist"),
        ("nowhere", "holds no directions"),
        ("pipe", "holds no directions"),
    ]:
        with pytest.raises(InputError, match=f"^directions: .*{name}.*{said}"):
            load(tmp_path / name)


def test_directions_of_another_layer_or_network_mean_nothing(tmp_path):
    ace(tmp_path / "layer", layer="head")
    ace(tmp_path / "weights", weights="b" * 64)
    Result("ace", arrays={"cav": ROWS}).save(tmp_path / "neither")
    for name, said in [
        ("layer", "is of layer 'head', but 'body' is studied"),
        ("weights", "is of a network with other weights"),
        ("neither", "is of a network with other weights"),
    ]:
        with pytest.raises(InputError, match=f"^directions: .*{name} {said}"):
            load(tmp_path / name)
