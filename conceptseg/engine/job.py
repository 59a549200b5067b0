"""What another process needs to have a run's network and data: no weights, and nothing pickled."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from conceptseg.engine.classes import class_of, name_of
from conceptseg.engine.provenance import source_digest
from conceptseg.errors import InputError
from conceptseg.settings import digest

if TYPE_CHECKING:
    from conceptseg.engine.contract import Context, Study


DEVICE = "CONCEPTSEG_DEVICE"
"""The variable of the environment by which a process knows the device that it was given."""


@dataclass(frozen=True)
class Job:
    """A study by its class (`module:name`) and keys (JSON), its network's fingerprint, and hashes
    of the code of both, which may lie outside of this package.

    The keys say what was settled at the start: the device, the batch size and a layer.
    """

    study: str
    keys: str
    weights: str
    code: tuple[str, str]

    @classmethod
    def of(cls, study: Study, context: Context, weights: str) -> Job:
        update = {"layer": context.single, "layers": None, "run": context.run}
        settled = study.model_copy(update=update)
        code = _code(type(study), context)
        return cls(name_of(type(study)), settled.model_dump_json(), weights, code)

    def context(self) -> Context:
        """This process's own; made once. Raises InputError where its network is another one."""
        return _made(self)


def _code(study: type[Study], context: Context) -> tuple[str, str]:
    layers = {type(one) for one in context.model.module.modules()}
    return source_digest(study), digest(sorted(set(map(source_digest, layers))))


@lru_cache(maxsize=1)
def _made(job: Job) -> Context:
    from conceptseg.engine.start import prepare

    kind: type[Study] = class_of(job.study)
    study = kind.model_validate_json(job.keys)
    if device := os.environ.get(DEVICE):
        run = study.run.model_copy(update={"device": device, "devices": ()})
        study = study.model_copy(update={"run": run})
    context = prepare(study, weigh=False)
    if context.model.fingerprint() != job.weights:
        raise InputError(
            f"model {context.model.name!r} has other weights here than where the run was started; "
            "give all machines the same files"
        )
    for what, here, there in zip(("study", "network"), _code(kind, context), job.code, strict=True):
        if here != there:
            raise InputError(
                f"the {what} ({job.study if what == 'study' else context.model.name}) has other "
                "code here than where the run was started; give all machines the same files"
            )
    return context
