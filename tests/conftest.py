"""What all tests share: real data where it is there, and few threads."""

import gc
import importlib.metadata
import os
from functools import cache
from pathlib import Path

import pytest

# Barriers that spin make small networks slower than no parallelism at all; read before torch.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
# Processes that share the tests (pytest -n) share the cores too.
os.environ.setdefault("OMP_NUM_THREADS", "1" if "PYTEST_XDIST_WORKER" in os.environ else "2")


def pytest_collection_finish() -> None:
    """What was imported and collected stays to the end: the collector need not look through it."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def shared_dir() -> Path:
    """The folder with real data sets and trained networks; a test that wants it skips without.

    It is named by CONCEPTSEG_SHARED, or is a folder `shared` beside the checkout.
    """
    named = os.environ.get("CONCEPTSEG_SHARED")
    folder = Path(named) if named else Path(__file__).parents[2] / "shared"
    if not (folder / "data").is_dir():
        pytest.skip("no real data here: set CONCEPTSEG_SHARED to the folder that holds data/")
    return folder


@pytest.fixture(autouse=True)
def _same_every_time() -> None:
    """The same weights and a study's arithmetic, whichever tests ran before in the process."""
    import torch

    from conceptseg.config import RunConfig
    from conceptseg.engine.start import set_arithmetic

    torch.manual_seed(0)
    set_arithmetic(RunConfig())


@pytest.fixture(scope="session", autouse=True)
def _once_for_all_runs():
    """What every run in this process would do anew, and no test is about: wait until the disk has
    what is read back from memory, build the parser of all verbs, look up versions of packages.

    What is killed in a test are processes, which leave what they wrote to the machine. Tests of
    failing disks put their own `fsync` in place, and those of verbs their own commands.
    """
    from typer import main

    build = main.get_command
    of = cache(lambda app, commands: build(app))

    def command(app):
        return of(app, tuple(app.registered_commands))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda handle: None)
        patch.setattr(main, "get_command", command)
        patch.setattr(importlib.metadata, "version", cache(importlib.metadata.version))
        yield
