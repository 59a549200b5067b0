"""Saved results that somebody edited, through `report` and `predict-quality`: no traceback.

Each case spoils one thing of a result by a seed: leaves, keys and bytes of result.json, arrays,
pictures, the list of files, a predictor's numbers; with digests that tell it, and with digests that
were made to fit. The command must do its work (exit code 0, and say so if it could tell) or say in
one line what is wrong (2), and leave the report that was there.

CONCEPTSEG_FUZZ_SEED is another campaign's seed.
"""

import io
import json
import math
import shutil
import time
import zipfile
from collections import Counter
from copy import deepcopy
from hashlib import sha256

import numpy as np
import pytest
from PIL import Image

from conceptseg import catalogue
from conceptseg.report.page import ALTERED
from conceptseg.result.saved import Result, sealed
from conceptseg.study import __main__ as command
from conceptseg.study.bottleneck.predictor import HEAD, PREFIX, Predictor
from tests.fuzz.harness import SEED, Dice, bytes_spoilt, places
from tests.strange_models import NETWORKS, write_scenes
from tests.study import dim
from tests.study.bottleneck.test_predictor import whole
from tests.study.bottleneck.test_study import SMALL
from tests.study.test_strange import IMAGES, run, write

FEW, MANY = 16, 120
"""Cases of one study in the quick form, and of each study in the slow one."""
SCORED_FEW, SCORED_MANY = 150, 200
MOST_S = 60
VALUES = (
    *(None, True, False, 0, -1, 1, 3.5, -0.0, 1e308, 2**31, 2**64, -(2**63), 10**30, 10**400),
    *("", " ", "a", "0", "1e5", "é\u202e", "\0", "../x", "x" * 5000, "{id}", "<script>", "\n"),
    *([], {}, [[]], [None], [0], [1, 2], [-1, -1], [10**12, 10**12], ["a", "a"], {"a": 1}),
    *({"": None}, [[1, 2], [3]], [{}], {"a": {"a": []}}, [1e308, -1e308], "NaN", ["", 0.5]),
)
NUMBERS = (math.nan, math.inf, -math.inf, -1, 0, 1, 10**6, 1e300)
KINDS = (np.float32, np.int8, np.uint64, bool, np.complex128, "U4", "M8[s]", np.float16)


def values_spoilt(content, dice):
    """Leaves and groups replaced, left out, renamed, doubled or scaled."""
    for _ in range(dice.one([1, 1, 1, 3])):
        top = dice.one(list(content))  # or all but a few would be rows of tables
        inside = list(places(content[top])) if isinstance(content[top], (dict, list)) else []
        *path, key = (top, *dice.one(inside)) if inside and dice.below(8) else (top,)
        holder = content
        for step in path:
            holder = holder[step]
        way = dice.below(7)
        if way == 0:
            del holder[key]
        elif way == 1 and isinstance(holder, dict):
            holder[dice.one([f"{key}s", "", "é", "\0"])] = holder.pop(key)
        elif way == 2 and isinstance(holder, list):
            holder.extend(holder * dice.one([1, 3]))
        elif way == 3 and isinstance(holder[key], (int, float)) and abs(holder[key]) < 1e300:
            holder[key] = holder[key] * dice.one([-1, 0.5, 1e6, 10**9, 1e300])
        else:
            holder[key] = deepcopy(dice.one(VALUES))
        if not content:
            break
    return content


def array_spoilt(array, dice):
    """An array of another shape, type or range."""
    flat = array.reshape(-1)
    way = dice.below(7)
    if way == 0:
        return flat[: dice.below(len(flat) + 1)]
    if way == 1:
        return array[None]
    if way == 2:
        with np.errstate(all="ignore"):
            return array.astype(dice.one(KINDS), casting="unsafe")
    if way == 3:
        return np.array(dice.one(NUMBERS))
    if way == 4:
        return array.T if array.ndim > 1 else np.repeat(array, 2, axis=0) if array.ndim else array
    if array.dtype.kind not in "fiu" or not len(flat):
        return np.zeros([dice.below(3) for _ in range(dice.below(4))])
    changed = array.astype(float).copy()
    changed.reshape(-1)[dice.below(len(flat))] = dice.one(NUMBERS)
    with np.errstate(all="ignore"):
        return changed if way == 5 else changed.astype(array.dtype)


