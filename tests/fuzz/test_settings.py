"""Spoilt study files, `--set` values, options and programs of torch.export, through the command.

Each case is decided by its seed: the command must do its work (exit code 0) or say in one line what
is wrong (2); a traceback, more than a minute, or more than 4 GiB are defects. The slow form tries
:data:`CASES`, the other a few of each kind. `CONCEPTSEG_FUZZ_SEED` draws other ones.
"""

from __future__ import annotations

import io
import json
import math
import warnings
import zipfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from torch.export import Dim, export

from conceptseg import catalogue
from conceptseg.errors import InputError
from conceptseg.settings import parse_override, read_parts, read_settings
from conceptseg.study import __main__ as command
from tests.fuzz.harness import SEED, Dice, TooSlow, bounded, bytes_spoilt, places, values_spoilt
from tests.strange_models import CLASSES, COLOURS, Plain

CASES = {"study": 800, "text": 300, "set": 500, "options": 300, "program": 300}
FEW = 6
"""Cases of a kind in the form that is not slow."""
SIDE, IMAGES = 16, 12
STUDIES = catalogue.names("study")
VALUES = (
    *(None, True, False, 0, -1, 1, 2, 3.5, -0.0, 1e308, 1e30, math.nan, math.inf, -math.inf, 17),
    *(10**12, 2**31, 2**32, 2**63, 2**64, -(2**63), 10**30, "9" * 40, 65_536, 10**6, 4096),
    *("", " ", "a", "0", "1e5", "null", "\u202e", "\0", "\x1b[31m", "../x", "/", ".", "~", 1e-300),
    *("x" * 5000, "{id}", "{", "*", "(", "\n", "/dev/zero", "os:system", "cuda:7", "mps"),
    *("~nobody/x", "builtin:x", "pretrained:", "pretrained:DEFAULT", "torch.hub:load", "a:b:c"),
    *("builtins:exec", [], {}, [[]], [None], [0], [1, 2], [-1, -1], [10**12, 10**12], ["a", "a"]),
    *({"a": 1}, {"": None}, {1: 2}, {"kind": "lrp", "x": 1}, [{"kind": "x"}], ["auto"], "auto"),
    *({"trust_remote_code": True}, [65_536, 65_536], [4096, 2], [1, 1], [[1, 2], [3]], "body"),
)
TEXTS = (
    *(
        "!!int ''",
        "!!float ''",
        "!!bool abc",
        "!!timestamp abc",
        "!!map [1]",
        "!!set 3",
        "!!omap 3",
    ),
    *("!!binary a", "!!python/object/apply:os.system ['x']", "*a", "&a [*a]", "{<<: 3}", "%TAG"),
    *("[" * 500, "{a: " * 300, '"\\ud800"', '"\\0"', "0x", "1:2:3", "2001-99-99", "? [a]", "@"),
    *("- - -", "`", "{", "]", ":", "'", '"', "|", ">", "!", "!!", "!!str", "\t", "\ufeff"),
    *("---\n---", "1e999999"),
)


def archive_spoilt(data: bytes, dice: Dice) -> bytes:
    """An archive with an entry that is spoilt, renamed, left out, doubled or added."""
    target = io.BytesIO()
    compression = dice.one([zipfile.ZIP_STORED] * 5 + [zipfile.ZIP_DEFLATED])
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(target, "w", compression) as new:
        chosen = dice.one(n for n in old.namelist() if dice.below(3) or n.endswith(".json"))
        for name in old.namelist():
            content, way = old.read(name), dice.below(8) if name == chosen else -1
            if way == 0:
                continue
            if way == 1:
                name = dice.one([name + "x", name.partition("/")[2], f"{name}/../x", "version"])
            elif way > 1 and name.endswith(".json") and dice.below(4):
                changed = values_spoilt(json.loads(content), dice, VALUES)
                content = json.dumps(changed, default=str, skipkeys=True).encode()
            elif way > 1 and content:
                content = bytes_spoilt(content, dice)
            new.writestr(name, content)
        if not dice.below(8):
            new.writestr(dice.one(["version", "net/data/weights/model.pt", "net/extra/a"]), b"1")
    return target.getvalue()


# Cases: the words of a command, in a folder of their own


def study_case(folder: Path, dice: Dice) -> list[str]:
    name = dice.one(STUDIES)
    content = values_spoilt(written(name, dice), dice, VALUES)
    return [*checked(folder, name, yaml.safe_dump(content).encode("utf-8", "surrogatepass"))]


def text_case(folder: Path, dice: Dice) -> list[str]:
    name = dice.one(STUDIES)
    data = yaml.safe_dump(written(name, dice)).encode()
    if dice.below(2):
        lines = data.decode().splitlines()
        at = dice.below(len(lines))
        key = lines[at].partition(":")[0]
        lines[at] = f"{key}: {dice.one(TEXTS)}" if dice.below(4) else dice.one(TEXTS)
        data = "\n".join(lines).encode("utf-8", "surrogatepass")
    else:
        data = bytes_spoilt(data, dice)
    return checked(folder, name, data)


