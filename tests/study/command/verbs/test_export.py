"""`conceptseg export`: tables, and, in a real browser, charts and the report as PDF."""

import csv
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from conceptseg import catalogue
from conceptseg.report import browser
from conceptseg.report.thumbnails import encode
from conceptseg.result.saved import Result
from conceptseg.result.table import Table
from conceptseg.study.__main__ import main
from tests.reports import example


@pytest.fixture
def run(tmp_path, monkeypatch):
    """The example result of the reports' tests, with its report as its study's."""
    monkeypatch.chdir(tmp_path)
    result, report = example()

    class Study:
        @staticmethod
        def report(loaded):
            return report

    monkeypatch.setattr(catalogue, "load", lambda kind, name: Study)
    result.save("run")
    return result


def test_csv_of_every_table(run, capsys):
    assert main(["export", "run", "--csv", "--out", "new/folder"]) == 0
    assert capsys.readouterr().out.split() == ["new/folder"]
    for name, table in run.tables.items():
        with open(f"new/folder/table-{name}.csv", newline="") as file:
            assert len(list(csv.reader(file))) == len(table.rows) + 1
    assert not list(Path("new/folder").glob("*.pdf"))


@pytest.mark.slow
@pytest.mark.skipif(not any(map(shutil.which, browser.NAMES)), reason="Chromium is not installed")
def test_charts_open_and_the_report_is_a_pdf(run):
    pytest.importorskip("playwright")
    assert main(["export", "run", "--figures", "--pdf"]) == 0
    made = {path.suffix: path for path in Path("run/export").iterdir()}
    assert made[".pdf"].read_bytes().startswith(b"%PDF-")
    assert made[".svg"].read_text().startswith("<svg")
    charts = [one for one in Path("run/export").glob("*.png") if not one.name.startswith("picture")]
    assert charts
    for one in charts:
        with Image.open(one) as picture:
            assert picture.width > 300
    assert len(list(Path("run/export").glob("picture-*"))) == len(run.images)


def test_what_is_missing_is_told_with_its_cure(run, capsys, monkeypatch):
    monkeypatch.setattr(browser.shutil, "which", lambda name: None)
    monkeypatch.delenv("CONCEPTSEG_CHROMIUM", raising=False)
    assert main(["export", "run", "--pdf"]) == 2
    assert "apt-get install chromium" in capsys.readouterr().err
    assert main(["export", "run"]) == 2
    assert "--csv, --figures, --pdf" in capsys.readouterr().err
    assert not Path("run/export").exists()


def test_nothing_of_another_folder_is_written_over(tmp_path, monkeypatch):
    """Names come from safe keys: no table's name leads out of the folder."""
    from conceptseg.result.csv_files import csv_files

    picture = encode(Image.fromarray(np.zeros((4, 4, 3), np.uint8)))
    result = Result("toy", tables={"../../evil": Table([{"a": 1}])}, images={"a": picture})
    assert all("/" not in name for name in csv_files(result))
