"""What a study's file may not hold: each is one line that names the file or the key."""

import json

import pytest

from conceptseg.config import Preprocessing, RunConfig, StudyKeys
from conceptseg.errors import InputError
from conceptseg.settings import MAX_BYTES, parse_override, read_parts, read_settings, read_yaml
from conceptseg.strict import LARGEST_SEED
from conceptseg.study.dissect.config import Dissect
from conceptseg.study.saliency.config import Saliency

SOUND = {"data": {"manifest": "set.yaml"}, "model": {"source": "planted", "name": "biased"}}


def written(folder, content):
    path = folder / "dissect_a.yaml"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def line(raised) -> str:
    text = str(raised.value)
    assert "\n" not in text
    return text


@pytest.mark.parametrize(
    "value",
    ["!!int ''", "!!float ''", "!!bool abc", "!!timestamp abc", "!!map [1]", "!!set [1]",
     "!!omap {a: 1}", "!!pairs 3", "!!binary 'a'", "!!seq {a: 1}", "!!str [1]", "!!null [1]",
     "!!int 1:x", "!!float 1:2:x", "0x", "1_", "!!merge a", "{<<: 3}", "{<<: [3]}", "? [1]\n: 2"],
)  # fmt: skip
def test_values_that_are_not_of_their_tag(tmp_path, value):
    path = written(tmp_path, f"data: {value}\n" if "\n" not in value else value)
    try:
        content = read_yaml(path)
    except InputError as error:
        assert str(path) in str(error) and "\n" not in str(error)
    else:  # some are plain text to YAML, which the study then refuses
        with pytest.raises(InputError, match="data is"):
            read_settings("dissect", Dissect, path)
        assert "data" in content
    try:
        parse_override(f"data={value}")
    except InputError as error:
        assert "--set data" in str(error)


@pytest.mark.parametrize("section", ["data", "model", "run"])
@pytest.mark.parametrize("value", ["x", 5, [1], True, None, 1.5, [["a"]]])
def test_sections_of_another_type(tmp_path, section, value):
    path = written(tmp_path, {**SOUND, section: value})
    read_parts(path)  # for verbs that take parts of any study's file, which check them
    if value is not None or section == "run":
        with pytest.raises(InputError, match=section) as raised:
            read_settings("dissect", Dissect, path)
        line(raised)


@pytest.mark.parametrize("key", ["data.manifest", "data.root", "model.weights", "model.name"])
def test_homes_of_nobody(tmp_path, key):
    group, name = key.split(".")
    content = {**SOUND, group: {**SOUND[group], name: "~no_such_user/x"}}
    for read in (read_parts, lambda path: read_settings("dissect", Dissect, path)):
        with pytest.raises(InputError, match=f"{key}: '~no_such_user' names no user") as raised:
            read(written(tmp_path, content))
        line(raised)


@pytest.mark.parametrize("text", ["a\0b", "\ud800", "\udcff/x"])
def test_text_that_no_file_and_no_report_can_hold(tmp_path, text):
    path = written(tmp_path, {**SOUND, "data": {"manifest": text}})
    with pytest.raises(InputError, match="holds a character that is none") as raised:
        read_yaml(path)
    line(raised)
    written(tmp_path, {**SOUND, "model": {**SOUND["model"], "arguments": {"a": [{text: 1}]}}})
    with pytest.raises(InputError, match="holds a character"):
        read_yaml(path)
    written(tmp_path, SOUND)
    with pytest.raises(InputError, match="--set data.root: .*holds a character"):
        read_settings("dissect", Dissect, path, [("data.root", text)])
    with pytest.raises(InputError, match="cannot be read|no such file"):
        read_yaml(tmp_path / text)


@pytest.mark.parametrize(
    ("keys", "named"),
    [
        ({"seed": 2**64}, "seed"),
        ({"seed": "9" * 30}, "seed"),
        ({"seed": 1e30}, "seed"),
        ({"run": {"threads": 2**31}}, "run.threads"),
        ({"run": {"workers": 10**6}}, "run.workers"),
        ({"run": {"processes": 10**6}}, "run.processes"),
        ({"run": {"batch_size": 10**12}}, "run.batch_size"),
        ({"run": {"shards": 10**12}}, "run.shards"),
        ({"run": {"cache_gib": float("inf")}}, "run.cache_gib"),
        ({"picture_px": 10**6}, "picture_px"),
        ({"exemplars": 2**31}, "exemplars"),
        ({"permutations": 10**7}, "permutations"),
        ({"smallest_effect": float("nan")}, "smallest_effect"),
        ({"model": {**SOUND["model"], "preprocessing": {"multiple": 1e30}}}, "multiple"),
        ({"model": {**SOUND["model"], "preprocessing": {"size": [64, 10**20]}}}, "size"),
        ({"model": {**SOUND["model"], "preprocessing": {"mean": [float("inf")]}}}, "mean"),
        ({"data": {**SOUND["data"], "limit": 10**400}}, "data.limit|not YAML"),
    ],
)
def test_numbers_beyond_all_use(tmp_path, keys, named):
    with pytest.raises(InputError, match=named) as raised:
        read_settings("dissect", Dissect, written(tmp_path, {**SOUND, **keys}))
    line(raised)