def set_case(folder: Path, dice: Dice) -> list[str]:
    name = dice.one(STUDIES)
    words = checked(folder, name, yaml.safe_dump(sound(name)).encode())
    for _ in range(dice.one([1, 1, 2])):
        value = dice.one(TEXTS) if dice.below(3) == 0 else json.dumps(dice.one(VALUES), default=str)
        words += ["--set", f"{dice.one(KEYS[name])}={value}"]
    return words


def options_case(folder: Path, dice: Dice) -> list[str]:
    """A verb with a few options, each with any value."""
    plain = checked(folder, "dissect", yaml.safe_dump(sound("dissect")).encode())
    verb = dice.one(
        ["check", "check", "layers", "schema", "list", "report", "predict-quality", "--version"]
    )
    start = {
        "check": plain,
        "layers": ["layers", "--model", dice.one(["planted:biased", "exported:x", "torch:", ":"])],
        "predict-quality": ["predict-quality", str(folder)],
    }.get(verb, [verb])
    known = ["--device", "--batch-size", "--data-root", "--size", "--channels", "--classes", "-c",
             "--study", "--set", "--model", "--out", "--shards", "-q", "--fresh"]  # fmt: skip
    values = ["", "0", "-1", "x", "1e9", "9" * 30, "/dev/zero", "~nobody", "3x3", "0x0", "²x3",
              "99999999x9", "cpu", "cuda:9", "a=b", "=", "é", "\udcff", "a\0b", "x" * 3000, "ace",
              "run.threads=2147483648", "seed=18446744073709551616", str(folder)]  # fmt: skip
    extra = [word for _ in range(dice.below(3)) for word in (dice.one(known), dice.one(values))]
    return [*start, *extra] if dice.below(3) else [*start, dice.one(values), *extra]


def program_case(folder: Path, dice: Dice) -> list[str]:
    """A program of torch.export or TorchScript, spoilt or in the wrong place."""
    path = folder / dice.one(["net.pt2", "net.pt"])
    source = dice.one([PROGRAM[0]] * 7 + [PROGRAM[1]])
    spoil = dice.one([archive_spoilt, archive_spoilt, bytes_spoilt])
    path.write_bytes(spoil(source, dice) if dice.below(12) else source)
    if source is PROGRAM[1] and dice.below(2):
        words = checked(folder, "dissect", yaml.safe_dump(sound("dissect")).encode())
        return [*words, "--set", f"model.weights={path}"]
    kind = dice.one(["exported"] * 9 + ["torchscript"])
    return ["layers", "--model", f"{kind}:{path}", "--classes", "4", "--size", "16x16"]


MAKERS: dict[str, Callable[[Path, Dice], list[str]]] = {
    "study": study_case,
    "text": text_case,
    "set": set_case,
    "options": options_case,
    "program": program_case,
}


def checked(folder: Path, name: str, data: bytes) -> list[str]:
    (folder / f"{name}_small.yaml").write_bytes(data)
    return ["check", "-c", str(folder / f"{name}_small.yaml")]


def sound(name: str) -> dict[str, Any]:
    """A study's file that is in order."""
    names = list(CLASSES)
    model = {"source": "factory", "name": "tests.strange_models:Plain", "classes": names}
    content = {
        "data": {"manifest": "../set.yaml"},
        "model": model,
        "run": {"device": "cpu", "batch_size": 2, "threads": 1},
        "layer": "body",
    }
    return content | ({"other": {**model, "classes": list(names)}} if name == "diff" else {})


def written(name: str, dice: Dice) -> dict[str, Any]:
    """A study's file with some of its further keys, at their defaults."""
    content = sound(name)
    content["model"]["preprocessing"] = {"mean": [0.1, 0.2, 0.3], "range": [0, 255], "multiple": 2}
    content["run"] |= {"shards": 2, "workers": 0, "processes": 1, "cache_gib": 0.1}
    own = {k: v for k, v in DEFAULTS[name].items() if k not in content and v is not None}
    return content | {key: own[key] for key in own if dice.below(2)} | {"seed": 3}


