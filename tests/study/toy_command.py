"""The command with the toy study among its verbs, and a data set of real files for it.

As a program: `python -m tests.study.toy_command MAX_FILE_BYTES ARGUMENTS...` (0: no limit).
"""

from __future__ import annotations

import signal
import sys
from pathlib import Path

import numpy as np
from PIL import Image

from conceptseg import catalogue
from conceptseg.study import __main__ as command
from conceptseg.study.command.studies import study_command
from tests import toys

STUDY = """
data: {{manifest: set.yaml}}
model: {{source: factory, name: "tests.toys:Net"}}
layer: body
run: {{device: cpu, batch_size: 2, shards: {shards}, threads: 1}}
"""

MANIFEST = """
name: noise
channels: 3
labels: {names: [low, high]}
folders: [{images: "{id}.png", masks: "masks/{id}.png"}]
"""


def register() -> None:
    """Make `toy` a study of this process."""
    if "toy" in catalogue.names("study"):
        return
    names, load, entry = catalogue.names, catalogue.load, catalogue.entry

    def with_toy(kind: str) -> tuple[str, ...]:
        return (*names(kind), "toy") if kind == "study" else names(kind)

    catalogue.names = with_toy
    catalogue.load = lambda k, n: toys.Toy if (k, n) == ("study", "toy") else load(k, n)
    catalogue.entry = lambda k, n: (
        catalogue.Entry("study", "toy", "toy", "none", "Sums some numbers.")
        if (k, n) == ("study", "toy")
        else entry(k, n)
    )
    command.app.command(name="toy")(study_command("toy"))


def write_files(folder: Path, images: int = 8, shards: int = 4) -> Path:
    """Images and masks of noise, a manifest and a study's file; returns the latter."""
    (folder / "masks").mkdir(parents=True)
    noise = np.random.default_rng(0)
    for index in range(images):
        pixels = noise.integers(0, 256, (12, 10, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"i{index}.png")
        Image.fromarray((pixels[..., 0] > 127).astype(np.uint8)).save(
            folder / "masks" / f"i{index}.png"
        )
    (folder / "set.yaml").write_text(MANIFEST)
    study = folder / "toy_noise.yaml"
    study.write_text(STUDY.format(shards=shards))
    return study


def main(arguments: list[str]) -> int:
    limit = int(arguments[0])
    if limit:
        import resource

        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    signal.signal(signal.SIGINT, signal.default_int_handler)
    register()
    return command.main(arguments[1:])


if __name__ == "__main__":
    from tests.study import toy_command

    sys.exit(toy_command.main(sys.argv[1:]))
