"""What other libraries say does not reach the user's screen; what this one says does."""

import logging
import os
import subprocess
import sys
import warnings
import zipfile

import pytest
from tqdm import tqdm

from conceptseg.study import __main__ as command
from conceptseg.study.command.screen import ours_alone


def loud(name: str) -> logging.Logger:
    """A logger with a handler of its own, as torch and transformers have."""
    logger = logging.getLogger(name)
    logger.addHandler(logging.StreamHandler(sys.stderr))
    return logger


@pytest.mark.filterwarnings("default")
def test_warnings_and_logged_tracebacks_are_not_shown(capsys):
    other, own = loud("some_library.part"), loud("conceptseg.part")
    with ours_alone():
        warnings.warn("deprecated", FutureWarning, stacklevel=1)
        try:
            raise ValueError("inside")
        except ValueError:
            other.warning("failed", exc_info=True)
            logging.getLogger().error("root")
        own.warning("large")
        quiet = "import warnings; warnings.warn('elsewhere')"
        done = subprocess.run([sys.executable, "-c", quiet], capture_output=True)
    assert capsys.readouterr().err == "large\n"
    assert done.stderr == b""
    other.warning("again")
    assert capsys.readouterr().err == "again\n"
    for one in (other, own):
        one.handlers.clear()


class Louder(tqdm):
    """A library's own bars, which nothing of its own can turn off."""

    def __init__(self, *args, **options):
        super().__init__(*args, **options | {"disable": False, "mininterval": 0})


def test_bars_of_other_libraries_are_not_shown(capfd):
    counted = "from tqdm.auto import tqdm; print(sum(tqdm(range(9), desc='elsewhere')))"
    with ours_alone():
        assert sum(Louder(range(5), "loading")) == 10
        with tqdm(total=3, disable=False) as bar:
            bar.update(3)
        assert list(tqdm(range(2), "positional", 2, False, sys.stderr, 80, 0, 1, None, True)) == [
            0,
            1,
        ]
        done = subprocess.run([sys.executable, "-c", counted], capture_output=True)
    assert capfd.readouterr() == ("", "")
    assert (done.stdout, done.stderr) == (b"36\n", b"")
    assert sum(Louder(range(5), "again")) == 10
    assert "again: 100%" in capfd.readouterr().err
    assert "TQDM_DISABLE" not in os.environ


@pytest.mark.filterwarnings("error")
def test_warnings_that_are_errors_stay_errors():
    with ours_alone(), pytest.raises(UserWarning):
        warnings.warn("numbers", UserWarning, stacklevel=1)


@pytest.mark.parametrize("kind", ["checkpoint", "empty", "text"])
def test_a_file_that_is_no_program_is_one_line(kind, tmp_path, capfd):
    """torch logs a traceback of its own when it opens one."""
    import torch

    path = tmp_path / "net.pt2"
    if kind == "checkpoint":
        torch.save({"a": torch.zeros(3)}, path)
    elif kind == "empty":
        zipfile.ZipFile(path, "w").close()
    else:
        path.write_text("hello")
    assert command.main(["layers", "--model", f"exported:{path}"]) == 2
    out, err = capfd.readouterr()
    assert out == "" and err.startswith("error: model.name: ") and err.count("\n") == 1


@pytest.mark.parametrize(
    "words",
    [
        ("--size", "999999999x999999999"),
        ("--size", "99999x99999"),
        ("--size", "²x3"),
        ("--channels", "9999999"),
        ("--classes", "999999999"),
    ],
)
def test_images_and_networks_beyond_all_memory_are_refused(words, capsys):
    assert command.main(["layers", "--model", "planted:biased", *words]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_a_library_that_does_not_fit_into_memory_is_told_as_such(capsys, monkeypatch):
    from conceptseg.study.command.failure import report_failure

    text = "libtorch_cpu.so: failed to map segment from shared object"
    assert report_failure(ImportError(text)) == 3
    assert report_failure(OSError("libx.so: cannot map zero-fill pages: Cannot allocate memory"))
    assert "out of memory" in capsys.readouterr().err
    assert report_failure(ImportError("no symbol in libx.so")) == 1
