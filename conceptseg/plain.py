"""Plain data of YAML and JSON: what nobody means by what stands there is refused."""

import json
import re
from collections.abc import Sequence
from typing import Any

import yaml


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
