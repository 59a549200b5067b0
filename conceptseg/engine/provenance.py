"""What a result was made with: versions, machine, the command, and a hash of this package's code.

Nothing here names the user, the machine or folders outside the working folder.
"""

import hashlib
import importlib.metadata
import inspect
import os
import platform
import re
import sys
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path, PureWindowsPath
from typing import Any

import conceptseg

NUMERICAL = (
    "torch",
    "torchvision",
    "numpy",
    "scipy",
    "scikit-learn",
    "scikit-image",
    "zennit",
    "numba",
    "umap-learn",
)
"""Packages whose arithmetic is in a result."""
READING = (
    *("pillow", "tifffile", "imagecodecs", "pydicom", "nibabel", "pycocotools", "pyarrow"),
    *("safetensors", "pyyaml"),
)
"""Packages that decode what is read."""
NETWORKS = (
    *("segmentation-models-pytorch", "timm", "transformers", "monai"),
    *("dynamic-network-architectures", "nltk"),
)
"""Packages that networks, or names of their parts, are made by."""
DECISIVE = (*NUMERICAL, *READING, *NETWORKS)
"""Packages of which another version may give another result: saved parts fit one version alone."""
PACKAGES = (*DECISIVE, "plotly", "pydantic")

HOW_ONLY = {"--out": 1, "--quiet": 0, "-q": 0, "--fresh": 0}
"""Options that say where and how loudly, not what; with how many values they take."""


def versions() -> dict[str, str]:
    """Version of this package, of Python and of every installed package that takes part."""
    own = {"conceptseg": conceptseg.__version__, "python": platform.python_version()}
    return own | installed(PACKAGES)


def installed(packages: Sequence[str]) -> dict[str, str]:
    """Version of each of these packages that is installed."""
    found = {}
    for name in packages:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def machine(device: str) -> dict[str, Any]:
    """Operating system, architecture, and the device that computed, by its kind."""
    import torch

    about: dict[str, Any] = {
        "system": platform.system(),
        "architecture": platform.machine(),
        "device": device,
        "threads": torch.get_num_threads(),
    }
    if device.startswith("cuda"):
        about["device_name"] = torch.cuda.get_device_name(device)
        # Upsampling and scattered sums add gradients in the order in which threads come.
        about["repeatable"] = (
            "within rounding: on CUDA gradients are summed in an order that differs from run to run"
        )
    return about


def kind(device: str) -> str:
    """What this machine computes with: those of one kind round alike."""
    import torch

    if device.startswith("cuda"):
        return torch.cuda.get_device_name(device)
    name = torch.backends.cpu.get_cpu_capability()
    return f"{platform.machine()} {name}" if device.startswith("cpu") else device


def tidy_command(arguments: Sequence[str]) -> str:
    """The command line without its output folder and with paths made short (:func:`tidy_path`)."""
    kept: list[str] = []
    skip = 0
    for word in arguments:
        if skip:
            skip -= 1
        elif word.partition("=")[0] in HOW_ONLY:
            skip = 0 if "=" in word else HOW_ONLY[word]
        else:
            kept.append(tidy_path(word))
    return " ".join(["conceptseg", *kept])


def tidy_path(text: str) -> str:
    """A path, or KEY=PATH, relative to the working folder; outside it, the last name alone."""
    before, sign, path = text.rpartition("=")
    if not _elsewhere(path):
        return _WITHIN.sub(lambda found: _last(found[0]), text)
    whole = Path(os.path.abspath(Path(path).expanduser()))
    here = Path.cwd()
    inside = whole.is_relative_to(here)
    return before + sign + (whole.relative_to(here).as_posix() if inside else _last(path))


def tidy_config(content: Any) -> Any:
    """A configuration with the last name alone of each path that leads from the root or upwards."""
    if isinstance(content, Mapping):
        return {key: tidy_config(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [tidy_config(value) for value in content]
    return _last(content) if isinstance(content, str) and _elsewhere(content) else content


_WITHIN = re.compile(r"""(?<=[\s\[{,"'])(~|\.\.)?[/\\][^\s,\]}"']+""")
"""Paths from the root, the home folder or upwards in a mapping or list on the command line."""


def _elsewhere(text: str) -> bool:
    """Whether a text is a path from the root, from the home folder, or upwards."""
    path = PureWindowsPath(text)  # it knows both kinds of slash, and drives
    return bool(path.root) or text.startswith("~") or ".." in path.parts


def _last(text: str) -> str:
    """The last name of a path; what there is if it has none, such as `..`."""
    name = PureWindowsPath(text).name
    return name or text


def peak_memory_bytes() -> int | None:
    """The most memory this process has held so far, in bytes; None where it cannot be asked."""
    try:
        import resource
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(peak) if sys.platform == "darwin" else int(peak) * 1024


def peak_device_bytes(device: str) -> int | None:
    """The most memory that tensors have held on a CUDA device, in bytes; None elsewhere."""
    import torch

    return int(torch.cuda.max_memory_allocated(device)) if device.startswith("cuda") else None


@cache
def code_digest() -> str:
    """SHA-256 over this package's source files: results saved by other code are not reused."""
    root = Path(__file__).parents[1]
    hasher = hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        hasher.update(path.relative_to(root).as_posix().encode() + b"\0")
        hasher.update(path.read_bytes() + b"\0")
    return hasher.hexdigest()


def source_digest(cls: type) -> str:
    """SHA-256 of the file that defines a class, which may lie outside this package."""
    try:
        path = Path(inspect.getfile(cls))
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except (OSError, TypeError):
        return ""
