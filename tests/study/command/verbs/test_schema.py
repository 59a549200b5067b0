"""`conceptseg schema`: what editors check YAML files by."""

import json
from pathlib import Path

import pytest
import yaml

from conceptseg.errors import InputError
from conceptseg.study.__main__ import main
from conceptseg.study.command.verbs.schema import schema

CHECKOUT = Path(__file__).parents[4]


def fits(value, rule, root):
    """Whether a value obeys the part of JSON schema that is used here: written from its text."""
    if rule is True:
        return True
    if "$ref" in rule:
        return fits(value, root["$defs"][rule["$ref"].rpartition("/")[2]], root)
    if "if" in rule and not fits(
        value, rule["then"] if fits(value, rule["if"], root) else rule["else"], root
    ):
        return False
    if "not" in rule and fits(value, rule["not"], root):
        return False
    if "anyOf" in rule and not any(fits(value, one, root) for one in rule["anyOf"]):
        return False
    if "const" in rule and value != rule["const"] or "enum" in rule and value not in rule["enum"]:
        return False
    kinds = {
        "object": dict, "array": list, "string": str, "integer": int, "null": type(None),
        "number": (int, float), "boolean": bool,
    }  # fmt: skip
    if "type" in rule and not isinstance(value, kinds[rule["type"]]):
        return False
    if isinstance(value, list) and "items" in rule:
        return all(fits(one, rule["items"], root) for one in value)
    if isinstance(value, dict):
        known = rule.get("properties", {})
        if rule.get("additionalProperties") is False and value.keys() - known.keys():
            return False
        if set(rule.get("required", ())) - value.keys():
            return False
        return all(fits(one, known[key], root) for key, one in value.items() if key in known)
    return True


@pytest.mark.parametrize("file", sorted((CHECKOUT / "data_manifests").glob("*.yaml")), ids=str)
def test_shipped_manifests_fit(file):
    rules = schema("manifest")
    content = yaml.safe_load(file.read_text())
    assert fits(content, rules, rules)
    native = content.get("format", "native") == "native"
    assert fits(content | {"chanels": 3}, rules, rules) == (not native)


def test_entries_of_folders_and_samples_are_described():
    rules = schema("manifest")
    own = {"labels": {"names": ["a", "b"]}}
    assert fits(own | {"folders": [{"images": "{id}.png"}]}, rules, rules)
    assert not fits(own | {"folders": [{"image": "{id}.png"}]}, rules, rules)
    assert not fits(own | {"samples": [{"id": "no image"}]}, rules, rules)


def test_it_prints_json(capsys):
    assert main(["schema", "manifest"]) == 0
    assert json.loads(capsys.readouterr().out) == json.loads(json.dumps(schema("manifest")))
    with pytest.raises(InputError, match="did you mean 'manifest'"):
        schema("manifst")