def archive_spoilt(data, dice):
    """An .npz with an array spoilt, left out or added, or an archive of something else."""
    with np.load(io.BytesIO(data)) as arrays:
        content = {name: arrays[name] for name in arrays.files}
    way, buffer = dice.below(6), io.BytesIO()
    name = dice.one(content)
    if way == 0:
        del content[name]
    elif way == 1:
        content[dice.one(["more", "a b", "..", "é"])] = content.pop(name)
    elif way == 2:
        with zipfile.ZipFile(buffer, "w", dice.one([zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2])) as file:
            file.writestr(dice.one(["x.npy", "x", "../x.npy"]), dice.rng.bytes(200))
        return buffer.getvalue()
    else:
        content[name] = array_spoilt(content[name], dice)
    np.savez(buffer, **content)
    return buffer.getvalue()


def picture_spoilt(data, dice):
    if dice.below(3):
        return bytes_spoilt(data, dice)
    buffer, size = io.BytesIO(), dice.one([(1, 1), (3000, 1), (16, 16)])
    mode, form = dice.one(
        [("L", "PNG"), ("CMYK", "JPEG"), ("P", "GIF"), ("RGBA", "WEBP"), ("1", "TIFF")]
    )
    Image.new(mode, size).save(buffer, form)
    return buffer.getvalue()


def spoil(folder, dice):
    """Spoil one thing of a saved result; whether its digests were made to fit."""
    path = folder / "result.json"
    content = json.loads(path.read_text())
    files, fits = list(content["files"]), bool(dice.below(3))
    way = dice.below(10)
    if way < 6:
        text = json.dumps(values_spoilt(content, dice))
        content = json.loads(text)
        if fits and isinstance(content, dict):
            content = sealed(content)
        path.write_text(json.dumps(content))
        return fits
    if way == 6:
        path.write_bytes(bytes_spoilt(path.read_bytes(), dice))
        return False
    if way == 7 or not files:
        content["files"] = dice.one(
            [
                {"../x": "0"},
                {"/etc/passwd": "0"},
                {"images/a.png": "0" * 64},
                dict.fromkeys(files, 3),
            ]
        )
    else:
        name = dice.one([*files, *(["arrays.npz"] * 2 if "arrays.npz" in files else [])])
        data = (folder / name).read_bytes()
        if name != "arrays.npz":
            change = picture_spoilt
        else:
            change = archive_spoilt if dice.below(3) else bytes_spoilt
        data = change(data, dice)
        (folder / name).write_bytes(data)
        if not fits:
            return False
        content["files"][name] = sha256(data).hexdigest()
    path.write_text(json.dumps(sealed(content)))
    return True


def complaint(folder, fits, before, code, err):
    """What is not as it has to be, in words."""
    lines = err.splitlines()
    page = (folder / "report.html").read_bytes()
    if "Traceback" in err or code not in (0, 2, 3):
        return f"exit code {code}: {err[-1500:]}"
    if code:
        errors = [line for line in lines if line.startswith("error: ")]
        told = [line for line in lines if ALTERED.heading not in line]
        if len(errors) != 1 or told != errors:
            return f"{len(errors)} error lines: {err[-600:]}"
        return "" if page == before else "the report was touched"
    if not page.rstrip().endswith(b"</html>"):
        return "half a report"
    changed = Result.load(folder, altered=True).altered
    if changed and (ALTERED.heading not in err or ALTERED.heading.encode() not in page):
        return "an edited result is not told as one"
    return "" if fits or changed or err == "" else f"lines: {err[-300:]}"


