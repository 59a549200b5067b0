"""A study's file: what is read, what overrides do, and the line that each mistake gets."""

import os
import re
from pathlib import Path
from typing import Literal

import pytest
import yaml
from pydantic import ValidationError

from conceptseg import catalogue
from conceptseg.config import ModelConfig, Preprocessing, RunConfig
from conceptseg.data.readers._spec import FilesSpec, LabelSpec
from conceptseg.data.readers.native import EntrySpec
from conceptseg.errors import InputError
from conceptseg.settings import FILES, digest, parse_override, read_parts, read_settings, read_yaml
from conceptseg.strict import Strict
from tests.toys import Toy

GOOD = """
data: {manifest: sets/toy.yaml, limit: 5}
model: {source: factory, name: "tests.toys:Net", weights: net.safetensors}
power: 2
"""


class Inner(Strict):
    mode: Literal["fast", "exact"] = "fast"
    sizes: tuple[int, ...] = (15, 50)


class Nested(Toy):
    inner: Inner = Inner()
    maybe: Inner | None = None


def settings(folder, text=GOOD, overrides=(), study=Nested):
    path = folder / "toy_example.yaml"
    path.write_text(text, encoding="utf-8")
    return read_settings("toy", study, path, overrides)


def refusal(folder, text=GOOD, overrides=()):
    with pytest.raises(InputError) as caught:
        settings(folder, text, overrides)
    message = str(caught.value)
    assert "\n" not in message
    return message.replace(f"{folder}/", "")


def test_paths_are_of_the_file_and_the_record_is_as_written(tmp_path, monkeypatch):
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    read = settings(tmp_path)
    assert read.study.data.manifest == str(tmp_path / "sets" / "toy.yaml")
    assert read.study.model.weights == str(tmp_path / "net.safetensors")
    assert read.study.model.name == "tests.toys:Net"
    assert read.recorded["data"]["manifest"] == "sets/toy.yaml"
    assert read.recorded["power"] == 2.0
    assert read.recorded["inner"] == {"mode": "fast", "sizes": [15, 50]}
    assert str(tmp_path) not in str(read.recorded)


def test_paths_given_as_overrides_are_of_the_working_folder(tmp_path, monkeypatch):
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    read = settings(tmp_path, overrides=[("model.weights", "my.pth"), ("data.root", "../images")])
    assert Path(read.study.model.weights) == tmp_path / "elsewhere" / "my.pth"
    assert Path(read.study.data.root).resolve() == tmp_path / "images"


@pytest.mark.parametrize("value", ["pretrained:DEFAULT", "pretrained:ade20k"])
def test_names_are_not_taken_for_paths(tmp_path, value):
    read = settings(tmp_path, overrides=[("model.weights", value)])
    assert read.study.model.weights == value
    read = settings(tmp_path, overrides=[("data.manifest", "builtin:planted")])
    assert read.study.data.manifest == "builtin:planted"


def test_model_name_that_is_a_file_is_found_beside_the_study(tmp_path):
    (tmp_path / "net.pt2").write_bytes(b"")
    assert settings(tmp_path).study.model.name == "tests.toys:Net"
    text = GOOD.replace('"tests.toys:Net"', "net.pt2")
    assert settings(tmp_path, text).study.model.name == str(tmp_path / "net.pt2")
    (tmp_path / "bundle").mkdir()
    text = GOOD.replace('"tests.toys:Net"', "bundle")
    assert settings(tmp_path, text).study.model.name == "bundle"  # a factory's name
    text = text.replace("factory", "monai_bundle")
    assert settings(tmp_path, text).study.model.name == str(tmp_path / "bundle")


@pytest.mark.parametrize(
    "text, key, value",
    [
        ("run.batch_size=4", "run.batch_size", 4),
        ("inner.sizes=[1, 2]", "inner.sizes", [1, 2]),
        ("data.split=val", "data.split", "val"),
        ("data.split='1'", "data.split", "1"),
        ("data.split=", "data.split", None),
        ("model.arguments={a: {b: 1}}", "model.arguments", {"a": {"b": 1}}),
        ("model.weights=a=b.pth", "model.weights", "a=b.pth"),
    ],
)
def test_override_is_read_as_yaml(text, key, value):
    assert parse_override(text) == (key, value)


@pytest.mark.parametrize("text", ["power", "=3", "a..b=1", ".a=1", "a b=1"])
def test_override_that_cannot_be_read(text):
    with pytest.raises(InputError, match="key.sub=value"):
        parse_override(text)


def test_overrides_reach_into_groups_that_the_file_lacks(tmp_path):
    overrides = [("inner.mode", "exact"), ("model.arguments.depth", 3), ("power", 7)]
    study = settings(tmp_path, overrides=overrides).study
    assert (study.inner.mode, study.model.arguments, study.power) == ("exact", {"depth": 3}, 7.0)


