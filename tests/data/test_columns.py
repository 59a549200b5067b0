import math
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from conceptseg.data import columns
from conceptseg.data.columns import Block, Coded, Gathered, Numbers, Texts, are_numbers

TEXTS = st.lists(st.one_of(st.text(max_size=6), st.sampled_from(["", "a", "é", "\ud800", "7"])))


@given(texts=TEXTS)
def test_a_block_holds_texts(texts):
    block = Block.of(texts)
    assert block.texts() == texts == [block[i] for i in range(len(block))]
    assert block.lengths.tolist() == [len(one.encode(errors="surrogatepass")) for one in texts]
    rows = np.arange(len(texts))[::3]
    assert block.at(rows) == texts[::3]


@given(texts=TEXTS)
def test_rows_that_hold_marked_bytes_or_do_not_print(texts):
    marked = np.arange(256) == ord("a")
    found = set(Block.of(texts).holding(marked).tolist())
    assert {i for i, one in enumerate(texts) if "a" in one or not one.isprintable()} <= found
    plain = [i for i, one in enumerate(texts) if one.isascii() and one.isprintable()]
    assert found.isdisjoint(i for i in plain if "a" not in texts[i])


@pytest.mark.parametrize("block", [3, 1 << 14])
@given(parts=st.lists(TEXTS, max_size=5), data=st.data())
def test_a_column_is_its_rows_however_it_was_read(block, parts, data):
    texts = [text for part in parts for text in part]
    gathered, before = Gathered(2), columns.BLOCK
    columns.BLOCK = block
    try:
        for part in parts:
            gathered.add(data.draw(st.sampled_from([list, Block.of, coded]))(part))
        found = gathered.texts()
    finally:
        columns.BLOCK = before
    texts = ["", "", *texts]
    assert len(found) == len(texts) and [found[i] for i in range(len(texts))] == texts
    rows = np.array(data.draw(st.lists(st.integers(0, len(texts) - 1), max_size=9)), np.int64)
    assert found.at(rows) == [texts[i] for i in rows]
    taken = found.take(rows)
    assert [taken[i] for i in range(len(rows))] == [texts[i] for i in rows]
    assert found.given().tolist() == [text != "" for text in texts]
    assert found.distinct(rows) == tuple(dict.fromkeys(texts[i] for i in rows))
    assert found.equal("a").tolist() == [text == "a" for text in texts]
    assert set(texts) <= {text for one in found.in_blocks() for text in one.texts()}
    assert found.numeric == all(is_number(text) for text in texts if text)


def coded(texts):
    values = ("", *dict.fromkeys(texts))
    return Coded(np.array([values.index(one, 1) for one in texts], int), values)


def test_many_texts_are_held_in_full_and_few_by_code():
    few, many = Gathered(), Gathered()
    for start in range(0, 20_000, 1000):
        few.add([f"g{i % 300}" for i in range(start, start + 1000)])
        many.add([f"id {i}" for i in range(start, start + 1000)])
    assert isinstance(few.texts(), Coded) and few.texts().codes.dtype == np.uint16
    assert isinstance(many.texts(), Texts)
    wanted = ["id 0", "id 999", "id 1000", "id 19999"]
    assert many.texts().at(np.array([0, 999, 1000, 19_999])) == wanted
    late = Gathered()
    late.add(["a"] * 1000)
    late.add([f"b{i}" for i in range(5000)])
    assert late.texts().at(np.array([0, 999, 1000, 5999])) == ["a", "a", "b0", "b4999"]


def is_number(text):
    """As the definition says it, character by character of the text."""
    found = re.fullmatch(r"([+-]?)(\d*)(\.\d+)?([eE][+-]?\d+)?", text)
    if found is None or not (found[2] or found[3]):
        return False
    whole = found[2]
    return not (len(whole) > 1 and whole[0] == "0") and math.isfinite(float(text))


NUMBERS = ["0", "7", "-3", "+2.5", ".5", "1e3", "-0.0", "1E-9", "12345678901234567890", "3.10"]
NONE = ["007", "1.", "e5", ".", "+", "nan", "inf", "1e999", "1_0", " 1", "1\n2", "0x1", "-"]


@pytest.mark.parametrize("text", NUMBERS)
def test_numbers(text):
    assert is_number(text) and are_numbers([text]) and are_numbers(["1", "", text, "2"])


@pytest.mark.parametrize("text", NONE)
def test_what_is_no_number(text):
    assert not is_number(text) and not are_numbers([text]) and not are_numbers(["1", text, "2"])


@given(texts=st.lists(st.text("0123456789.eE+-\n ", max_size=5)))
def test_numbers_are_told_in_bulk_as_one_by_one(texts):
    assert are_numbers(texts) == all(is_number(text) for text in texts if text)


def test_a_column_of_numbers():
    gathered, values = Gathered(), [i / 7 for i in range(9000)]
    for start in range(0, 9000, 1000):
        gathered.add([str(one) for one in values[start : start + 1000]])
    gathered.add(["", "31", ""])
    found = gathered.column()
    assert isinstance(found, Numbers)
    assert [found.value(i) for i in range(len(found))] == [*values, None, 31.0, None]
    few = Gathered()
    few.add(["1", "", "2.50"])
    assert [few.column().value(i) for i in range(3)] == [1.0, None, 2.5]
    few.add(["0012"])
    assert [few.column().value(i) for i in range(4)] == ["1", None, "2.50", "0012"]
    given = Gathered()
    given.add(np.array([1.5, np.nan]))
    assert [given.column().value(i) for i in range(2)] == [1.5, None]
