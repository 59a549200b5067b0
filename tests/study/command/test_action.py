"""The GitHub Action, run step by step as its runner would: expressions, conditions, scripts.

Only what the action uses of the runner is here; anything else in it fails the test.
"""

import os
import re
import stat
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest
import yaml

from tests.study.audit.test_swap import exact_scenes

CHECKOUT = Path(__file__).parents[3]
ACTION = yaml.safe_load((CHECKOUT / "action.yml").read_text())
GIVEN = re.compile(r"\$\{\{ (inputs\.[\w-]+|github\.action_path) \}\}")


def value(text, inputs):
    """An expression of `env`: one input, whole, or the action's folder."""
    found = GIVEN.fullmatch(text)
    assert found, f"the test does not know {text!r}"
    return str(CHECKOUT) if found[1] == "github.action_path" else inputs[found[1][7:]]


def wanted(condition, inputs, failed):
    if condition is None:
        return not failed
    text = condition.removeprefix("${{ ").removesuffix(" }}")
    even_then = text.startswith("!cancelled() && ")
    found = re.fullmatch(r"inputs\.([\w-]+) (==|!=) '(.*)'", text.removeprefix("!cancelled() && "))
    assert found, f"the test does not know {condition!r}"
    holds = (inputs[found[1]] == found[3]) == (found[2] == "==")
    return holds and (even_then or not failed)


def act(folder, **given):
    """Run the action in a folder; the exit code of each step that ran, by name, and its outputs."""
    keys = {name.replace("_", "-"): text for name, text in given.items()}
    inputs = {name: keys.pop(name, str(about.get("default", ""))) for name, about in
              ACTION["inputs"].items()}  # fmt: skip
    assert not keys, f"no such inputs: {keys}"
    programs = folder / "bin"
    programs.mkdir(exist_ok=True)
    shim = programs / "conceptseg"
    shim.write_text(f'#!/bin/sh\nexec {sys.executable} -m conceptseg.study "$@"\n')
    shim.chmod(shim.stat().st_mode | stat.S_IXUSR)
    outputs = folder / "outputs"
    outputs.touch()
    codes, failed = {}, False
    for step in ACTION["runs"]["steps"]:
        assert set(step) <= {"name", "id", "if", "shell", "env", "run"} and step["shell"] == "bash"
        assert "${{" not in step["run"], "an input would be read as a program"
        if not wanted(step.get("if"), inputs, failed):
            continue
        environment = {
            **os.environ,
            "PATH": f"{programs}:{os.environ['PATH']}",
            "PYTHONPATH": str(CHECKOUT),
            "GITHUB_OUTPUT": str(outputs),
            **{key: value(text, inputs) for key, text in step["env"].items()},
        }
        # As runners call bash: it stops at the first error.
        done = subprocess.run(
            ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"]],
            cwd=folder, env=environment, capture_output=True, text=True,
        )  # fmt: skip
        codes[step["name"]] = done.returncode
        failed |= done.returncode != 0
        print(done.stdout, done.stderr)
    told = dict(line.split("=", 1) for line in outputs.read_text().splitlines())
    return codes, told


def test_every_output_is_one_that_a_step_writes():
    for about in ACTION["outputs"].values():
        step, name = re.fullmatch(
            r"\$\{\{ steps\.(\w+)\.outputs\.(\w+) \}\}", about["value"]
        ).groups()
        script = next(one["run"] for one in ACTION["runs"]["steps"] if one.get("id") == step)
        assert f"{name}=%s" in script


def test_an_input_is_no_program(tmp_path):
    """Whatever stands in it: the study is not there, and nothing else was run."""
    evil = '$(touch made) `touch made` "; touch made; #'
    codes, _ = act(tmp_path, install="false", study=evil, config=evil, fail_on=evil, out="o")
    assert codes == {"Run the study": 2} and not (tmp_path / "made").exists()


@pytest.mark.slow
def test_step_by_step(tmp_path):
    """An audit that finds what was planted stops the job; what a baseline knew already does not."""
    config = tmp_path / "audit_exact.yaml"
    manifest = exact_scenes(tmp_path)
    config.write_text(
        yaml.safe_dump(
            {
                "data": {"manifest": str(manifest)},
                "model": {"source": "planted", "name": "constructed-1"},
                "margin": 8, "look_images": 2, "images": 20,
            }
        )
    )  # fmt: skip
    given = {"install": "false", "config": str(config), "arguments": "--quiet\n--set\nseed=1\n"}
    codes, told = act(tmp_path, out="base", fail_on="confirmed", **given)
    assert codes == {"Run the study": 0}
    assert (tmp_path / told["report"]).is_file()
    codes, told = act(tmp_path, out="now", fail_on="concern cannot-tell", baseline="base", **given)
    assert codes == {"Run the study": 4, "Compare with the baseline": 0}
    assert ElementTree.parse(tmp_path / told["junit"]).getroot().get("failures") == "1"
    assert "no clear change" in (tmp_path / told["changes"]).read_text()
