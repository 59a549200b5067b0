"""What a whole run says to whoever has to decide: a concern, none shown, or that it cannot tell.

Which it is follows from rules that each study owns (its `verdict.py`); here is what all have: the
contract, what weakens any of them, and how those of several classes become one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal

from pydantic import Field

from conceptseg.strict import Strict

Status = Literal["concern", "none shown", "cannot tell"]
LEAST_WORTH = 0.02
"""Share of the prediction that is lost without a layer, below which the layer has no effect."""
NAMED = 3
"""Things that a sentence names; the others are counted."""


class Verdict(Strict):
    """The answer of a run in one plain sentence, and what to do next."""

    status: Status = Field(description="Whether there is a concern.")
    sentence: str = Field(min_length=1, description="One plain sentence that says why.")
    advice: str = Field(min_length=1, description="What to do next, in a sentence.")

    @property
    def line(self) -> str:
        """For a terminal: "concern: digit 3 needs brick beside it."."""
        return f"{self.status}: {self.sentence}"


def concern(sentence: str, advice: str) -> Verdict:
    """Something was shown that should be looked at before the network is used."""
    return Verdict(status="concern", sentence=sentence, advice=advice)


def none_shown(sentence: str, advice: str) -> Verdict:
    """It was looked for, could have been shown, and was not."""
    return Verdict(status="none shown", sentence=sentence, advice=advice)


def cannot_tell(sentence: str, advice: str) -> Verdict:
    """The run could not have shown it, or what it shows must not be relied on."""
    return Verdict(status="cannot tell", sentence=sentence, advice=advice)


def listed(names: Iterable[str], most: int = NAMED) -> str:
    """Names as a reader wants them: "a, b and c", or "a, b, c and 4 more"."""
    every = list(dict.fromkeys(names))
    if len(every) > most:
        return f"{', '.join(every[:most])} and {len(every) - most} more"
    return " and ".join([", ".join(every[:-1]), every[-1]] if len(every) > 1 else every)


def counted(number: int, thing: str) -> str:
    """ "1 image", "2 images", "3 classes"."""
    plural = "es" if thing.endswith("s") else "s"
    return f"{number} {thing}{'' if number == 1 else plural}"


def weakened(
    verdict: Verdict, notes: Mapping[str, Any], provenance: Mapping[str, Any], altered: bool = False
) -> Verdict:
    """The verdict, or that nothing can be told: of an edited result, of a layer without effect, or
    of a network that was perhaps not read as it is meant to be.

    What was shown stands in the last two cases; that nothing was shown says nothing there. Where
    images were counted although few groups gave them, the sentence says that it is of these.
    """
    if altered:
        return cannot_tell(
            "This result was edited after it was saved, so what it says may not be what was found.",
            "Restore the file, or run the study again.",
        )
    verdict = _of_these(verdict, notes)
    if verdict.status != "none shown":
        return verdict
    worth = worth_of(notes, provenance)
    if worth is not None and worth < LEAST_WORTH:
        return cannot_tell(
            f"The layer that was looked at, {notes['layer']}, has next to no effect on what the "
            f"network predicts ({worth:.3f} of the prediction is lost without it).",
            "Choose a layer that carries the decision: `conceptseg layers` says what each is "
            "worth.",
        )
    if doubts := (provenance.get("examination") or {}).get("doubts"):
        return cannot_tell(
            "No concern was shown, but it is doubtful whether the network was read as it is meant "
            f"to be ({listed(str(one['what']) for one in doubts)}).",
            "Settle the doubts below first, then run the study again.",
        )
    return verdict


def _of_these(verdict: Verdict, notes: Mapping[str, Any]) -> Verdict:
    """The verdict with whom it is about, where intervals and tests took images of few groups for
    independent: of six patients of ten images each, nearly every run finds kinds of images that are
    segmented worse, by what their patients have in common."""
    groups = notes.get("manifest_groups")
    if verdict.status == "cannot tell" or notes.get("unit") != "image" or groups is None:
        return verdict
    of = f"the {counted(groups, 'group')} that the images come from"
    if groups >= notes.get("images", 0) or of in verdict.sentence:
        return verdict
    told = f"{verdict.sentence} Images were counted: this is of {of}, and not of new ones."
    return verdict.model_copy(update={"sentence": told})


def worth_of(notes: Mapping[str, Any], provenance: Mapping[str, Any]) -> float | None:
    """Share of the prediction that is lost without the layer that was studied, where known."""
    kept = provenance.get("worth")
    if not isinstance(kept, Mapping) or kept.get("by") != "prediction":
        return None
    shares = {row["layer"]: row["prediction"] for row in kept.get("layers", ())}
    share = shares.get(notes.get("layer"))
    return None if share is None else float(share)


def among(parts: Mapping[str, Verdict], kept: Iterable[str]) -> Verdict:
    """One verdict of those of several classes; the gravest decides.

    A concern counts only of the classes `kept`, of which something is evidence when all are looked
    through together.
    """
    stands = set(kept)
    found = {
        name: one
        if one.status != "concern" or name in stands
        else cannot_tell(
            f"{one.sentence} So it is within the class alone, not once all are counted.", one.advice
        )
        for name, one in parts.items()
    }
    order: tuple[Status, ...] = ("concern", "cannot tell", "none shown")
    status = next(s for s in order if any(one.status == s for one in found.values()))
    own = {name: one for name, one in found.items() if one.status == status}
    sentence = " ".join(f"{name}: {one.sentence}" for name, one in list(own.items())[:NAMED])
    more = f" So it is for {len(own) - NAMED} more classes." if len(own) > NAMED else ""
    first = next(iter(own.values()))
    return Verdict(status=status, sentence=sentence + more, advice=first.advice)
