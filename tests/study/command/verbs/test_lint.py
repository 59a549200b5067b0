"""`conceptseg lint`, and the hook that calls it before each commit."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from conceptseg.result.saved import Result
from conceptseg.study.__main__ import main

CHECKOUT = Path(__file__).parents[4]


def test_the_shipped_files_pass():
    files = [*CHECKOUT.glob("studies/*.yaml"), *CHECKOUT.glob("data_manifests/*.yaml")]
    assert len(files) > 20 and main(["lint", *map(str, files)]) == 0


def test_each_wrong_file_has_its_line(tmp_path, capsys):
    (tmp_path / "set.yaml").write_text("chanels: 3\nlabels: {names: [a, b]}\nfolders: []\n")
    (tmp_path / "ace_x.yaml").write_text("data: {manifest: set.yaml}\nmodel: {sorce: smp}\n")
    (tmp_path / "other.yaml").write_text("data: {manifest: set.yaml}\nmodel: {source: smp}\n")
    (tmp_path / "form.yaml").write_text("format: coko\nlabels: {}\n")
    Result("ace").save(tmp_path / "run")
    good = tmp_path / "run/result.json"
    assert main(["lint", str(good)]) == 0
    good.write_text(good.read_text().replace('"ace"', '"audit"'))
    files = [str(tmp_path / n) for n in ("set.yaml", "ace_x.yaml", "other.yaml", "form.yaml")]
    assert main(["lint", *files, str(good)]) == 2
    errors = capsys.readouterr().err.splitlines()
    told = [
        "did you mean 'channels'",
        "did you mean 'source'",
        "give --study",
        "did you mean 'coco'",
    ]
    told.append("was altered")
    assert len(errors) == 5
    for line, file, part in zip(errors, [*files, str(good)], told, strict=True):
        assert line.startswith("error: ") and file in line and part in line


def test_no_torch_is_needed(tmp_path):
    program = "import sys; from conceptseg.study.__main__ import main; code = main(sys.argv[1:]);"
    program += "print(code, 'torch' in sys.modules)"
    file = CHECKOUT / "studies" / "ace_planted.yaml"
    done = subprocess.run(
        [sys.executable, "-c", program, "lint", str(file)],
        capture_output=True, text=True, env={"PYTHONPATH": str(CHECKOUT)},
    )  # fmt: skip
    assert done.stdout.split() == ["0", "False"], done.stderr


@pytest.mark.parametrize(
    "path, wanted",
    [
        ("studies/ace_planted.yaml", True),
        ("deep/data_manifests/voc.yaml", True),
        ("runs/a/result.json", True),
        (".github/workflows/ci.yaml", False),
        ("docs/studies.yaml", False),
    ],
)
def test_the_hook_calls_it_for_such_files(path, wanted):
    (hook,) = yaml.safe_load((CHECKOUT / ".pre-commit-hooks.yaml").read_text())
    assert hook["entry"].split() == ["conceptseg", "lint"] and hook["language"] == "python"
    assert bool(re.search(hook["files"], path)) == wanted