DEFAULTS: dict[str, dict[str, Any]] = {}
KEYS: dict[str, list[str]] = {}
PROGRAM: list[bytes] = []


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a data set; what cases are made from is filled in."""
    folder = tmp_path_factory.mktemp("fuzz")
    rng = np.random.default_rng(0)
    for number in range(IMAGES):
        pixels = rng.integers(90, 130, (SIDE, SIDE, 3), dtype=np.uint8)
        pixels[2:9, 2:9] = (220, 30, 30)
        labels = np.zeros((SIDE, SIDE), np.uint8)
        labels[2:9, 2:9] = 1
        Image.fromarray(pixels).save(folder / f"{number}.png")
        Image.fromarray(labels).save(folder / f"mask{number}.png")
    samples = [{"image": f"{n}.png", "mask": f"mask{n}.png", "id": str(n)} for n in range(IMAGES)]
    colours = [[0, 0, 0], *map(list, COLOURS)]
    labels = {"names": list(CLASSES), "background": "ground", "colours": colours, "ignore": [255]}
    manifest = {"name": "small", "channels": 3, "samples": samples, "labels": labels}
    (folder / "set.yaml").write_text(yaml.safe_dump(manifest))
    for name in STUDIES:
        loaded = catalogue.load("study", name)
        given_keys = loaded.model_validate(sound(name)).model_dump(mode="json", by_alias=True)
        DEFAULTS[name] = given_keys
        KEYS[name] = [".".join(map(str, path)) for path in places(given_keys)]
        KEYS[name] += [f"model.preprocessing.{key}" for key in ("size", "multiple", "std", "x")]
    net, example = Plain().eval(), torch.rand(2, 3, SIDE, SIDE)
    file, script = io.BytesIO(), io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.export.save(export(net, (example,), dynamic_shapes=({0: Dim.DYNAMIC},)), file)
        torch.jit.save(torch.jit.trace(net, example, strict=False), script)
    PROGRAM[:] = [file.getvalue(), script.getvalue()]
    return folder


def outcome(words: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[str, str]:
    """How a command ends, in the words of the count, and what it said."""
    threads = torch.get_num_threads()
    try:
        with bounded():
            code = command.main(words)
    except TooSlow:
        return "hang", ""
    finally:
        torch.set_num_threads(threads)
        said = capsys.readouterr().err
    lines = said.splitlines()
    if code == 1 or "Traceback" in said:
        return "traceback", said[-2000:]
    if code == 3:
        return "memory", said
    if code == 2 and len(lines) == 1 and len(said) < 1500:
        return "exit 2, one line", said
    per_file = (
        code == 2 and words[:1] == ["check"] and all(one.startswith("error: ") for one in lines)
    )
    if per_file:
        return "exit 2, a line per file", said
    return (f"exit {code}" if not lines or code == 0 else "more lines"), said


DEFECTS = {"traceback", "hang", "memory", "more lines", "exit 2"}


def campaign(
    kind: str, numbers: range, place: Path, capsys: pytest.CaptureFixture[str]
) -> Counter[str]:
    counts, wrong = Counter[str](), []
    for number in numbers:
        folder = place / f"{kind}{number}"
        folder.mkdir(exist_ok=True)
        words = MAKERS[kind](folder, Dice(SEED, list(MAKERS).index(kind), number))
        ended, said = outcome(words, capsys)
        counts[ended] += 1
        if ended in DEFECTS:
            files = [f"{f.name}: {f.read_bytes()[:600]!r}" for f in folder.glob("*.yaml")]
            wrong.append(f"{kind} {number}: {ended}: {words} {files}\n{said}")
    with capsys.disabled():
        print(f"\n{kind}: {sum(counts.values())} cases, {dict(counts)}")
    assert not wrong, f"{len(wrong)} of {len(numbers)}:\n" + "\n\n".join(wrong)
    return counts


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("kind", CASES)
def test_a_few_spoilt_settings(kind: str, place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    campaign(kind, range(FEW), place, capsys)


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("kind", CASES)
def test_spoilt_settings(kind: str, place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    counts = campaign(kind, range(CASES[kind]), place, capsys)
    # Text with a few bytes changed is hardly ever a study still.
    assert counts["exit 0"] or kind == "text", "all that was spoilt is fatal"
    assert counts["exit 2, one line"], "what is spoilt is all harmless"


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
    | st.sampled_from(VALUES),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3)
    ),
    max_leaves=6,
)  # fmt: skip


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_any_value_anywhere_is_read_or_refused(place: Path, data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(STUDIES))
    study = catalogue.load("study", name)
    path = place / f"{name}_any.yaml"
    content = sound(name)
    assert read_settings(name, study, written_to(path, content)).study
    keys = data.draw(st.lists(st.sampled_from(KEYS[name]), min_size=1, max_size=2))
    overrides = [(key, data.draw(PLAIN)) for key in keys]
    for read in (lambda: read_settings(name, study, path, overrides),
                 lambda: read_parts(path, overrides)):  # fmt: skip
        try:
            read()
        except InputError as error:
            assert "\n" not in " ".join(str(error).split())


def written_to(path: Path, content: Any) -> Path:
    path.write_text(yaml.safe_dump(content))
    return path


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=30) | st.sampled_from(TEXTS).map("a=".__add__))
def test_any_override_is_read_or_refused(text: str) -> None:
    try:
        parse_override(text)
    except InputError as error:
        assert str(error).startswith("--set")
