"""Spoilt manifests of every layout, files of every format and checkpoints: read, or refused.

Thousands of them in the slow form, some dozens in the quick one (:mod:`tests.fuzz.harness`). They
go to the functions that the command reads them by; that the command itself says it so is tried in
`test_command.py`.
"""

from __future__ import annotations

import io
import json
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import seed as seeded
from hypothesis import strategies as st
from safetensors.torch import save

from conceptseg.data.images import image_size, read_image, read_mask
from conceptseg.data.manifest import load_manifest, problems
from conceptseg.data.raster import Rules
from conceptseg.data.stamps import rows_digest
from conceptseg.errors import InputError
from conceptseg.network.fit import load_weights
from tests.files import Plainly, write
from tests.fuzz.harness import (
    SEED,
    Campaign,
    Dice,
    as_command,
    bytes_spoilt,
    cases,
    places,
    values_spoilt,
)
from tests.fuzz.sets import SETS, files, write_set
from tests.strange_models import Plain

pytest.importorskip("pycocotools")
pytest.importorskip("pyarrow")
pytest.importorskip("pydicom")
pytest.importorskip("nibabel")
pytest.importorskip("rasterio")
pytest.importorskip("zarr")

SLOW = pytest.param("slow", marks=pytest.mark.slow)
SHARES = {"manifests": 0.35, "values": 0.15, "files": 0.3, "checkpoints": 0.2}
"""Of all cases, those of each campaign."""


def count(campaign: str, form: str) -> int:
    return round((cases(2600) if form == "slow" else 130) * SHARES[campaign])


def read_all(path: Path) -> None:
    """Whatever a run reads of a data set before its first pass, and every pixel of it."""
    found = load_manifest(path)
    for sample in found.samples[:4]:
        found.size(sample)
        found.source.spacing(sample)
        found.source.orientation(sample)
    problem = next((one for one in problems(found) if one is not None), None)
    if problem is not None:
        raise InputError(problem)
    rows_digest(found)
    texts = [found.name, *found.classes, *found.groups, *found.splits, *found.metadata]
    texts += [str(value) for sample in found.samples for value in sample.metadata.values()]
    "\n".join(texts).encode()


