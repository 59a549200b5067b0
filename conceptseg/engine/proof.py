"""Before machines take part in a run: whether they are reached, and what they have to show."""

from __future__ import annotations

import platform
import socket
from functools import cache
from typing import TYPE_CHECKING

from conceptseg.engine import provenance
from conceptseg.engine.shelf import shelf_of
from conceptseg.errors import InputError

if TYPE_CHECKING:
    from conceptseg.engine.job import Job

Proof = tuple[tuple[str, str], ...]
"""Names of what decides on results, each with its version."""


@cache
def proof() -> Proof:
    """What has to be the same in every process: this package's code, Python, numerical packages."""
    import torch

    found = {"conceptseg": f"code {provenance.code_digest()[:12]}"}
    found["python"] = ".".join(platform.python_version_tuple()[:2])
    found |= provenance.installed(provenance.DECISIVE) | {"torch": torch.__version__}
    return tuple(found.items())


@cache
def compare(wanted: Proof) -> None:
    """Refuse to take part where something is other here. Raises InputError."""
    here, there = dict(proof()), dict(wanted)
    other = [
        f"{name} {here.get(name, 'none')} where the run was started with {there.get(name, 'none')}"
        for name in sorted(here.keys() | there.keys())
        if here.get(name) != there.get(name)
    ]
    if other:
        raise InputError(f"has {', '.join(other)}; install the same on all machines")


def shown(job: Job) -> str:
    """The kind of a machine that has the network, finds the data, and reaches the run's store.

    Raises InputError.
    """
    context = job.context()
    context.manifest.source.stamp(context.manifest.samples[0])
    if context.run.store is not None:
        shelf_of(context.run.store).tried()
    return provenance.kind(context.run.device)


def reach(address: str) -> None:
    """Refuse an address where nobody listens, for which Ray would look for minutes."""
    name, _, port = address.rpartition(":")
    try:
        socket.create_connection((name.strip("[]"), int(port)), 10.0).close()
    except (OSError, ValueError) as error:
        raise InputError(
            f"run.address {address}: nothing answers there ({error}); give HOST:PORT of a Ray "
            "cluster's head (ray start --head --port=6379), or auto"
        ) from None
