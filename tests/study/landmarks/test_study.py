"""The landmarks study through the command: tubes whose network reads along rows, and a retina."""

import json

import numpy as np
import pytest
import yaml
from PIL import Image

from conceptseg.study import __main__ as command
from tests.study.landmarks.tubes import painted, tube

SMALL = {"min_landmarks": 5, "gallery": 1, "turns": 12, "compare": []}
IMAGES = 16


def write(folder, **changes):
    """Flat tubes and tall tubes, two classes of one network; groups of two images."""
    (folder / "images").mkdir(parents=True)
    (folder / "masks").mkdir()
    for n in range(IMAGES):
        at = 20 + n
        lines = [((at, 8), (at, 56))] if n % 2 else [((8, at), (56, at))]
        region = tube(64, lines, 1.5)
        pixels = np.rint(255 * painted(region, n)[0]).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"images/{n // 4}_{n:02}.png")
        Image.fromarray(region.astype(np.uint8)).save(folder / f"masks/{n // 4}_{n:02}.png")
    manifest = {
        "name": "tubes",
        "channels": 1,
        "labels": {"names": ["ground", "tube"], "background": "ground"},
        "folders": [{"split": "test", "images": "images/{id}.png", "masks": "masks/{id}.png"}],
    }
    (folder / "tubes.yaml").write_text(yaml.safe_dump(manifest))
    content = {
        "data": {"manifest": "tubes.yaml"},
        "model": {
            "source": "factory",
            "name": "tests.study.landmarks.tubes:Along",
            "arguments": {"reach": 8},
        },
        "layer": "body",
        "run": {"device": "cpu", "batch_size": 4},
        "regions": "labelled",
        **SMALL,
        **changes,
    }
    path = folder / "landmarks.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


def run(path, out, *words):
    return command.main(["landmarks", "-c", str(path), "--out", str(out), "-q", *words])


def read(out):
    with np.load(out / "arrays.npz", allow_pickle=False) as arrays:
        return json.loads((out / "result.json").read_text()), dict(arrays)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("landmarks")
    path = write(folder / "files")
    assert run(path, folder / "out") == 0
    return path, folder / "out", *read(folder / "out")


def test_landmarks_are_two_ends_and_a_middle_of_each_tube(finished):
    _, _, result, arrays = finished
    assert len(arrays["kind"]) == 3 * IMAGES
    np.testing.assert_array_equal(np.bincount(arrays["kind"]), [2 * IMAGES, IMAGES])
    assert arrays["thickness"] == pytest.approx(3, abs=1)
    rows = {row["kind"]: row for row in result["tables"]["followed"]["rows"]}
    assert rows["along"]["landmarks"] == IMAGES and rows["end"]["landmarks"] == 2 * IMAGES


def test_what_reads_along_rows_follows_flat_tubes_and_not_tall_ones(finished):
    arrays, result = finished[3], finished[2]
    tall = np.array([int(one[-2:]) % 2 == 0 for one in ids(result, arrays)])
    assert np.nanmedian(arrays["anisotropy"][~tall]) > 1
    assert np.nanmedian(arrays["anisotropy"][tall]) < -1


def ids(result, arrays):
    """The image of each landmark, three to an image in the order of their ids."""
    names = sorted(f"{n // 4}_{n:02}" for n in range(IMAGES))
    return np.repeat(names, 3)


def test_report_is_rendered_again_without_the_model(finished):
    _, out, _, _ = finished
    before = (out / "report.html").read_text()
    # Structures may be digits or poles as well.
    assert "that a structure goes on" in before and "vessel" not in before
    assert "Does it follow the structure?" in before and "Landmarks and their maps" in before
    assert command.main(["report", str(out)]) == 0
    assert (out / "report.html").read_text() == before


def test_nothing_moves_with_batches_or_shards(finished, tmp_path):
    path, _, result, arrays = finished
    for words in (["run.batch_size=1", "run.shards=4"], ["run.batch_size=7", "run.shards=1"]):
        out = tmp_path / words[0]
        assert run(path, out, *[w for x in words for w in ("--set", x)]) == 0
        again, own = read(out)
        for name, array in arrays.items():
            np.testing.assert_allclose(own[name], array, rtol=1e-4, atol=1e-5, err_msg=name)


def test_same_command_twice_gives_the_same_result(finished, tmp_path):
    path, _, result, _ = finished
    assert run(path, tmp_path / "again") == 0
    again, _ = read(tmp_path / "again")
    for key in ("findings", "tables", "notes", "skipped", "files"):
        assert again[key] == result[key], key


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--set", "min_landmarks=90"], "no class has 90 landmarks ('tube' has the most, 48)"),
        (["--set", "thickest=0.01"], "none is thin, or images are few; raise thickest"),
    ],
)
def test_bad_input_is_refused_in_one_line(finished, tmp_path, capsys, words, said):
    assert run(finished[0], tmp_path / "out", *words) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("error: ") and said in error


@pytest.mark.parametrize(("length", "follows"), [(23, True), (7, False)])
def test_vessels_of_a_retina(tmp_path, length, follows):
    """scikit-image's photograph in pieces of 128 px, by a bank of matched filters.

    Their gradient is 9 px wide: filters of 23 px follow a vessel, those of 7 px lie across it.
    """
    from skimage.data import retina
    from skimage.measure import block_reduce

    photo = block_reduce(retina(), (2, 2, 1), np.mean)
    (tmp_path / "images").mkdir()
    count = 0
    for top in range(160, 480, 128):
        for left in range(160, 480, 128):
            piece = photo[top : top + 128, left : left + 128].round().astype(np.uint8)
            Image.fromarray(piece).save(tmp_path / f"images/p{count:02}.png")
            count += 1
    manifest = {
        "name": "retina",
        "channels": 3,
        "labels": {"names": ["ground", "vessel"], "background": "ground"},
        "folders": [{"split": "test", "images": "images/{id}.png"}],
    }
    (tmp_path / "retina.yaml").write_text(yaml.safe_dump(manifest))
    content = {
        "data": {"manifest": "retina.yaml"},
        "model": {
            "source": "factory",
            "name": "tests.study.landmarks.tubes:MatchedFilters",
            "arguments": {"length": length},
        },
        "layer": "body",
        "run": {"device": "cpu"},
        "each": 4,
        **SMALL,
    }
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(content))
    assert run(tmp_path / "study.yaml", tmp_path / "out") == 0
    result, _ = read(tmp_path / "out")
    (every,) = (r for r in result["tables"]["followed"]["rows"] if r["kind"] == "all landmarks")
    assert every["landmarks"] >= 20
    assert every["anisotropy_low"] > 0.5 if follows else every["anisotropy_high"] < 0
