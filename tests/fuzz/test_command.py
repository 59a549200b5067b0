"""Two thousand spoilt files of every kind, through the command: no traceback, nothing half-written.

Each case takes a small data set that is in order, or a saved result, and spoils one file of it by
a seed: bytes flipped, cut, repeated or replaced, values of other types and sizes, tensors of other
shapes. The command must do its work (exit code 0) or say in one line what is wrong (2).
"""

from __future__ import annotations

import io
import json
import math
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from safetensors.torch import save, save_file

from conceptseg.engine.store import FOLDER
from conceptseg.result.saved import Result
from conceptseg.study import __main__ as command
from tests.fuzz.harness import SEED, VALUES, Dice, bounded, bytes_spoilt, values_spoilt
from tests.strange_models import CLASSES, COLOURS, Plain

pytestmark = pytest.mark.slow

SIDE = 16
CASES = {
    "manifest": 400,
    "study": 400,
    "image": 350,
    "mask": 300,
    "checkpoint": 250,
    "result": 300,
}
CHUNKS = 5


def yaml_spoilt(data: bytes, dice: Dice) -> bytes:
    way = dice.below(6)
    if way == 0:
        return bytes_spoilt(data, dice)
    if way == 1:
        return data.decode().encode(dice.one(["utf-16", "utf-32", "utf-8-sig", "cp037"]))
    content = values_spoilt(yaml.safe_load(data), dice)
    return yaml.safe_dump(content, allow_unicode=bool(dice.below(2))).encode()


def picture_spoilt(data: bytes, dice: Dice) -> bytes:
    """Spoilt bytes; or a sound picture of another size, mode or format under the same name."""
    if dice.below(4):
        return bytes_spoilt(data, dice)
    size = dice.one([(SIDE, SIDE), (1, 1), (SIDE, 3), (3000, 1)])
    mode, form = dice.one(
        [("RGB", "PNG"), ("RGB", "JPEG"), ("L", "PNG"), ("1", "PNG"), ("P", "GIF"), ("I;16", "PNG")]
        + [("RGBA", "PNG"), ("LA", "PNG"), ("CMYK", "TIFF"), ("F", "TIFF"), ("I", "TIFF")]
    )
    buffer = io.BytesIO()
    Image.new(mode, size).save(buffer, form)
    return buffer.getvalue()


def checkpoint_spoilt(data: bytes, dice: Dice, name: str) -> bytes:
    """Spoilt bytes; or a sound file of tensors of other names, shapes and types, or of no such."""
    if dice.below(2):
        return bytes_spoilt(data, dice)
    state: dict[str, Any] = {key: one.clone() for key, one in Plain().state_dict().items()}
    for _ in range(1 + dice.below(2)):
        key = dice.one(state)
        way = dice.below(7)
        if way == 0:
            del state[key]
        elif way == 1:
            state[f"module.{key}"] = state.pop(key)
        elif way == 2:
            state[key] = torch.zeros([dice.below(4) for _ in range(dice.below(5))])
        elif way == 3:
            state[key] = state[key].to(dice.one([torch.int64, torch.bool, torch.bfloat16]))
        elif way == 4:
            state[key] = torch.full_like(state[key].float(), dice.one([math.nan, math.inf, 1e38]))
        else:
            state[dice.one(["", "x", "é", "head", "a.b.c"])] = torch.zeros(dice.below(3))
        state = state or {"nothing": torch.zeros(0)}
    if name.endswith(".safetensors"):
        return save(state)
    buffer = io.BytesIO()
    nested: Any = dice.one([state, {"state_dict": state, "epoch": 3}, [state], dice.one(VALUES)])
    torch.save(nested, buffer)
    return buffer.getvalue()


def spoil(kind: str, folder: Path, dice: Dice) -> list[str]:
    """Spoil a file of the kind below the folder; returns the words of a command that meets it."""
    study = folder / "saliency_small.yaml"
    run = ["saliency", "-c", str(study), "--out", str(folder / "out"), "-q"]
    words = dice.one([run, ["check", "-c", str(study)]])
    change: Callable[[bytes, Dice], bytes] = bytes_spoilt
    if kind in ("manifest", "study"):
        path, change = study if kind == "study" else folder / "set.yaml", yaml_spoilt
    elif kind in ("image", "mask"):
        path, change = dice.one(sorted((folder / f"{kind}s").iterdir())), picture_spoilt
    elif kind == "checkpoint":
        path = folder / dice.one(["weights.safetensors", "weights.pt"])
        words = [*words, "--set", f"model.weights={path}"]
        change = lambda data, dice: checkpoint_spoilt(data, dice, path.name)  # noqa: E731
    else:
        words = ["report", str(folder / "done")]
        files = [one for one in (folder / "done").rglob("*") if one.name != "report.html"]
        path = dice.one([folder / "done/result.json"] * 4 + sorted(f for f in files if f.is_file()))
        if path.suffix == ".json" and dice.below(3):
            change = lambda data, dice: json.dumps(  # noqa: E731
                values_spoilt(json.loads(data), dice), default=str
            ).encode()
    if dice.below(40):
        path.write_bytes(change(path.read_bytes(), dice))
    else:
        path.unlink()
    return words


