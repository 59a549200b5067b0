"""One result of several: of a network whose classes are independent, one part for each class.

Each part is the result of a run of its own. Their findings stand together under one correction, for
all of them are looked through together: p-values are multiplied by the number of parts, and
intervals that decide a finding grow as much (Bonferroni). Parts that each keep false claims to a
rate keep it so over all: the chance of any false claim is at most the sum of the parts' chances,
and likewise the share of false ones among the claims (the false share of all is at most the sum of
the shares within each part).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from conceptseg.errors import InputError, nearest
from conceptseg.result.finding import Finding, ranked
from conceptseg.result.saved import UNREADABLE, Result, safe_key
from conceptseg.stats.intervals import ALPHA, among

PARTS = "independent_classes"
"""The note that lists the parts, in their order."""
_OWN = ("notes", "provenance", "timings", "skipped")


def finished(result: Result) -> str:
    """When a result was there, "2026-01-31T10:00:00Z"; of several parts the last; "" if unknown."""
    told = result.timings.get("finished", "")
    return max(map(str, told.values() if isinstance(told, Mapping) else (told,)), default="")


def joined(parts: Mapping[str, Result]) -> Result:
    """The result of all parts, by class; :func:`parts_of` takes it apart again.

    Raises ValueError for parts of several studies.
    """
    results = list(parts.values())
    (study,) = {result.study for result in results}
    findings = [
        _in_family(one, name, len(parts)) for name, part in parts.items() for one in part.findings
    ]
    listed = [_kept(name, part) for name, part in parts.items()]
    return Result(
        study=study,
        findings=ranked(findings),
        tables={_key(i, k): t for i, one in enumerate(results) for k, t in one.tables.items()},
        arrays={_key(i, k): a for i, one in enumerate(results) for k, a in one.arrays.items()},
        images={_key(i, k): a for i, one in enumerate(results) for k, a in one.images.items()},
        skipped=[
            {"class": name, **entry} for name, part in parts.items() for entry in part.skipped
        ],
        provenance=_by_class(parts, "provenance"),
        timings=_by_class(parts, "timings"),
        config=_config(results[0].config, None),
        notes={PARTS: listed},
    )


def parts_of(result: Result) -> dict[str, Result]:
    """The parts of a joined result by class, as they were; empty for any other result.

    Raises :class:`~conceptseg.errors.InputError` for a result that was edited or damaged.
    """
    try:
        listed = enumerate(result.notes.get(PARTS, ()))
        return {kept["class"]: _part(result, place, kept) for place, kept in listed}
    except UNREADABLE as error:
        raise InputError(
            f"result.json: its note {PARTS!r} is damaged or edited ({type(error).__name__}); run "
            "the study again"
        ) from None


def _part(result: Result, place: int, kept: Mapping[str, Any]) -> Result:
    start = _key(place, "")

    def own(every: Mapping[str, Any]) -> dict[str, Any]:
        return {key.removeprefix(start): one for key, one in every.items() if key.startswith(start)}

    return Result(
        study=result.study,
        findings=[Finding.model_validate(one) for one in kept["findings"]],
        tables=own(result.tables),
        arrays=own(result.arrays),
        images=own(result.images),
        config=_config(result.config, kept["class"]),
        **{key: kept[key] for key in _OWN},
    )


def part_of(result: Result, name: str | None, where: str) -> Result:
    """The part of one class, or a result that has no parts as it is.

    Raises :class:`~conceptseg.errors.InputError` where there are parts and none of that name.
    """
    parts = parts_of(result)
    if not parts:
        return result
    if name is None or name not in parts:
        cure = nearest(name, parts) if name else ", ".join(parts)
        raise InputError(
            f"{where}: a result of {len(parts)} independent classes, one after the other; say "
            f"which is meant by model.positive_class: {cure}"
        )
    return parts[name]


def anchor(name: str, text: str) -> str:
    """The id of what stands as `text` in the report of one class, in the report of all."""
    return f"{safe_key(name)}-{text}"


def picture(place: int, key: str) -> str:
    """The key of a part's picture in the joined result."""
    return _key(place, key)


def _in_family(finding: Finding, name: str, count: int) -> Finding:
    """A part's finding as one of all parts: it names its class, and what decides counts them all.

    What is evidence within its class alone says so in its claim.
    """
    least = None if finding.p_least is None else min(1.0, count * finding.p_least)
    p = None if finding.p_adjusted is None else min(1.0, count * finding.p_adjusted)
    within: dict[str, Any] = {"p_within_class": finding.p_adjusted}
    ci = finding.ci
    if finding.by == "interval" and ci is not None and finding.effect is not None:
        within["ci_within_class"] = list(ci)
        ci = among(finding.effect, *ci, finding.n, count)
    found = finding.model_copy(
        update={
            "claim": f"{name}: {finding.claim}",
            "class_": finding.class_ or name,
            "ci": ci,
            "p_adjusted": None if least is not None and least > ALPHA else p,
            "p_least": least,
            "evidence": anchor(name, finding.evidence),
            "details": {**finding.details, **within},
        }
    )
    if finding.standing == "evidence" != found.standing:
        alone = f"{found.claim} So it is within its class; not once all {count} are counted."
        return found.model_copy(update={"claim": alone})
    return found


def _kept(name: str, part: Result) -> dict[str, Any]:
    findings = [one.model_dump(by_alias=True) for one in part.findings]
    return {"class": name, "findings": findings, **{key: getattr(part, key) for key in _OWN}}


def _by_class(parts: Mapping[str, Result], what: str) -> dict[str, Any]:
    """What all parts have alike, once; what differs, by class."""
    each = {name: dict(getattr(part, what)) for name, part in parts.items()}
    found: dict[str, Any] = {}
    for key in sorted({key for one in each.values() for key in one}):
        values = {name: one.get(key) for name, one in each.items()}
        first, *others = values.values()
        found[key] = first if all(one == first for one in others) else values
    return found


def _config(config: Mapping[str, Any], name: str | None) -> dict[str, Any]:
    """The configuration by which one class alone is studied."""
    data = {**config["data"], "classes": []} if "data" in config else None
    own = {} if data is None else {"data": data}
    return {**config, **own, "model": {**config.get("model", {}), "positive_class": name}}


def _key(place: int, key: str) -> str:
    return f"{place}.{key}"
