"""Charts from columns: the figure, the table below it, and words for those who cannot see it."""

from types import SimpleNamespace

import numpy as np
import pytest

from conceptseg.report import charts
from conceptseg.result.columns import Column, labels_of
from conceptseg.result.table import Table
from conceptseg.result.wording import with_interval

LOSS = Column("loss", "IoU change", interval=True)
SCORE = Column("score", "score")
ROWS = (
    {"class": "car", "loss": -0.4, "loss_low": -0.5, "loss_high": -0.3, "score": 1.0, "used": True},
    {"class": "road", "loss": 0.1, "loss_low": -0.1, "loss_high": 0.3, "score": 2.5, "used": False},
    {"class": "sky", "loss": None, "loss_low": None, "loss_high": None, "score": 2.0,
     "used": False},
)  # fmt: skip
PAIRS = Table(ROWS, labels=labels_of([LOSS, SCORE]))
WORDS = {"heading": "A heading", "caption": "What it means.", "id": "here"}
NULL = np.arange(100.0)

CHARTS = {
    "forest": lambda: charts.forest(PAIRS, "class", LOSS, reference=0, filled="used", **WORDS),
    "heatmap": lambda: charts.heatmap(
        np.array([[1.0, np.nan], [0.5, 2.0]]), ["car", "sky"], ["a_b", "c"], value="score",
        marked={"Holm": np.eye(2, dtype=bool)}, **WORDS,
    ),
    "curves": lambda: charts.curves(PAIRS, SCORE, [LOSS], axis="IoU change", **WORDS),
    "trade_off": lambda: charts.trade_off(PAIRS, "used", SCORE, LOSS, diagonal="equal", **WORDS),
    "scatter": lambda: charts.scatter(PAIRS, SCORE, LOSS, "used", "class", **WORDS),
    "bars": lambda: charts.bars(PAIRS, "class", {"erased": LOSS}, axis="IoU change", **WORDS),
    "shares": lambda: charts.shares(PAIRS, "class", ["loss", "score"], **WORDS),
    "histogram": lambda: charts.histogram(NULL, {"seen": 98.5}, value="agreement", **WORDS),
}  # fmt: skip
SAID = {
    "forest": "Forest plot of 3 rows: IoU change, from −0.400 (car) to 0.100 (road). 1 of 2 "
    "intervals exclude 0: 1 lie below it, 0 above. Filled (significant): 1; hollow (not "
    "significant): 2.",
    "heatmap": "Heat map of 2 rows by 2 columns: score, from 0.500 (sky at a_b) to 2 (sky at c). "
    "1 cell empty. Dots (Holm): 2 cells.",
    "curves": "Line chart of 1 line: IoU change over score, from 1 to 2.50. IoU change: from "
    "−0.400 to 0.100.",
    "trade_off": "Line chart of 2 lines: IoU change over score, from 1 to 2.50. True: from −0.400 "
    "to −0.400. False: from 0.100 to 0.100.",
    "scatter": "Scatter plot of 3 points (False 2, True 1). Across: score, from 1 (car) to 2.50 "
    "(road). Up: IoU change, from −0.400 (car) to 0.100 (road).",
    "bars": "Bar chart of 3 rows: IoU change. erased: from −0.400 (car) to 0.100 (road).",
    "shares": "Bar chart of 3 rows: the shares of a whole, stacked. loss: from −0.400 (car) "
    "to 0.100 (road). score: from 1 (car) to 2.50 (road).",
    "histogram": "Histogram of 100 values by chance: agreement, from 0 to 99. A line marks seen at "
    "98.5, above 99.0% of them.",
}


@pytest.mark.parametrize("name", CHARTS)
def test_the_alternative_text_says_what_is_drawn(name):
    block = CHARTS[name]()
    assert block.alt == SAID[name]
    assert (block.heading, block.caption, block.id) == ("A heading", "What it means.", "here")
    assert block.caption not in block.alt
    assert block.table.rows


