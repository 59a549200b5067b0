"""A study of each of a network's independent classes in turn, and the one result of all."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from conceptseg.engine.contract import Context, Study
from conceptseg.engine.progress import Progress, Quiet
from conceptseg.engine.provenance import tidy_config
from conceptseg.engine.run import in_order, refuse, run_study
from conceptseg.result.joined import joined
from conceptseg.settings import digest, without_run

if TYPE_CHECKING:
    from conceptseg.result.saved import Result


def run_each(
    studies: Sequence[tuple[Study, Context]],
    out: Path,
    progress: Progress | None = None,
    *,
    recorded: Mapping[str, Any],
    examined: Mapping[str, Any] | None = None,
    command: str = "",
    fresh: bool = False,
) -> Result:
    """:func:`conceptseg.engine.run.run_study` of what `start.prepare_each` has made ready.

    Of one study that is its result. Of several each runs as if it were alone, and their results
    are joined (:func:`conceptseg.result.joined.joined`); what one of them refuses is refused before
    the first begins.
    """
    progress = progress or Quiet()
    if len(studies) == 1:
        ((study, context),) = studies
        return run_study(
            study,
            context,
            out,
            progress,
            recorded=recorded,
            examined=examined,
            command=command,
            fresh=fresh,
        )
    for study, context in studies:
        refuse(study, context)
    parts: dict[str, Result] = {}
    for study, context in studies:
        name = context.model.classes[1]
        progress.note(f"class {name}, {len(parts) + 1} of {len(studies)}, layer {context.layer}")
        parts[name] = run_study(
            study,
            context,
            out,
            progress,
            recorded=_of_class(recorded, name),
            command=command,
            fresh=fresh and not parts,
        )
    result = joined(parts)
    told: dict[str, Any] = {"configuration": digest(without_run(recorded))}
    told |= {"examination": examined} if examined else {}
    return dataclasses.replace(
        result,
        config=in_order(tidy_config(recorded)),
        provenance=in_order({**result.provenance, **told}),
    )


def _of_class(recorded: Mapping[str, Any], name: str) -> dict[str, Any]:
    """The configuration by which one class alone is studied."""
    return {
        **recorded,
        "model": {**recorded["model"], "positive_class": name},
        "data": {**recorded["data"], "classes": []},
    }
