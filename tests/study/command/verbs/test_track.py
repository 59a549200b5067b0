"""`conceptseg track`: what is sent is what the trackers then hold."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from conceptseg import catalogue
from conceptseg.report.embedded import Run
from conceptseg.report.tracked import Tracked, flat, plain_name
from conceptseg.result.finding import Finding
from conceptseg.result.verdict import concern
from conceptseg.stats.estimate import Estimate
from conceptseg.study.__main__ import main
from tests.reports import example


def found(class_name, effect, context, concept=1):
    return Finding.about(
        f"{class_name} by {context}",
        Estimate(effect, effect - 0.01, effect + 0.01, 40, "images"),
        null=0.0,
        evidence="map",
        class_name=class_name,
        effect_name="loss of IoU",
        context=context,
        concept=concept,
    )


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result, report = example()
    findings = [found("three", 0.4, "brick"), found("three", 0.1, "brick", 7)]
    findings.append(found("4", -0.2, "tiles"))
    result = replace(
        result,
        findings=findings,
        config={"model": {"source": "planted"}, "seed": 3},
        verdict=concern("Three needs brick.", "Look."),
    )

    class Study:
        @staticmethod
        def report(loaded):
            return report

    load = catalogue.load
    monkeypatch.setattr(
        catalogue, "load", lambda kind, name: Study if kind == "study" else load(kind, name)
    )
    result.save("out")
    return Run("first", result, report)


def test_numbers_have_names_that_stay_from_run_to_run(run):
    sent = Tracked.of(run)
    assert sent.numbers["three/context brick/loss of IoU"] == pytest.approx(0.4)  # the largest
    assert sent.numbers["4/context tiles/loss of IoU"] == pytest.approx(-0.2)
    assert (sent.numbers["concern"], sent.numbers["cannot tell"]) == (1, 0)
    assert (sent.numbers["findings"], sent.numbers["evidence"]) == (3, 3)
    renumbered = replace(run.result, findings=[found("three", 0.4, "brick", 5)])
    assert "three/context brick/loss of IoU" in Tracked.of(replace(run, result=renumbered)).numbers
    assert sent.parameters["model.source"] == "planted" and sent.parameters["seed"] == "3"
    assert sent.parameters["digest"] == run.result.digest
    assert json.loads(sent.files["result.json"])["study"] == run.result.study
    assert sent.files["report.html"].startswith(b"<!DOCTYPE html>")


def test_names_and_settings_are_made_fit():
    assert plain_name("a<b>\n{c}: d/e") == "a b c d/e"
    assert len(plain_name("x" * 999)) == 240 and plain_name("é") == "unnamed"
    assert flat({"a": {"b": 1, "c": [1, 2]}, "d": None}) == {
        "a.b": "1", "a.c": "[1, 2]", "d": "None",
    }  # fmt: skip


def test_mlflow_holds_what_was_sent(run, capsys, monkeypatch):
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")  # the slim form has no data base
    uri = (Path.cwd() / "store").as_uri()
    arguments = ["track", "out", "--to", "mlflow", "--uri", uri, "--project", "audits"]
    assert main([*arguments, "--name", "second"]) == 0
    made = mlflow.MlflowClient(uri).get_run(capsys.readouterr().out.strip())
    assert made.info.run_name == "second" and made.info.status == "FINISHED"
    assert made.data.metrics == pytest.approx(Tracked.of(run).numbers)
    assert made.data.params["seed"] == "3" and made.data.tags["verdict"] == "concern"
    artifacts = {one.path for one in mlflow.MlflowClient(uri).list_artifacts(made.info.run_id)}
    assert artifacts == {"report.html", "result.json"}
    assert main([*arguments]) == 0  # into the experiment that is there now


def test_what_mlflow_cannot_write_is_one_line(run, capsys, monkeypatch):
    pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    for uri in ("http://127.0.0.1:9", "nonsense://x", (Path.cwd() / "no").as_uri()):
        monkeypatch.delenv("MLFLOW_ALLOW_FILE_STORE", raising=False)
        code = main(["track", "out", "--to", "mlflow", "--uri", uri])
        told = capsys.readouterr()
        assert code == 2 and len(told.err.strip().splitlines()) == 1, told.err
        assert uri in told.err and "--uri" in told.err


def test_wandb_keeps_a_run_without_a_server(run, capsys, monkeypatch):
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    assert main(["track", "out", "--to", "wandb"]) == 0
    folder = Path(capsys.readouterr().out.strip())
    (page,) = folder.rglob("report*.html")
    assert page.read_bytes() == Tracked.of(run).files["report.html"]
    (kept,) = folder.parent.glob("*.wandb")
    assert b"three/context brick/loss of IoU" in kept.read_bytes()


def test_who_is_unknown_to_wandb_is_told_so(run, capsys, monkeypatch):
    wandb = pytest.importorskip("wandb")
    monkeypatch.delenv("WANDB_MODE", raising=False)
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("HOME", str(Path.cwd()))
    wandb.teardown()
    assert main(["track", "out", "--to", "wandb"]) == 2
    assert "wandb login" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["mlflow", "wandb"])
def test_a_tracker_that_is_not_installed_names_its_extra(run, capsys, monkeypatch, name):
    monkeypatch.setitem(sys.modules, name, None)
    assert main(["track", "out", "--to", name]) == 2
    assert f"pip install 'conceptseg[{name}]'" in capsys.readouterr().err


def test_an_unknown_tracker_and_an_edited_run_are_refused(run, capsys):
    assert main(["track", "out", "--to", "mlflo"]) == 2
    assert "did you mean 'mlflow'" in capsys.readouterr().err
    path = Path("out/result.json")
    path.write_text(path.read_text().replace("0.4", "0.9", 1))
    assert main(["track", "out", "--to", "mlflow"]) == 2
    assert "altered" in capsys.readouterr().err
