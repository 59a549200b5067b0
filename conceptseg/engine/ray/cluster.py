"""The cluster that a run computes by: one that is there, or one of this machine alone."""

from __future__ import annotations

import logging
import os
import signal
from contextlib import suppress
from types import ModuleType
from typing import Any
from uuid import uuid4

from conceptseg.engine.pool import cores
from conceptseg.engine.proof import reach
from conceptseg.errors import InputError
from conceptseg.extras import missing

STORE = 1 << 30
"""Bytes of memory for what travels, of a cluster that is started here; more than that waits on
disk."""
QUIET = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}
"""That nothing is sent to Ray's makers, and that it does not talk of what it will change."""


def connected(address: str | None) -> ModuleType:
    """ray, connected to a cluster; once in a process."""
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    try:
        import ray
    except ImportError:
        raise InputError(missing("run.engine: ray", "ray")) from None
    if ray.is_initialized():
        return ray
    own: dict[str, Any] = {"address": address}
    if address is not None and address != "auto":
        reach(address)
    if address is None:
        own = {"address": "local", "num_cpus": cores(), "include_dashboard": False}
        own["object_store_memory"] = STORE
        # Who reaches a cluster can run code there: this one is for this program alone.
        os.environ.setdefault("RAY_AUTH_TOKEN", uuid4().hex)
    theirs = signal.getsignal(signal.SIGTERM)  # Ray sets one of its own, which ends with code 15
    try:
        ray.init(**own, log_to_driver=False, logging_level=logging.ERROR)
    except (ConnectionError, TimeoutError, ValueError, RuntimeError, OSError) as error:
        where = "no cluster could be started" if address is None else f"run.address {address}"
        cure = "is `ray start --head` running there, of the same version?"
        if "Authentication" in f"{type(error.__cause__)} {error.__cause__}":
            cure = "it wants a token: set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN_PATH"
        raise InputError(f"{where}: {' '.join(str(error).split())[:200]}; {cure}") from error
    finally:
        with suppress(ValueError):  # not in the main thread, where Ray sets none
            signal.signal(signal.SIGTERM, theirs)
    return ray
