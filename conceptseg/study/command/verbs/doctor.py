"""`conceptseg doctor`: what a bug report needs to know of a machine, and nothing private."""

import importlib.metadata
import os
import platform
import sys

from conceptseg.extras import EXTRAS

PANEL = "Begin"

THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OMP_WAIT_POLICY", "NUMBA_NUM_THREADS")
"""Settings in the environment that decide how many threads compute, and how they wait."""


def command() -> None:
    """Print what a bug report needs: versions, extras, devices, threads; nothing private."""
    print(page())


def page() -> str:
    """Lines `what: value` on versions, optional packages, platform, devices and threads.

    A package that cannot be imported is told with its error, since that is what is often wrong.
    """
    from conceptseg.engine import provenance

    lines = [f"{name}: {version}" for name, version in provenance.versions().items()]
    lines += [f"{extra} (optional): {told}" for extra, told in extras().items()]
    lines.append(f"platform: {platform.system()} {platform.release()}, {platform.machine()}")
    lines.append(f"libc: {' '.join(filter(None, platform.libc_ver())) or 'unknown'}")
    return "\n".join(lines + _torch() + _threads())


def extras() -> dict[str, str]:
    """Of each extra the versions of its packages, and what installs those that are missing."""
    told: dict[str, str] = {}
    installed = importlib.metadata.packages_distributions()
    for module, extra in EXTRAS.items():
        name = next(iter(installed.get(module, ())), module.replace("_", "-"))
        try:
            what = f"{name} {importlib.metadata.version(name)}"
        except importlib.metadata.PackageNotFoundError:
            what = f"{name} missing, pip install 'conceptseg[{extra}]'"
        told[extra] = f"{told[extra]}; {what}" if extra in told else what
    return told


def _torch() -> list[str]:
    try:
        import torch
    except Exception as error:  # a broken torch is the very thing to report
        text = (str(error).strip() or "no message").splitlines()[0]
        return [f"torch cannot be imported: {type(error).__name__}: {text[:200]}"]
    lines = [
        f"torch built for: CUDA {torch.version.cuda or 'none'}, HIP {torch.version.hip or 'none'}"
    ]
    names = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    lines += [f"cuda:{index}: {name}" for index, name in enumerate(names)]
    if not names:
        lines.append("cuda: none")
    lines.append(f"mps: {'yes' if torch.backends.mps.is_available() else 'none'}")
    lines.append(f"threads of torch: {torch.get_num_threads()}")
    return lines


def _threads() -> list[str]:
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None
    count = f"processors: {os.cpu_count()}" + (f", {allowed} of them allowed" if allowed else "")
    given = [f"{name}={os.environ[name]}" for name in THREADS if name in os.environ]
    return [count, f"set: {', '.join(given) or 'nothing'}", f"64 bit: {sys.maxsize > 2**32}"]
