"""A finished audit of a network that relies on the texture, and its test set."""

import csv

from conceptseg.study import __main__ as command
from tests.study.audit.test_swap import audited, exact_scenes

MODEL = {"source": "planted", "name": "constructed-1"}
MARGIN = 8


def finish(folder):
    """The folder of the audit, with its study's file."""
    keys = {"margin": MARGIN, "images": 12, "look_images": 2}
    audited(folder, MODEL, exact_scenes(folder), **keys)
    return folder


def exported(folder, out, *words):
    config = str(folder / "audit_test.yaml")
    return command.main(
        ["audit-export", str(folder / "out"), "-c", config, "--out", str(out), *words]
    )


def table(out):
    with (out / "reliances.csv").open(encoding="utf-8") as file:
        return list(csv.DictReader(file))
