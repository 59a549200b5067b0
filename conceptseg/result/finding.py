"""One claim of a study, with how sure it is."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from pydantic import ConfigDict, Field, field_validator

from conceptseg.config import Strict
from conceptseg.result.encoding import plain


class Finding(Strict):
    """One answer: what was found, for which class, how large, how sure, and where it is shown."""

    model_config = ConfigDict(populate_by_name=True)

    claim: str = Field(description="One sentence in plain words.")
    class_: str | None = Field(None, alias="class", description="Class that the claim is about.")
    effect: float | None = Field(None, description="Size; what it measures is `effect_name`.")
    ci: tuple[float, float] | None = Field(None, description="95 % interval of the effect.")
    p: float | None = Field(None, ge=0, le=1, description="Before correction.")
    p_adjusted: float | None = Field(None, ge=0, le=1, description="After correction.")
    n: int = Field(ge=0, description="Units of analysis (images or groups) behind the claim.")
    evidence: str = Field(
        description="Id of the section, chart or card of the report that shows "
        "it, or the name of a table."
    )
    details: dict[str, Any] = Field(
        default_factory=dict, description="Further numbers; `effect_name` names the effect."
    )

    @field_validator("effect", "p", "p_adjusted", mode="before")
    @classmethod
    def _finite(cls, value: Any) -> Any:
        return plain(value)

    @field_validator("ci", mode="before")
    @classmethod
    def _finite_pair(cls, value: Any) -> Any:
        pair = plain(value)
        return None if pair is None or None in pair else tuple(pair)

    @field_validator("n", mode="before")
    @classmethod
    def _plain_count(cls, value: Any) -> Any:
        return plain(value)


def ranked(findings: Iterable[Finding], alpha: float = 0.05) -> list[Finding]:
    """Strongest first: significant ones by size, then the rest by corrected p and size."""

    def key(finding: Finding) -> tuple[bool, float, float, str]:
        p = 1.0 if finding.p_adjusted is None else finding.p_adjusted
        size = -abs(finding.effect or 0.0)
        return (True, p, size, finding.claim) if p > alpha else (False, size, p, finding.claim)

    return sorted(findings, key=key)
