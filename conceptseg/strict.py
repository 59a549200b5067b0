"""What is read of YAML, JSON and models of configuration: what was not meant is refused."""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, get_args, get_origin

import yaml
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


class PlainLoader(yaml.SafeLoader):
    """Plain data only, each key once, no aliases (which can expand without bound), no merged keys
    (which are for aliases), and no numbers that are not what they look like."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.events.AliasEvent):
            mark = self.peek_event().start_mark
            raise yaml.composer.ComposerError(None, None, "aliases (*name) are not read", mark)
        return super().compose_node(parent, index)

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        if not isinstance(node, yaml.MappingNode):  # such as !!map [1]
            raise _refused(f"a mapping is expected, not a {node.id}", node)
        seen: set[Any] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise _refused("a key must be a name or a number", key)
            if key.tag == "tag:yaml.org,2002:merge":
                raise _refused("merged keys (<<) are not read; write the keys out", key)
            both = {key.value, self.construct_object(key)}  # 1 is 0x1, and true is yes
            if seen & both:
                raise _refused(f"the key {key.value!r} is given twice", key)
            seen |= both
        return super().construct_mapping(node, deep)

    def construct_yaml_int(self, node: Any) -> Any:
        number = super().construct_yaml_int(node)
        _check_looks(node, number)
        return number

    def construct_yaml_float(self, node: Any) -> Any:
        number = super().construct_yaml_float(node)
        _check_looks(node, number)
        return number


PlainLoader.add_constructor("tag:yaml.org,2002:int", PlainLoader.construct_yaml_int)
PlainLoader.add_constructor("tag:yaml.org,2002:float", PlainLoader.construct_yaml_float)


def _check_looks(node: Any, number: float) -> None:
    """Refuse what YAML 1.1 takes for a number to base 8 (010) or 60 (12:30), and hardly anyone."""
    if ":" in node.value or re.fullmatch(r"[-+]?0[0-9_]+", node.value):
        raise _refused(
            f"YAML reads {node.value} as {number}; write that, or {node.value!r} in quotes", node
        )


def _refused(problem: str, node: Any) -> yaml.constructor.ConstructorError:
    return yaml.constructor.ConstructorError(None, None, problem, node.start_mark)


def plain_json(text: str) -> Any:
    """What a JSON text holds, each key once. Raises ValueError."""
    try:
        return _JSON.decode(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _each_once(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in content if keys.count(key) > 1)
        raise ValueError(f"the key {twice[:60]!r} is given twice")
    return content


_JSON = json.JSONDecoder(object_pairs_hook=_each_once)