MISTAKES = {
    "unknown key": (GOOD + "powr: 3", "unknown key 'powr'; did you mean 'power'?"),
    "unknown inner key": (
        GOOD + "inner: {mod: fast}",
        "unknown key 'inner.mod'; did you mean 'mode'?",
    ),
    "unknown key of an optional group": (
        GOOD + "maybe: {size: [1]}",
        "unknown key 'maybe.size'; did you mean 'sizes'?",
    ),
    "wrong type": (GOOD.replace("limit: 5", "limit: many"), "data.limit is 'many': expected a va"),
    "out of range": (
        GOOD.replace("limit: 5", "limit: 0"),
        "data.limit is 0: expected greater than or equal to 1",
    ),
    "no choice": (GOOD + "inner: {mode: slow}", "inner.mode is 'slow': expected 'fast' or 'exact'"),
    "no list": (
        GOOD + "compare: seg_grad_cam",
        "compare is 'seg_grad_cam': expected a valid tuple; write it as [a, b]",
    ),
    "a precision whose gradients vanish": (
        GOOD + "run: {dtype: float16}",
        "run.dtype is 'float16': expected 'float32' or 'bfloat16'",
    ),
    "missing key": (
        "data: {limit: 2}\nmodel: {source: a, name: b}",
        "the key 'data.manifest' is missing: Manifest file",
    ),
    "missing group": ("data: {manifest: a}", "the key 'model' is missing"),
    "a value for a group": (GOOD + "inner: 3", "inner is 3: expected"),
    "key given twice": (GOOD + "power: 3", "line 5: the key 'power' is given twice"),
    "python tag": (GOOD + "x: !!python/object/apply:os.system ['true']", "line 5: tags such as"),
    "python name": (GOOD + "x: !!python/name:os.system", "line 5: tags such as"),
    "own tag": (GOOD + "x: !thing 3", "line 5: tags such as"),
    "alias": ("a: &a [1]\nb: *a", "line 2: aliases"),
    "merge key": ("a: &a {b: 1}\nc: {<<: *a}", "line 2: aliases"),
    "not a mapping": ("- a\n- b", "holds no keys"),
    "empty": ("", "holds no keys"),
    "not YAML": ("a: [1, 2", "line 1: "),
    "tab": ("data:\n\tmanifest: a", "line 2: "),
    "two documents": ("a: 1\n---\nb: 2", "but found another document"),
    "control character": ("a: \x01", "not YAML"),
    "unhashable key": ("? [a]\n: 3", "line 1: "),
    "deep": ("a: " + "[" * 5000, "nested too deeply"),
    "impossible date": ("a: 2020-99-99", "not YAML"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_each_mistake_is_one_line_that_names_it(tmp_path, name):
    text, expected = MISTAKES[name]
    message = refusal(tmp_path, text)
    assert message.startswith("toy_example.yaml"), message
    assert expected in message


def test_mistake_in_an_override_is_told_as_such(tmp_path):
    message = refusal(tmp_path, overrides=[("run.batch_sise", 3)])
    assert message == (
        "--set run.batch_sise: unknown key 'run.batch_sise'; did you mean 'batch_size'?"
    )
    message = refusal(tmp_path, overrides=[("run.batch_size", "many")])
    assert message.startswith("--set run.batch_size: run.batch_size is 'many': expected a valid")
    message = refusal(tmp_path, overrides=[("data.manifest.x", 3)])
    assert message == "--set data.manifest.x: data.manifest is a value, not a group of keys"


def test_several_mistakes_are_counted(tmp_path):
    message = refusal(tmp_path, "power: a\nmodel: {source: a, name: b}")
    assert message.endswith("(and 1 more)")


def test_files_that_are_none(tmp_path):
    with pytest.raises(InputError, match="no such file; is the path right"):
        read_yaml(tmp_path / "none" / "a.yaml")
    (tmp_path / "planted.yaml").write_text("a: 1")
    with pytest.raises(InputError, match="no such file; did you mean 'planted.yaml'"):
        read_yaml(tmp_path / "plantd.yaml")
    with pytest.raises(InputError, match="a folder"):
        read_yaml(tmp_path)
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="not a text file"):
        read_yaml(tmp_path / "binary.yaml")
    with (tmp_path / "large.yaml").open("wb") as file:
        file.truncate(20_000_000)
    with pytest.raises(InputError, match="larger than"):
        read_yaml(tmp_path / "large.yaml")


def test_python_tag_runs_nothing(tmp_path):
    witness = tmp_path / "witness"
    text = f"a: !!python/object/apply:pathlib.Path.touch [!!python/object/apply:pathlib.Path ['{witness}']]"  # noqa: E501
    assert "tags such as" in refusal(tmp_path, text)
    assert not witness.exists()


def test_plain_files_read_as_pyyaml_reads_them(tmp_path):
    path = tmp_path / "a.yaml"
    path.write_text(GOOD + "x: [1, 1.5, true, null, 2020-01-01, {a: b}]\n")
    assert read_yaml(path) == yaml.safe_load(path.read_text())


def test_default_folder_names_study_file_and_parameters(tmp_path):
    first = settings(tmp_path).default_out()
    assert first.parent == Path("runs")
    assert first.name.startswith("toy-example-") and len(first.name) == len("toy-example-") + 8
    assert settings(tmp_path).default_out() == first
    assert settings(tmp_path, overrides=[("run.batch_size", 3)]).default_out() == first
    assert settings(tmp_path, overrides=[("power", 3)]).default_out() != first


def test_digest_ignores_the_order_of_keys():
    assert digest({"a": 1, "b": [1, 2]}) == digest({"b": [1, 2], "a": 1})
    assert digest({"a": 1}) != digest({"a": 2})


def test_parts_of_another_study_are_read_unchecked(tmp_path):
    path = tmp_path / "other.yaml"
    path.write_text(GOOD + "something: else")
    content = read_parts(path, [("run.device", "cpu")])
    assert content["data"]["manifest"] == str(tmp_path / "sets" / "toy.yaml")
    assert content["run"] == {"device": "cpu"}


def test_resolved_settings_survive_a_round_trip(tmp_path):
    read = settings(tmp_path)
    path = tmp_path / "again.yaml"
    path.write_text(yaml.safe_dump(read.recorded))
    assert read_settings("toy", Nested, path).recorded == read.recorded


@pytest.mark.parametrize("key", ["threads", "batch_size", "shards"])
def test_true_is_not_a_number(key):
    for value in (True, False):
        with pytest.raises(
            ValidationError, match=f"(?s){key}.*expected a number, not true or false"
        ):
            RunConfig.model_validate({key: value})
    assert getattr(RunConfig.model_validate({key: 1}), key) == 1


@pytest.mark.parametrize(
    ("model", "keys"),
    [
        (FilesSpec, {"nodata": True}),
        (FilesSpec, {"range": [False, True]}),
        (LabelSpec, {"names": ["a", "b"], "threshold": True}),
        (LabelSpec, {"names": ["a", "b"], "threshold": [True]}),
        (Preprocessing, {"mean": [0.5, False, 0.5]}),
        (Preprocessing, {"size": [True, True]}),
        (EntrySpec, {"image": "a.png", "metadata": {"smoker": False}}),
        (ModelConfig, {"source": "s", "name": "n", "output": True}),
    ],
)
def test_true_is_no_number_in_a_list_or_beside_words(model, keys):
    with pytest.raises(ValidationError, match="expected a number.*, not true or false"):
        model.model_validate(keys)


def test_true_is_true_where_it_may_be():
    assert RunConfig(channels_last=True).channels_last is True
    assert ModelConfig(source="s", name="n", arguments={"a": True}).arguments == {"a": True}


def test_a_device_is_no_study_file(tmp_path):
    os.mkfifo(tmp_path / "pipe.yaml")
    for path in (Path("/dev/zero"), tmp_path / "pipe.yaml"):
        with pytest.raises(InputError, match="a device or a pipe, not a file"):
            read_yaml(path)


def test_paths_of_a_study_are_taken_from_its_file(tmp_path, monkeypatch):
    """Those of every key, also in a list; on the command line, from where one stands."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "deep").mkdir()
    lrp = {"kind": "lrp", "directions": "v.npy", "direction": 0}
    content = {
        "data": {"manifest": "set.yaml", "root": "../data"},
        "model": {"source": "planted", "name": "constructed", "weights": "w.pt"},
        "directions": "../rows.npy",
        "labels": "dissected",
        "compare": ["seg_grad_cam", lrp],
    }
    path = tmp_path / "deep/actmax_here.yaml"
    path.write_text(yaml.safe_dump(content))
    study = read_settings("actmax", catalogue.load("study", "actmax"), path).study
    deep = tmp_path / "deep"
    assert (study.data.manifest, study.model.weights) == (f"{deep}/set.yaml", f"{deep}/w.pt")
    assert Path(study.directions).resolve() == tmp_path / "rows.npy"
    assert study.labels == str(deep / "dissected")
    assert study.compare[1]["directions"] == str(deep / "v.npy")
    given = [("labels", "here"), ("compare", [lrp])]
    settings = read_settings("actmax", catalogue.load("study", "actmax"), path, given)
    assert settings.study.labels == str(tmp_path / "here")
    assert settings.study.compare[0]["directions"] == str(tmp_path / "v.npy")
    assert settings.recorded["labels"] == "here"


def test_every_key_that_holds_a_path_is_known():
    """A field whose description asks for a file or a folder of the user's."""
    kinds = {kind: catalogue.names(kind) for kind in ("study", "explainers", "metrics")}
    for kind, names in kinds.items():
        for name in names:
            for key, field in catalogue.load(kind, name).model_fields.items():
                if re.search(r"[Ff]older of|\.npy", field.description or ""):
                    assert key in FILES, f"{name}.{key}"
