"""Models of configuration that refuse what was not meant, and what a number may be."""

from collections.abc import Mapping
from typing import Any, ClassVar, get_args, get_origin

from annotated_types import Le
from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationInfo, field_validator

LARGEST = 1_000_000
"""Of whole numbers whose field names no other bound: more than can be waited for here."""
LARGEST_SEED = 2**32 - 1
"""That all libraries take."""


class Strict(BaseModel):
    """A frozen model that refuses unknown keys, and true or false where a number is wanted.

    Otherwise values are converted where nothing is lost: 4.0 or "4" is the integer 4. Numbers are
    finite, and whole ones at most `largest` in size unless their field says otherwise.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=False, allow_inf_nan=False)
    largest: ClassVar[int] = LARGEST

    @field_validator("*", mode="before")
    @classmethod
    def _no_truth_for_a_number(cls, value: Any, info: ValidationInfo) -> Any:
        field = cls.model_fields.get(info.field_name or "")
        if field is None or not _holds_truth(value):
            return value
        if _takes(field.annotation, int, float) and not _takes(field.annotation, bool, Any):
            text = " or a text in quotes" if _takes(field.annotation, str) else ""
            raise ValueError(f"expected a number{text}, not true or false")
        return value

    @field_validator("*")
    @classmethod
    def _numbers_that_can_be_counted(cls, value: Any, info: ValidationInfo) -> Any:
        field = cls.model_fields.get(info.field_name or "")
        if field is not None and any(isinstance(one, Le) for one in field.metadata):
            return value
        for one in value if isinstance(value, tuple) else (value,):
            if isinstance(one, int) and abs(one) > cls.largest:
                raise ValueError(f"expected a number of at most {cls.largest}")
        return value


def _holds_truth(value: Any) -> bool:
    """Whether a value is true or false, or a list or mapping that holds such."""
    inner = value.values() if isinstance(value, Mapping) else value
    several = isinstance(value, (Mapping, list, tuple))
    return isinstance(value, bool) or (several and any(map(_holds_truth, inner)))


def _takes(annotation: Any, *kinds: Any) -> bool:
    """Whether values of one of these types are among those that a field may have, or hold."""
    inner = get_args(annotation)[get_origin(annotation) in (dict, Mapping) :]  # without keys
    known = annotation in kinds or (bool in kinds and isinstance(annotation, bool))
    return known or any(_takes(one, *kinds) for one in inner)


def one_or_more(kind: type[str] | type[int] | type[float]) -> BeforeValidator:
    """For a field that is a tuple: a value alone stands for a list of one, for editors too."""
    alone = str if kind is str else (int, float)
    return BeforeValidator(
        lambda value: [value] if isinstance(value, alone) else value,
        json_schema_input_type=kind | tuple[kind, ...],  # type: ignore[valid-type]
    )
