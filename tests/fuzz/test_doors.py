"""What comes in by the doors that other campaigns leave shut: saved results that further runs read,
tables whose columns are of other types, headers that contradict their data, masks of many pictures.

Here nothing is damaged: digests fit, archives open, every file is what its name says. What is wrong
is what stands in it. Each case is read, or refused in one line (:mod:`tests.fuzz.harness`).
"""

from __future__ import annotations

import datetime
import decimal
import io
import json
import shutil
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import yaml
from PIL import Image
from safetensors.torch import save

from conceptseg.concepts.directions import load_directions
from conceptseg.data.images import read_mask
from conceptseg.engine.contract import Context
from conceptseg.network.fit import load_weights
from conceptseg.report.unit_cards import load_units
from conceptseg.result.saved import sealed
from conceptseg.study import __main__ as command
from conceptseg.study.audit.config import Audit
from conceptseg.study.audit.found import exhibits, load_found
from conceptseg.study.command import gate
from tests.files import Plainly, write
from tests.fuzz.harness import SEED, Campaign, Dice, as_command, cases
from tests.fuzz.sets import LABELS, NAMES, ROWS, SIDE, _pairs
from tests.fuzz.test_data import SLOW, read_all
from tests.fuzz.test_results import archive_spoilt, values_spoilt
from tests.strange_models import NETWORKS, Plain, model_of, write_scenes
from tests.study.test_strange import IMAGES, run
from tests.study.test_strange import write as write_study

pyarrow = pytest.importorskip("pyarrow")
parquet = pytest.importorskip("pyarrow.parquet")

SHARES = {"results": 0.4, "tables": 0.3, "headers": 0.15, "masks": 0.15}


def count(campaign: str, form: str) -> int:
    """Cases of a campaign: of some thousands in the slow form, of a hundred in the quick one."""
    return round((cases(2400) if form == "slow" else 130) * SHARES[campaign])


# Results, by whatever reads one


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Finished results that later runs read, each of the same network and images."""
    names, top = NETWORKS["plain"].classes, tmp_path_factory.mktemp("results")
    scenes = {names: write_scenes(top / "scenes", IMAGES, names)}
    made = {}
    for study in ("ace", "dissect", "audit"):
        (top / study).mkdir()
        path = write_study(top / study, study, "plain", scenes)
        assert run(path, study, top / study / "out") == 0
        made[study] = top / study / "out"
    return made


def readers(context: Context) -> dict[str, tuple[str, Callable[[Path], object]]]:
    """By name: of which study's result, and what reads it."""

    def found(folder: Path) -> None:
        study = Audit.model_construct(found=str(folder), found_concepts=(1,))
        read = load_found(study, context)
        assert read is not None and np.isfinite(read.vectors).all() and np.isfinite(read.bars).all()
        exhibits(study, read)

    def directions(folder: Path) -> None:
        load_directions(str(folder), "body", context.model.fingerprint)

    def card(folder: Path) -> None:
        for form in ("html", "md", "json"):
            if code := command.main(["card", str(folder), "--format", form]):
                raise SystemExit(code)

    return {
        "found": ("ace", found),
        "directions": ("ace", directions),
        "labels": ("dissect", lambda folder: load_units(folder, "body")),
        "verdicts": ("audit", lambda folder: gate.Told.of(folder).json()),
        "lines": ("audit", lambda folder: gate.Told.of(folder).text()),
        **{f"card of {one}": (one, card) for one in ("ace", "dissect", "audit")},
    }


READ = {
    "ace": ("pairs", "exemplars", "images"),
    "dissect": ("units", "exemplars"),
    "audit": ("verdicts",),
}
"""Tables that others read: where most of what is spoilt lies."""