def test_nothing_to_draw_is_left_out():
    none = Table(())
    assert charts.forest(none, "class", LOSS, **WORDS) is None
    assert charts.curves(none, SCORE, [LOSS], axis="", **WORDS) is None
    assert charts.scatter(none, SCORE, LOSS, "used", "class", **WORDS) is None
    assert charts.heatmap(np.full((1, 1), np.nan), ["a"], ["b"], value="v", **WORDS) is None
    assert charts.histogram(np.zeros(0), {}, value="v", **WORDS) is None


def test_a_column_is_axis_error_bar_and_head():
    block = charts.forest(PAIRS.show("class", LOSS), "class", LOSS, **WORDS)
    points = block.figure.data[0]
    np.testing.assert_allclose(points.x[:2], [-0.4, 0.1], rtol=1e-6)
    np.testing.assert_allclose(points.error_x.array[:2], [0.1, 0.2], rtol=1e-6)
    assert block.figure.layout.xaxis.title.text == "IoU change"
    assert block.table.columns == ("class", "loss", "loss_low", "loss_high")
    heads = [block.table.labels.get(key) for key in block.table.columns]
    assert heads == [None, "IoU change", "IoU change, low", "IoU change, high"]


def test_the_table_below_may_list_more_than_is_drawn():
    block = charts.forest(PAIRS.first(1), "class", LOSS, below=PAIRS, **WORDS)
    assert "Forest plot of 1 row" in block.alt and len(block.table.rows) == 3


def test_a_grid_has_each_pair_at_its_place_and_nan_elsewhere():
    rows = [{"r": "a", "c": 1, "v": 5.0}, {"r": "b", "c": 2, "v": None}, {"r": "b", "c": 1, "v": 7}]
    grid = charts.grid(Table(rows), ("r", ["b", "a"]), ("c", [1, 2]), "v")
    np.testing.assert_array_equal(grid, [[7, np.nan], [5, np.nan]])
    assert charts.grid(Table(()), ("r", []), ("c", [1]), "v").shape == (0, 1)


def test_a_table_is_made_of_what_its_columns_read():
    estimate = SimpleNamespace(value=1.0, low=0.5, high=2.0)
    items = [SimpleNamespace(class_id=1, loss=estimate), SimpleNamespace(class_id=0, loss=None)]
    names = ("car", "road")
    columns = (Column("class", of=lambda one: names[one.class_id]), LOSS)
    table = Table.of(items, columns, "Losses")
    assert table.rows[0] == {"class": "road", "loss": 1.0, "loss_low": 0.5, "loss_high": 2.0}
    assert table.rows[1] == {"class": "car", "loss": None, "loss_low": None, "loss_high": None}
    assert table.columns == ("class", "loss", "loss_low", "loss_high")
    assert table.labels["loss_low"] == "IoU change, low" and "class" not in table.labels
    assert Table.of([], columns).columns == ()


@pytest.mark.parametrize(
    ("column", "labels"),
    [
        (Column("a"), {}),
        (Column("a", "A"), {"a": "A"}),
        (Column("a", "A", interval=True, brief="b"), {"a": "A", "a_low": "b, low",
                                                      "a_high": "b, high"}),
        (Column("a", "A", interval=True, brief="", ends=("low", "high")), {"a": "A"}),
        (Column("a", "A", interval=True).alone, {"a": "A"}),
    ],
)  # fmt: skip
def test_heads_of_a_column(column, labels):
    assert column.labels == labels


def test_tables_are_sorted_cut_and_grouped_without_change_of_the_first():
    assert [row["class"] for row in PAIRS.sorted(LOSS).rows] == ["car", "road", "sky"]
    backwards = PAIRS.sorted(lambda row: -row["score"]).first(2)
    assert [row["class"] for row in backwards.rows] == ["road", "sky"]
    assert [row["class"] for row in PAIRS.where(lambda row: row["used"]).rows] == ["car"]
    assert {key: len(one.rows) for key, one in PAIRS.by("used").items()} == {True: 1, False: 2}
    assert len(PAIRS.rows) == 3 and PAIRS.columns[0] == "class"
    assert PAIRS.show(SCORE, "missing").columns == ("score",)


def test_a_cell_with_its_interval_in_words():
    assert with_interval(ROWS[0], LOSS) == "−0.400 [−0.500, −0.300]"
    assert with_interval(ROWS[2], LOSS) == "–"
