"""The documentation's gallery: which studies are run for it, and what its page says of them."""

import importlib.util
import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from conceptseg import catalogue
from conceptseg.errors import InputError
from conceptseg.report import browser

CHECKOUT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def generate():
    spec = importlib.util.spec_from_file_location("generate", CHECKOUT / "docs/generate.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def built(tmp_path):
    """`docs/build` with stand-ins for the command and for Python, which note what they are asked;
    returns what was asked for."""
    (tmp_path / "docs").mkdir()
    (tmp_path / "bin").mkdir()
    shutil.copy(CHECKOUT / "docs/build", tmp_path / "docs/build")
    shutil.copytree(CHECKOUT / "studies", tmp_path / "studies")
    for name in ("conceptseg", "python"):
        program = tmp_path / "bin" / name
        program.write_text(f'#!/bin/sh\necho {name} "$@" >> {tmp_path}/asked\n')
        program.chmod(0o755)

    def call(*words):
        (tmp_path / "asked").write_text("")
        environment = {**os.environ, "PATH": f"{tmp_path}/bin:{os.environ['PATH']}"}
        subprocess.run([tmp_path / "docs/build", *words], check=True, env=environment)
        return (tmp_path / "asked").read_text().splitlines()

    return call


def studies(asked):
    return [line.split()[1] for line in asked if line.startswith("conceptseg")]


def test_the_gallery_s_studies_are_run_on_their_examples(built):
    assert studies(built()) == []
    asked = built("--gallery=landmarks,permutation")
    assert studies(asked) == ["landmarks", "permutation"]
    assert "--config ../studies/landmarks_planted.yaml --out runs/landmarks" in asked[0]
    assert asked[2] == "python generate.py runs" and "sphinx" in asked[3]
    assert studies(built("--gallery")) == list(catalogue.names("study"))


def test_ci_builds_some_of_it():
    (line,) = [one for one in (CHECKOUT / ".ci/run").read_text().splitlines() if "--gallery" in one]
    named = line.split("--gallery=")[1].split()[0].split(",")
    assert set(named) <= set(catalogue.names("study")) and named


def test_a_card_leads_to_the_report_and_says_its_verdict(generate, tmp_path):
    said = {"status": "concern", "sentence": 'A "class" leans & more.'}
    for name in ("ace", "audit"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "result.json").write_text(json.dumps({"verdict": said}))
    (tmp_path / "ace/first.png").write_bytes(b"")
    page = generate._gallery(tmp_path)
    assert '<a href="ace/report.html"><img src="ace/first.png"' in page
    assert '<a href="audit/report.html">Report</a>' in page
    assert page.count("concern: A &quot;class&quot; leans &amp; more.") == 3
    assert "| `lcrp` |" in page and "## `lcrp`" not in page


def test_without_a_browser_there_are_no_pictures(generate, tmp_path, monkeypatch, capsys):
    (tmp_path / "ace").mkdir()
    (tmp_path / "ace/report.html").write_text("<p>a</p>")

    def none(html):
        raise InputError("no Chromium is found")

    monkeypatch.setattr(browser, "first_screen", none)
    generate.pictures(tmp_path)
    assert "no pictures in the gallery: no Chromium" in capsys.readouterr().out
    assert not (tmp_path / "ace/first.png").exists()
    monkeypatch.setattr(browser, "first_screen", lambda html: html.encode())
    generate.pictures(tmp_path)
    assert (tmp_path / "ace/first.png").read_bytes() == b"<p>a</p>"