# What is spoilt, and what has to hold


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with all that the cases spoil a copy of."""
    folder = tmp_path_factory.mktemp("sound") / "files"
    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True)
    rng = np.random.default_rng(0)
    for name in ("a.png", "b.tif"):
        pixels = rng.integers(90, 130, (SIDE, SIDE, 3), dtype=np.uint8)
        pixels[2:9, 2:9] = (220, 30, 30)
        labels = np.zeros((SIDE, SIDE), np.uint8)
        labels[2:9, 2:9] = 1
        Image.fromarray(pixels).save(folder / "images" / name)
        Image.fromarray(labels).save(folder / "masks" / f"{name[0]}.png")
    manifest = {
        "name": "two",
        "channels": 3,
        "samples": [
            {"image": f"images/{name}", "mask": f"masks/{name[0]}.png", "id": name[0], "group": "g"}
            for name in ("a.png", "b.tif")
        ],
        "labels": {
            "names": list(CLASSES),
            "background": "ground",
            "colours": [[0, 0, 0], *map(list, COLOURS)],
            "ignore": [255],
        },
    }
    (folder / "set.yaml").write_text(yaml.safe_dump(manifest))
    (folder / "saliency_small.yaml").write_text(yaml.safe_dump(STUDY))
    save_file(Plain().state_dict(), folder / "weights.safetensors")
    torch.save({"state_dict": Plain().state_dict(), "epoch": 3}, folder / "weights.pt")
    words = ["saliency", "-c", str(folder / "saliency_small.yaml"), "-q"]
    assert command.main([*words, "--out", str(folder / "done")]) == 0
    return folder


STUDY = {
    "data": {"manifest": "set.yaml", "classes": ["crimson"], "limit": 2},
    "model": {
        "source": "factory",
        "name": "tests.strange_models:Plain",
        "arguments": {"padding": 1},
        "classes": list(CLASSES),
        "preprocessing": {"mean": [0.0, 0.0, 0.0], "std": [1.0, 1.0, 1.0], "size": [16, 16]},
    },
    "run": {"device": "cpu", "batch_size": 2, "shards": 1, "threads": 1},
    "layer": "body",
    "compare": ["prediction_mask", {"kind": "seg_grad_cam", "relu": True}],
    "metrics": ["saliency_ratio"],
    "target": {"region": "predicted", "score": "margin"},
    "images": 2,
    "sanity_images": 0,
    "gallery": 1,
    "picture_px": 32,
}


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below a folder but for the parts that a run saves to resume."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and FOLDER not in path.parts
    }


def wrong(words: list[str], folder: Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    """The exit code in a spoilt folder, and what is not as it has to be, in words."""
    before, threads = contents(folder), torch.get_num_threads()
    with bounded():
        code = command.main(words)
    torch.set_num_threads(threads)
    _, err = capsys.readouterr()
    after = contents(folder)
    new = {name: data for name, data in after.items() if before.get(name) != data}
    lost = before.keys() - after.keys()
    return code, _complaint(words, folder, code, err, sorted({*new, *lost}))


def _complaint(words: list[str], folder: Path, code: int, err: str, changed: list[str]) -> str:
    if code not in (0, 2) and not (code == 3 and "out of memory" in err):
        return f"exit code {code}: {err[-1500:]}"
    if "Traceback" in err:
        return f"a traceback: {err[-1500:]}"
    if code:
        errors = [line for line in err.splitlines() if line.startswith("error: ")]
        if not errors or (len(errors) > 1 and words[0] != "check"):
            return f"{len(errors)} error lines: {err[-500:]}"
        return f"changed {changed}" if changed else ""
    if words[0] == "check":
        return f"changed {changed}" if changed else ""
    result = folder / ("done" if words[0] == "report" else "out")
    if not (result / "report.html").read_bytes().rstrip().endswith(b"</html>"):
        return "half a report"
    Result.load(result, altered=words[0] == "report")
    return ""


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("chunk", range(CHUNKS))
@pytest.mark.parametrize("kind", CASES)
def test_spoilt_files_are_read_or_refused(
    kind: str,
    chunk: int,
    sound: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    failures, codes = [], Counter[int]()
    for number in range(chunk, CASES[kind], CHUNKS):
        folder = tmp_path / f"case{number}"
        shutil.copytree(sound, folder)
        words = spoil(kind, folder, Dice(SEED, list(CASES).index(kind), number))
        code, told = wrong(words, folder, capsys)
        codes[code] += 1
        if told:
            failures.append(f"{kind} {number}, {' '.join(words[:1])}: {told}")
        shutil.rmtree(folder)
    print(f"{kind}: exit codes {dict(codes)}")
    assert not failures, f"{len(failures)} of them:\n" + "\n\n".join(failures)
    assert codes[2], "what is spoilt is all harmless"
    assert codes[0], "all that was spoilt is fatal"
