"""What `conceptseg doctor` prints."""

import getpass
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from conceptseg import __version__
from conceptseg.extras import EXTRAS
from conceptseg.study.__main__ import main
from conceptseg.study.command.verbs import doctor


def test_it_names_versions_extras_devices_and_threads(capsys):
    import torch

    assert main(["doctor"]) == 0
    lines = dict(line.split(": ", 1) for line in capsys.readouterr().out.splitlines())
    assert lines["conceptseg"] == __version__ and lines["torch"] == torch.__version__.split("+")[0]
    assert lines["python"] == platform.python_version()
    assert {f"{extra} (optional)" for extra in EXTRAS.values()} <= lines.keys()
    assert lines["threads of torch"] == str(torch.get_num_threads())
    assert lines["cuda"] == "none" or torch.cuda.is_available()


def test_nothing_private(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    monkeypatch.setenv("CONCEPTSEG_SECRET", "a-secret-value")
    page = doctor.page()
    assert "OMP_NUM_THREADS=3" in page
    node = platform.node() or "no node"
    for private in ("secret", str(Path.home()), str(Path.cwd()), sys.prefix, node):
        assert private not in page
    if len(getpass.getuser()) > 4:
        assert getpass.getuser() not in page


def test_a_missing_extra_is_told_with_what_installs_it(monkeypatch):
    monkeypatch.setitem(EXTRAS, "no_such_package_here", "some")
    told = doctor.extras()["some"]
    assert told == "no-such-package-here missing, pip install 'conceptseg[some]'"


@pytest.mark.slow
def test_a_broken_torch_is_reported(tmp_path):
    (tmp_path / "torch.py").write_text("raise OSError('libcudart.so.99: cannot open')")
    program = "from conceptseg.study.command.verbs import doctor; print(doctor.page())"
    here = str(Path(__file__).parents[4])
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        env={"PYTHONPATH": f"{tmp_path}:{here}"},
    )
    assert "torch cannot be imported: OSError: libcudart.so.99" in done.stdout, done.stderr
