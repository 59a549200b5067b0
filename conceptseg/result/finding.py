"""One claim of a study, with how sure it is."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal

from pydantic import ConfigDict, Field, field_validator, model_validator

from conceptseg.result.encoding import plain
from conceptseg.stats.estimate import Estimate
from conceptseg.stats.family import Test
from conceptseg.stats.intervals import ALPHA
from conceptseg.strict import Strict


class Finding(Strict):
    """One answer: what was found, for which class, how large, how sure, and where it is shown.

    Make one with :meth:`about`. `by` says what decides whether it counts as evidence: a "test" (its
    corrected p), an "interval" (which must exclude `null`), or nothing: a "description" says how
    large something is, and supposes no null that it could fail to exclude.
    """

    model_config = ConfigDict(populate_by_name=True)

    claim: str = Field(description="The claim with its numbers, to be quoted as it stands.")
    plain: str = Field(
        "", description="The same in plain words without numbers; equal ones are shown as one."
    )
    class_: str | None = Field(None, alias="class", description="Class that the claim is about.")
    effect: float | None = Field(None, description="Size; what it measures is `effect_name`.")
    ci: tuple[float, float] | None = Field(None, description="95 % interval of the effect.")
    p: float | None = Field(None, ge=0, le=1, description="Before correction.")
    p_adjusted: float | None = Field(
        None, ge=0, le=1, description="After correction; of a test, null where it could not pass."
    )
    p_least: float | None = Field(
        None, ge=0, le=1, description="Smallest value that p_adjusted could take, of a test."
    )
    n: int = Field(ge=0, description="Number of what is counted behind the claim, see `of`.")
    of: str = Field("observations", description='What `n` counts: "images", "groups", ...')
    by: Literal["test", "interval", "description"] = Field(
        "description", description="What decides whether it is evidence."
    )
    null: float = Field(0.0, description="Effect that an interval must exclude to be evidence.")
    evidence: str = Field(
        description="Id of the section, chart or card of the report that shows "
        "it, or the name of a table."
    )
    fault: bool = Field(
        False, description="Whether it is of the network's mistakes; these come first."
    )
    warning: bool = Field(
        False, description="Whether it limits what all others say; then it comes before them."
    )
    details: dict[str, Any] = Field(
        default_factory=dict, description="Further numbers; `effect_name` names the effect."
    )

    @classmethod
    def about(
        cls,
        claim: str,
        estimate: Estimate,
        test: Test | None = None,
        *,
        evidence: str,
        class_name: str | None = None,
        null: float | None = None,
        fault: bool = False,
        warning: bool = False,
        plain: str = "",
        **details: Any,
    ) -> Finding:
        """A claim with its number. Decided by its `test`; without one by whether the interval
        excludes `null`; with neither it is a description. Name the effect in `effect_name`.
        """
        return cls(
            claim=claim,
            plain=plain,
            class_=class_name,
            effect=estimate.value,
            ci=estimate.ci,
            p=None if test is None else test.p,
            p_adjusted=None if test is None else test.adjusted,
            p_least=None if test is None else test.least,
            n=estimate.n,
            of=estimate.of,
            by="test" if test is not None else "description" if null is None else "interval",
            null=null or 0.0,
            evidence=evidence,
            fault=fault,
            warning=warning,
            details=details,
        )

    @model_validator(mode="before")
    @classmethod
    def _older(cls, given: Any) -> Any:
        """Results of earlier versions do not say what decides: it was the p, if there was one."""
        if isinstance(given, dict) and "by" not in given:
            tested = given.get("p") is not None or given.get("p_adjusted") is not None
            return {**given, "by": "test" if tested else "description"}
        return given

    @field_validator("effect", "p", "p_adjusted", "p_least", mode="before")
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

    @property
    def standing(self) -> Literal["evidence", "description", "no evidence", "not testable"]:
        """The one answer to whether it counts as evidence, for the order and for the page."""
        if self.by == "description":
            return "description"
        if self.by == "interval":
            shown = self.ci is not None and not self.ci[0] <= self.null <= self.ci[1]
            return "evidence" if shown else "no evidence"
        if self.p_adjusted is None:
            return "not testable"
        return "evidence" if self.p_adjusted <= ALPHA else "no evidence"

    @property
    def counted(self) -> str:
        """n with its name, as "12 groups"."""
        return f"{self.n} {self.of.removesuffix('s') if self.n == 1 else self.of}"


def ranked(findings: Iterable[Finding]) -> list[Finding]:
    """Warnings, then evidence, descriptions, the rest; in each faults, then the largest first.

    By size, not by p: p-values of clear effects all lie at the least that the draws can give, and
    of what is sure, how large it is matters. Size is the distance from the null: from 0, or from
    what the interval had to exclude. What is not shown goes by its corrected p first.
    """
    order = ("evidence", "description", "no evidence", "not testable")

    def key(finding: Finding) -> tuple[bool, int, bool, float, float, float, str]:
        place = order.index(finding.standing)
        size = 0.0 if finding.effect is None else abs(finding.effect - finding.null)
        p = 1.0 if finding.p_adjusted is None else finding.p_adjusted
        unsure = p if place > 1 else 0.0
        return not finding.warning, place, not finding.fault, unsure, -size, p, finding.claim

    return sorted(findings, key=key)