def campaign(sound, tmp_path, capsys, key, count):
    failures, codes = [], Counter()
    for number in range(count):
        folder = tmp_path / "case"
        shutil.copytree(sound, folder)
        before = (folder / "report.html").read_bytes()
        fits = spoil(folder, Dice(SEED, key, number))
        capsys.readouterr()
        began = time.process_time()
        code = command.main(["report", str(folder)])
        took = time.process_time() - began
        codes[code] += 1
        told = complaint(folder, fits, before, code, capsys.readouterr().err)
        if took > MOST_S:
            told = f"{took:.0f} s of the processor"
        if told:
            failures.append(f"case {number}: {told}")
        shutil.rmtree(folder)
    print(f"{sound.parent.name}: {count} cases, exit codes {dict(codes)}")
    assert not failures, f"{len(failures)} of them:\n" + "\n\n".join(failures)
    return codes


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The folder of a study's saved result."""
    known, names = {}, NETWORKS["plain"].classes
    scenes = {names: write_scenes(tmp_path_factory.mktemp("scenes"), IMAGES, names)}

    def of(study):
        if study not in known:
            folder = tmp_path_factory.mktemp(study)
            assert run(write(folder, study, "plain", scenes), study, folder / "out") == 0
            known[study] = folder / "out"
        return known[study]

    return of


@pytest.mark.filterwarnings("default")
def test_a_few_edited_results(made, tmp_path, capsys):
    assert set(campaign(made("permutation"), tmp_path, capsys, 99, FEW)) == {0, 2}


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("study", catalogue.names("study"))
def test_edited_results(study, made, tmp_path, capsys):
    place = catalogue.names("study").index(study)
    assert {0, 2} <= set(campaign(made(study), tmp_path, capsys, place, MANY))


def predictor_spoilt(arrays, dice):
    """A predictor's arrays with one of them, or its head, spoilt."""
    own = sorted(name for name in arrays if name.startswith(PREFIX))
    name = HEAD if dice.below(4) == 0 else dice.one(own)
    if name != HEAD:
        changed = array_spoilt(arrays[name], dice)
        return {k: v for k, v in arrays.items() if k != name} | (
            {name: changed} if dice.below(9) else {}
        )
    data = bytes(arrays[HEAD])
    if dice.below(4):
        data = json.dumps(values_spoilt(json.loads(data), dice)).encode()
    else:
        data = bytes_spoilt(data, dice)
    return {**arrays, HEAD: np.frombuffer(data, np.uint8)}


@pytest.mark.filterwarnings("default")
def test_spoilt_predictors_are_refused_or_score(capsys):
    from conceptseg.errors import InputError

    predictor, *given = whole()
    arrays, refused = predictor.to_arrays(), 0
    for number in range(SCORED_FEW):
        changed = predictor_spoilt(arrays, Dice(SEED, 1000, number))
        try:
            scored = Predictor.from_arrays(changed).score(*given)
            assert scored.quality.shape == given[2].shape
        except InputError as error:
            refused += 1
            assert "\n" not in str(error)
    assert SCORED_FEW * 0.5 < refused < SCORED_FEW


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_spoilt_predictors_through_the_command(tmp_path, capsys):
    path = dim.write(tmp_path / "files", "bottleneck", **SMALL)
    assert dim.run("bottleneck", path, tmp_path / "out") == 0
    result = Result.load(tmp_path / "out")
    failures, codes = [], Counter()
    for number in range(SCORED_MANY):
        changed = predictor_spoilt(dict(result.arrays), Dice(SEED, 1001, number))
        Result("bottleneck", arrays=changed, config=result.config).save(tmp_path / "case")
        out = tmp_path / "scores.csv"
        capsys.readouterr()
        words = ["predict-quality", str(tmp_path / "case"), "-c", str(path), "--out", str(out)]
        code = command.main(words)
        err = capsys.readouterr().err
        codes[code] += 1
        errors = [line for line in err.splitlines() if line.startswith("error: ")]
        if code not in (0, 2) or "Traceback" in err or len(errors) != (code == 2):
            failures.append(f"case {number}: exit code {code}: {err[-1500:]}")
        if code == 0 and len(out.read_text().splitlines()) != 43:
            failures.append(f"case {number}: half a table")
        shutil.rmtree(tmp_path / "case")
        out.unlink(missing_ok=True)
    print(f"predict-quality: {SCORED_MANY} cases, exit codes {dict(codes)}")
    assert not failures, f"{len(failures)} of them:\n" + "\n\n".join(failures)
