"""CSV files read back equal what `result.json` holds."""

import csv
import io
import json

from conceptseg.result.csv_files import csv_files
from conceptseg.result.finding import Finding
from conceptseg.result.saved import Result
from conceptseg.result.table import Table

ROWS = [
    {"class": "road, wet", "iou": 0.123456789012345, "n": 3, "used": True, "images": ["a", "b"]},
    {"class": 'say "no"\nor', "iou": None, "n": -1, "used": False, "images": [], "more": 1e-300},
]


def read(text):
    return list(csv.DictReader(io.StringIO(text)))


def plain(cell, like):
    return cell if isinstance(like, str) else None if cell == "" else json.loads(cell)


def test_all_rows_and_numbers_to_the_last_digit():
    result = Result("toy", tables={"sums": Table(ROWS, ["class", "iou", "n", "used", "images"])})
    saved = json.loads(result.to_json())["tables"]["sums"]["rows"]
    back = read(csv_files(result)["table-sums.csv"])
    assert len(back) == len(saved) == 2
    for got, row in zip(back, saved, strict=True):
        assert {key: plain(got[key], row[key]) for key in row} == row


def test_findings_have_a_column_for_each_number():
    finding = Finding(
        claim="c", class_="road", effect=0.5, ci=(0.25, 0.75), n=4, evidence="e",
        details={"context": "brick"},
    )  # fmt: skip
    (row,) = read(csv_files(Result("toy", [finding]))["findings.csv"])
    assert (row["class"], row["effect"], row["ci_low"], row["ci_high"]) == (
        "road", "0.5", "0.25", "0.75",
    )  # fmt: skip
    assert row["details.context"] == "brick"


def test_no_text_is_a_formula():
    for evil in ("=1+1", "+1", "-cmd", "@x", "\tx"):
        result = Result("toy", tables={"t": Table([{"name": evil, evil: -2.5}])})
        (row,) = read(csv_files(result)["table-t.csv"])
        assert row == {"name": "'" + evil, "'" + evil: "-2.5"}