def told_spoilt(path: Path, dice: Dice) -> bytes:
    """A file that describes samples: spoilt in its bytes, or in its values where it has such."""
    data = path.read_bytes()
    if path.suffix == ".yaml" and dice.below(5):
        content = values_spoilt(yaml.safe_load(data), dice)
        return yaml.dump(content, Dumper=Plainly, allow_unicode=bool(dice.below(2))).encode()
    if path.suffix == ".json" and dice.below(3):
        return json.dumps(values_spoilt(json.loads(data), dice), default=str).encode()
    if path.suffix == ".jsonl" and dice.below(3):
        rows = values_spoilt([json.loads(line) for line in data.splitlines()], dice)
        return "\n".join(json.dumps(row, default=str) for row in rows).encode()
    return bytes_spoilt(data, dice)


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("form", ["quick", SLOW])
def test_manifests(
    form: str, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    campaign = Campaign("manifests", capfd)
    told = {name: write_set(name, tmp_path / name) for name in SETS}
    for number in range(count("manifests", form)):
        dice = Dice(SEED, 1, number)
        name = list(SETS)[number % len(SETS)]
        path = dice.one([told[name][0], *told[name]])
        before = path.read_bytes()
        path.write_bytes(told_spoilt(path, dice))
        case = f"{name} {number}, {path.name}"
        campaign.run(case, lambda name=name: as_command(lambda: read_all(told[name][0])))
        path.write_bytes(before)
    campaign.finish()


ANY = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(10**300, 10**310)
    | st.floats()
    | st.text(st.characters())  # halves of characters too
    | st.sampled_from(
        ["\ud800", "\u202ea", "../a.png", "~/a", "(a", "a" * 4000, "{id}", "/dev/zero"]
    ),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=9), inner, max_size=3)
    ),
    max_leaves=6,
)


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("form", ["quick", SLOW])
def test_any_value_in_the_place_of_another(
    form: str, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Hypothesis chooses a layout, a place in its keys or its notes, and what stands there."""
    monkeypatch.chdir(tmp_path)
    campaign = Campaign("any value", capfd)
    told = {name: write_set(name, tmp_path / name) for name in SETS}

    @seeded(SEED)
    @settings(
        max_examples=count("values", form),
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(
        name=st.sampled_from(sorted(SETS)),
        which=st.integers(0, 10**6),
        value=ANY,
        notes=st.booleans(),
    )
    def try_one(name: str, which: int, value: Any, notes: bool) -> None:
        kept = [one for one in told[name] if one.suffix == ".json"] if notes else []
        path = (kept or told[name])[0]
        before = path.read_bytes()
        content = yaml.safe_load(before)
        known = list(places(content))
        *steps, key = known[which * 2654435761 % len(known)]
        holder = content
        for step in steps:
            holder = holder[step]
        holder[key] = value
        text = json.dumps(content) if kept else yaml.dump(content, Dumper=Plainly)
        path.write_bytes(text.encode())
        case = f"{name}, {'.'.join(map(str, [*steps, key]))}: {value!r}"[:300]
        campaign.run(case, lambda: as_command(lambda: read_all(told[name][0])))
        path.write_bytes(before)

    try_one()
    campaign.finish()


@pytest.mark.parametrize("name", SETS)
def test_what_is_spoilt_was_in_order(name: str, tmp_path: Path) -> None:
    read_all(write_set(name, tmp_path)[0])


READERS: dict[str, Callable[[Path], object]] = {
    "image": lambda path: read_image([path], Rules(3, alpha="drop")),
    "grey": lambda path: read_image([path], Rules(1, range=(0, 300), clip=True)),
    "mask": read_mask,
    "size": lambda path: image_size([path], Rules(3)),
}


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("form", ["quick", SLOW])
def test_files_of_every_format(
    form: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    campaign = Campaign("files", capfd)
    known = files(tmp_path)
    for number in range(count("files", form)):
        dice = Dice(SEED, 2, number)
        name = list(known)[number % len(known)]
        data = known[name]
        for _ in range(dice.one([1, 1, 3])):
            data = bytes_spoilt(data, dice)
        # Under another name a decoder meets what it was not made for.
        path = write(tmp_path / (dice.one(list(known)) if dice.below(8) == 0 else name), data)
        way = dice.one(READERS)
        case = f"{name} {number} as {way}"
        campaign.run(case, lambda way=way, path=path: as_command(lambda: READERS[way](path)))
    campaign.finish()


# Checkpoints


def saved(content: Any, form: str) -> bytes:
    buffer = io.BytesIO()
    if form == "pickle":
        return pickle.dumps(content)
    torch.save(content, buffer, _use_new_zipfile_serialization=form == "zip")
    return buffer.getvalue()


def within(data: bytes, dice: Dice) -> bytes:
    """An archive of torch's with one of its entries spoilt, and everything else as it should be."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as source, zipfile.ZipFile(buffer, "w") as target:
        entries = source.infolist()
        chosen = dice.one([entries[0].filename, dice.one(entries).filename])
        way = dice.one([zipfile.ZIP_STORED, zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
        for entry in entries:
            content = source.read(entry)
            content = bytes_spoilt(content, dice) if entry.filename == chosen else content
            if entry.filename != chosen or dice.below(10):
                target.writestr(entry.filename, content, way)
    return buffer.getvalue()


def odd(tensor: torch.Tensor, dice: Dice) -> torch.Tensor:
    """A tensor of another kind, shape, type, or of numbers that are none."""
    makers: list[Callable[[], torch.Tensor]] = [
        lambda: tensor.to_sparse(),
        lambda: torch.quantize_per_tensor(tensor, 0.1, 0, torch.qint8),
        lambda: torch.empty(tensor.shape, device="meta"),
        lambda: torch.nested.nested_tensor([tensor, tensor]),
        lambda: tensor.to(dice.one([torch.bool, torch.int64, torch.uint8, torch.complex64])),
        lambda: tensor.to(dice.one([torch.float64, torch.float16, torch.float8_e5m2])),
        lambda: torch.full_like(tensor, dice.one([float("nan"), float("inf"), 1e38])),
        lambda: torch.zeros([dice.below(4) for _ in range(dice.below(6))]),
        lambda: torch.zeros(1).expand(2 ** dice.below(50)),
        lambda: tensor.transpose(0, -1),
        lambda: tensor.to(torch.complex64).conj(),
        lambda: torch.nn.Parameter(tensor),
    ]
    return dice.one(makers)()


def checkpoint(dice: Dice) -> tuple[str, bytes]:
    """A file's name and its content: of tensors that are odd, of other things, or spoilt."""
    state: dict[Any, Any] = {key: one.clone() for key, one in Plain().state_dict().items()}
    form = dice.one(["zip", "zip", "legacy", "pickle", "safetensors", "safetensors"])
    if form == "safetensors":
        data = save(state)
        if dice.below(3) == 0:
            return "net.safetensors", bytes_spoilt(data, dice)
        length = int.from_bytes(data[:8], "little")
        header = values_spoilt(json.loads(data[8 : 8 + length]), dice)
        text = json.dumps(header, default=str).encode()
        return "net.safetensors", len(text).to_bytes(8, "little") + text + data[8 + length :]
    for _ in range(dice.below(3)):
        key = dice.one(state)
        other = dice.one(["", "x", "é", "\ud800", "k" * 2000, 3, "head", "a.b.c", f"module.{key}"])
        way = dice.below(3)
        if way == 0:
            state[other] = state.pop(key)
        elif way == 1:
            state[other] = odd(torch.ones(3), dice)
        elif isinstance(state[key], torch.Tensor) and state[key].is_floating_point():
            state[key] = odd(torch.ones(4), dice)
    content: Any = dice.one(
        [state, state, {"state_dict": state, "epoch": 3}, {"a": state, 2: state}]
    )
    if dice.below(10) == 0:
        content["itself"] = content
    if dice.below(6) == 0:
        content = dice.one([[state], None, 3, "text", {}, {"a": {}}, (state,), {("a", 1): state}])
    data = saved(content, form)
    if dice.below(2):
        return "net.pt", data
    return "net.pt", within(data, dice) if form == "zip" and dice.below(3) else bytes_spoilt(
        data, dice
    )


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("form", ["quick", SLOW])
def test_checkpoints(form: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    campaign = Campaign("checkpoints", capfd)
    net = Plain()
    for number in range(count("checkpoints", form)):
        try:
            name, data = checkpoint(Dice(SEED, 3, number))
        except (RuntimeError, NotImplementedError, IndexError, pickle.PicklingError):
            continue  # torch itself does not make, or save, such a one
        path = write(tmp_path / name, data)
        campaign.run(f"{number}, {name}", lambda p=path: as_command(lambda: load_weights(net, p)))
    campaign.finish()