def resealed(folder: Path, dice: Dice) -> None:
    """A result of which one thing is another, behind digests that fit."""
    path = folder / "result.json"
    content = json.loads(path.read_text())
    if (folder / "arrays.npz").is_file() and dice.below(4) == 0:
        data = archive_spoilt((folder / "arrays.npz").read_bytes(), dice)
        write(folder / "arrays.npz", data)
        content["files"]["arrays.npz"] = sha256(data).hexdigest()
    elif dice.below(3):
        tables = [one for one in READ[content["study"]] if one in content["tables"]]
        inner = content["tables"][dice.one(tables)]
        if dice.below(2) and inner["rows"]:
            inner["rows"] = [values_spoilt(row, dice) for row in inner["rows"]]
        else:
            values_spoilt(inner, dice)
    else:
        content = values_spoilt(content, dice)
    content = json.loads(json.dumps(content))
    try:
        content = sealed(content)
    except ValueError:  # not a finite number, of which there is no digest
        content["digest"] = "0"
    path.write_text(json.dumps(content))


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("form", ["quick", SLOW])
def test_results_that_others_read(
    form: str,
    results: dict[str, Path],
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    campaign = Campaign("results of others", capfd)
    context = Context(model_of("plain"), None, None, "body", 0)  # type: ignore[arg-type]
    doors = readers(context)
    for number in range(count("results", form)):
        dice = Dice(SEED, 20, number)
        name = list(doors)[number % len(doors)]
        of, read = doors[name]
        folder = tmp_path / "case"
        shutil.copytree(results[of], folder)
        resealed(folder, dice)

        def call(read: Callable[[Path], object] = read, folder: Path = folder) -> int:
            try:
                return as_command(lambda: read(folder))
            except SystemExit as error:
                return int(str(error.code))

        campaign.run(f"{number}, {name}", call)
        shutil.rmtree(folder)
    campaign.finish()


# Tables, by the types of their columns and the form of their lines

MOMENT = datetime.datetime(2026, 2, 3, 4, 5, 6, 7)
CELLS = (
    *(None, True, 0, -1, 2**63 - 1, 0.5, float("nan"), float("inf"), "", " ", "a", "é", "a\0b"),
    *(
        "../a",
        "/etc/passwd",
        "a" * 3000,
        "\u202e",
        "i/a.png",
        "a,b",
        'a"b',
        "a\nb",
        "\ufeffa",
        "01",
    ),
    *(b"a", b"\xff\xfe", [], ["a"], ["i/a.png", "i/b.png"], [[1]], {"a": 1}, {"a": {"b": []}}),
    *(MOMENT, MOMENT.date(), MOMENT.time(), datetime.timedelta(3), decimal.Decimal("1.50")),
)


def kinds() -> list[Any]:
    """Types of Parquet's columns that a table of texts and numbers has not."""
    text = pyarrow.string()
    return [
        *(pyarrow.large_string(), pyarrow.binary(), pyarrow.binary(3), pyarrow.null()),
        *(pyarrow.bool_(), pyarrow.int8(), pyarrow.uint64(), pyarrow.float16(), pyarrow.float64()),
        *(pyarrow.timestamp("ns", "UTC"), pyarrow.date32(), pyarrow.duration("s")),
        *(
            pyarrow.decimal128(38, 10),
            pyarrow.time64("ns"),
            pyarrow.dictionary(pyarrow.int8(), text),
        ),
        *(pyarrow.list_(text), pyarrow.struct([("a", text)]), pyarrow.map_(text, pyarrow.int32())),
    ]


def column(dice: Dice, name: str, rows: int) -> Any:
    """An array of so many values of some type, or of the column's own with some others in it."""
    own = [ROWS[n % len(ROWS)].get(name, "x") for n in range(rows)]
    for _ in range(8):
        some = [one if dice.below(3) else dice.one([None, *CELLS]) for one in own]
        try:
            return pyarrow.array(some, dice.one([None, None, *kinds()]))
        except (pyarrow.ArrowException, TypeError, ValueError, OverflowError):
            continue
    return pyarrow.nulls(rows)


def as_parquet(dice: Dice) -> bytes:
    """A sound file of Parquet with columns of odd names, types, and in odd cuts."""
    names, rows = list(ROWS[0]), dice.one([0, 1, 2, 2, 2, 5])
    arrays = [
        column(dice, name, rows)
        if dice.below(3) == 0
        else pyarrow.array([ROWS[n % len(ROWS)][name] for n in range(rows)])
        for name in names
    ]
    for _ in range(dice.below(3)):
        names[dice.below(len(names))] = dice.one(["", "id", "a b", "é", "\0", "image", "x" * 300])
    buffer = io.BytesIO()
    table = pyarrow.table(arrays, names=names)
    packed = dice.one(["none", "snappy", "gzip", "zstd"])
    parquet.write_table(table, buffer, compression=packed, row_group_size=dice.one([1, 2, 1000]))
    return buffer.getvalue()


def as_lines(dice: Dice, form: str) -> bytes:
    """Rows as CSV or JSON lines, with others among them, and other ends, quotes and marks."""
    rows = [dict(ROWS[n % len(ROWS)], id=f"{n}") for n in range(dice.one([0, 1, 2, 3]))]
    for row in rows:
        if dice.below(2):
            row[dice.one(row)] = dice.one(CELLS)
    if form == "jsonl":
        lines = [json.dumps(row, default=str, ensure_ascii=bool(dice.below(2))) for row in rows]
        odd = ["", "null", "[]", "3", "{}", '{"id": "a", "id": "b"}', "{" * 3000, "// a", '"a"']
    else:
        head = list(ROWS[0])
        if dice.below(4) == 0:
            head[dice.below(len(head))] = dice.one(["", "id", " image", "\ufeffid", "a,b", '"'])
        body = [",".join(str(value) for value in row.values()) for row in rows]
        lines = [",".join(head), *body]
        odd = ["", ",", '"', '"a\nb","c"', "a;b", ",".join("abcdefghijk"), "#", "\t\t", "a" * 9000]
    if dice.below(2):
        lines.insert(dice.below(len(lines) + 1), dice.one(odd))
    text = dice.one(["\n", "\n", "\r\n", "\r"]).join(lines) + dice.one(["", "\n", "\n\n\x1a"])
    code = dice.one(["utf-8", "utf-8", "utf-8-sig", "utf-16", "latin-1"])
    return text.encode(code, "surrogatepass" if code.startswith("utf") else "replace")


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("form", ["quick", SLOW])
def test_tables(
    form: str, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    campaign = Campaign("tables", capfd)
    _pairs(tmp_path)
    for number in range(count("tables", form)):
        dice = Dice(SEED, 21, number)
        kind = ("parquet", "csv", "jsonl")[number % 3]
        data = as_parquet(dice) if kind == "parquet" else as_lines(dice, kind)
        write(tmp_path / f"t.{kind}", data)
        keys: dict[str, Any] = {"file": f"t.{kind}"}
        if dice.below(4) == 0:
            keys["metadata"] = dice.one([[], ["age"], ["no"], ["age", "age"]])
        content = {"labels": NAMES, "table": keys}
        (tmp_path / "set.yaml").write_text(yaml.dump(content, Dumper=Plainly))
        case = f"{number}, {kind}"
        campaign.run(case, lambda: as_command(lambda: read_all(tmp_path / "set.yaml")))
    campaign.finish()


# Headers of safetensors that contradict what lies behind them


def header(dice: Dice) -> bytes:
    """A file whose header says other places, types and shapes than there are."""
    data = save({key: one.clone() for key, one in Plain().state_dict().items()})
    length = int.from_bytes(data[:8], "little")
    told, body = json.loads(data[8 : 8 + length]), data[8 + length :]
    names = [name for name in told if name != "__metadata__"]
    for _ in range(1 + dice.below(3)):
        one = told[dice.one(names)]
        start, stop = one["data_offsets"]
        way = dice.below(8)
        if way == 0:
            one["data_offsets"] = dice.one([told[dice.one(names)]["data_offsets"], [stop, start]])
        elif way == 1:
            one["shape"] = dice.one([[], [stop - start], [1, *one["shape"]], one["shape"][::-1]])
        elif way == 2:
            one["dtype"] = dice.one(["F64", "F16", "BF16", "I8", "BOOL", "U64", "F8_E4M3", "C64"])
        elif way == 3:
            one["shape"] = dice.one([[2**62, 4], [0, *one["shape"]], [2**32] * 3, [-1], [2**64]])
        elif way == 4:
            one["data_offsets"] = [start + dice.one([-1, 1]), stop + dice.one([-1, 1, 2**40])]
        elif way == 5:
            told[dice.one(["x", "é", "", "a" * 3000, "first.0.weight.weight"])] = dict(one)
        elif way == 6:
            told["__metadata__"] = dice.one([{}, {"a": "b" * 9000}, {"a": 1}, [], "x", None])
        else:
            body = dice.one([body[:-1], body + bytes(8), b"", body * 2])
    text = json.dumps(told)
    if dice.below(6) == 0:  # a key twice
        text = text[:-1] + "," + text[1:]
    text += " " * dice.one([0, 0, 1, 7, 5000])
    size = len(text.encode()) + dice.one([0, 0, 0, 0, 1, -1, 2**40])
    return (size % 2**64).to_bytes(8, "little") + text.encode() + body


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("form", ["quick", SLOW])
def test_headers(form: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    campaign, net = Campaign("headers", capfd), Plain()
    for number in range(count("headers", form)):
        path = write(tmp_path / "net.safetensors", header(Dice(SEED, 22, number)))
        campaign.run(f"{number}", lambda path=path: as_command(lambda: load_weights(net, path)))
    campaign.finish()


# Masks of several pictures, modes and sizes


def mask(dice: Dice) -> tuple[str, bytes]:
    """A file of one or more frames, of one size or several."""
    buffer = io.BytesIO()
    form = dice.one(["GIF", "PNG", "TIFF", "WEBP", "MPO", "pages"])
    frames = []
    for _ in range(dice.one([1, 1, 2, 2, 3, 40])):
        height, width = dice.one([(SIDE, SIDE)] * 4 + [(1, 1), (SIDE, 5), (200, 3)])
        frames.append(np.resize(LABELS + dice.below(3), (height, width)).astype(np.uint8))
    if form == "pages":
        kind = dice.one([np.uint8, np.uint16, np.int32, np.float32, np.bool_, np.int8, np.uint64])
        series = bool(dice.below(2))
        with tifffile.TiffWriter(buffer, bigtiff=bool(dice.below(2))) as file:
            for frame in frames:
                options = {"subfiletype": dice.one([0, 1, 2])} if dice.below(3) == 0 else {}
                file.write(frame.astype(kind), contiguous=series, **options)
        return "m.tif", buffer.getvalue()
    mode = dice.one(["L", "P", "1", "RGB", "RGBA", "LA", "I;16", "CMYK"])
    pictures = []
    for frame in frames:
        picture = Image.fromarray(frame)
        try:
            pictures.append(picture.convert(mode))
        except ValueError:
            pictures.append(picture)
    options = {"save_all": True, "append_images": pictures[1:]} if len(pictures) > 1 else {}
    if form in ("GIF", "PNG", "WEBP"):
        more = {"duration": dice.one([0, 1, 9999]), "loop": 0, "disposal": dice.one([0, 1, 2])}
        options |= more if dice.below(2) else {}
        if dice.below(3) == 0 and form != "WEBP":
            options["transparency"] = dice.below(4)
    try:
        pictures[0].save(buffer, form, **options)
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, SystemError):
        buffer = io.BytesIO()
        Image.fromarray(frames[0]).save(buffer, "PNG")
        form = "PNG"
    return f"m.{dice.one([form.lower(), 'png'])}".replace("mpo", "jpg"), buffer.getvalue()


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("form", ["quick", SLOW])
def test_masks(form: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    campaign = Campaign("masks", capfd)
    for number in range(count("masks", form)):
        name, data = mask(Dice(SEED, 23, number))
        path = write(tmp_path / name, data)
        campaign.run(f"{number}, {name}", lambda path=path: as_command(lambda: read_mask(path)))
    campaign.finish()