def test_numbers_that_have_a_use():
    assert RunConfig(threads=64, batch_size=512, cache_gib=40).batch_size == 512
    assert Preprocessing(multiple=32, size=(1024, 2048), mean=(123.7,)).multiple == 32
    assert StudyKeys(**SOUND, seed=LARGEST_SEED).seed == 2**32 - 1
    assert Dissect(**SOUND, permutations=99_999).permutations == 99_999


def test_only_files_of_a_bounded_size_are_read(tmp_path):
    with pytest.raises(InputError, match=r"/dev/zero: a device or a pipe, not a file"):
        read_yaml(type(tmp_path)("/dev/zero"))
    large = tmp_path / "large.yaml"
    with large.open("wb") as file:
        file.truncate(MAX_BYTES + 1)
    with pytest.raises(InputError, match="larger than"):
        read_yaml(large)


@pytest.mark.parametrize("arguments", [{"trust_remote_code": True}, {"trust_remote_code": False}])
@pytest.mark.parametrize("source", ["transformers", "factory", "smp", "monai", "planted"])
def test_code_beside_weights_is_never_asked_for(tmp_path, source, arguments):
    model = {"source": source, "name": "a:b", "arguments": arguments}
    with pytest.raises(InputError, match="no trust_remote_code"):
        read_settings("dissect", Dissect, written(tmp_path, {**SOUND, "model": model}))


@pytest.mark.parametrize(
    "methods", [["lrp", "lrp"], ["lrp", {"kind": "lrp"}], [{"kind": "lrp", "a": 1}] * 2]
)
def test_a_method_that_is_given_twice(tmp_path, methods):
    """Its results would stand under one name, and be taken for each other's."""
    with pytest.raises(InputError, match="compare") as raised:
        read_settings("dissect", Dissect, written(tmp_path, {**SOUND, "compare": methods}))
    line(raised)
    two = [{"kind": "seg_grad_cam", "relu": True}, {"kind": "seg_grad_cam", "relu": False}]
    assert read_settings("dissect", Dissect, written(tmp_path, {**SOUND, "compare": two}))


def test_the_schema_says_what_a_factory_is():
    schema = json.dumps(Dissect.model_json_schema())
    assert "imported and run with your rights" in schema


def test_files_of_methods_are_from_the_study_s_folder(tmp_path):
    """A method's file, whatever folder the command is started in."""
    folder = tmp_path / "here"
    folder.mkdir()
    compare = [{"kind": "u_noise", "weights": "sub/a.safetensors"}, "vanilla_saliency"]
    path = written(folder, {**SOUND, "compare": compare})
    (entry, plain) = read_settings("saliency", Saliency, path).study.compare
    assert entry["weights"] == str(folder / "sub/a.safetensors")
    assert plain == "vanilla_saliency"


@pytest.mark.parametrize(
    ("text", "key"),
    [("{1: a, 0x1: b}", "0x1"), ("{1: a, +1: b}", r"\+1"), ("{yes: a, true: b}", "true"),
     ("{1.0: a, 1: b}", "1"), ("{1: a, '1': b}", "1"), ("{~: a, null: b}", "null")],
)  # fmt: skip
def test_one_key_in_two_spellings(tmp_path, text, key):
    with pytest.raises(InputError, match=f"the key '{key}' is given twice"):
        read_yaml(written(tmp_path, f"remap: {text}"))


def test_merged_keys_are_not_read(tmp_path):
    with pytest.raises(InputError, match="line 2: merged keys .* write the keys out"):
        read_yaml(written(tmp_path, "seed: 1\n<<: {seed: 2}\n"))


@pytest.mark.parametrize(
    ("text", "number"),
    [("010", 8), ("-0_12", -10), ("1:30", 90), ("12:30:45", 45045), ("1:30.5", 90.5), ("00", 0)],
)
def test_numbers_that_are_not_what_they_look_like(tmp_path, text, number):
    says = f"YAML reads {text} as {number}; write that, or '{text}' in quotes"
    with pytest.raises(InputError, match=says) as raised:
        read_yaml(written(tmp_path, f"a: 1\nb: [{text}]\n"))
    assert "line 2" in line(raised)
    with pytest.raises(InputError, match=says):
        read_yaml(written(tmp_path, f"{text}: 1"))
    with pytest.raises(InputError, match=f"--set seed: {says}"):
        parse_override(f"seed={text}")
    assert parse_override(f"seed='{text}'") == ("seed", text)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0", 0),
        ("-0", 0),
        ("10", 10),
        ("0x1f", 31),
        ("1_000", 1000),
        ("0.5", 0.5),
        ("00:x", "00:x"),
    ],
)
def test_numbers_that_are_what_they_look_like(text, value):
    assert parse_override(f"a={text}") == ("a", value)
