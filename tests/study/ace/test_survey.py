"""The first sweep, on a U-Net with skips, against plain hooks and loops."""

import dataclasses

import numpy as np
import pytest
import torch
from PIL import Image

from conceptseg.concepts.segments import Segments, ring, segment
from conceptseg.engine.contract import Context
from conceptseg.engine.known import Known
from conceptseg.engine.start import read_manifest
from conceptseg.errors import InputError
from conceptseg.network.model import SegmentationModel
from conceptseg.network.record import Tail
from conceptseg.settings import read_settings
from conceptseg.stats.mergeable.moments import Moments
from conceptseg.stats.mergeable.sample_table import SampleTable
from conceptseg.study.ace.config import Ace
from conceptseg.study.ace.discover import discover
from conceptseg.study.ace.gradients import References, class_gradients
from conceptseg.study.ace.plan import remarks
from conceptseg.study.ace.survey import ACTIVATION, SEGMENTS, Survey, cut_scales
from tests.small_models import LOGITS, images, unet
from tests.study.ace.small import Arrays, activations, batch, context, study, swept
from tests.study.ace.test_study import write_scenes

LAYER, SIZE = "mid", (32, 32)


@pytest.fixture(scope="module")
def model():
    return unet()


@pytest.fixture(scope="module")
def pictures():
    return images(4, *SIZE)


def survey(model, pictures, labels=None, **changes):
    one = study(**changes)
    state = swept(Survey(one), context(model, pictures, LAYER), batch(pictures, labels))
    return one, state[SEGMENTS], state[ACTIVATION]


def test_only_classes_that_cover_enough_are_there(model, pictures):
    _, table, _ = survey(model, pictures)
    with torch.no_grad():
        prediction = model(pictures).argmax(1)
    for i, sample_id in enumerate(table.ids):
        expected = [c for c in range(3) if (prediction[i] == c).sum() >= 64]
        assert table.tables[sample_id]["class"].tolist() == expected
        assert table.classes[sample_id] == frozenset(expected)


def test_gradients_are_those_along_paths_from_the_references(model, pictures):
    one, table, _ = survey(model, pictures, references=3)
    tail = Tail.of(model, pictures, LAYER, graph=True)
    here = context(model, pictures, LAYER)
    references = References(here, 3).of(table.ids, tail.activation.shape[-2:])
    expected = class_gradients(tail, range(3), one.target, references)
    for sample_id, rows in zip(table.ids, expected, strict=True):
        assert table.tables[sample_id]["class"].tolist() == list(rows.classes)
        for name in ("local", "path"):
            found = table.tables[sample_id][name]
            assert np.allclose(found, getattr(rows, name).numpy(), rtol=1e-4, atol=1e-7)
        assert not np.allclose(rows.local, rows.path, rtol=1e-3, atol=0)


def test_embeddings_are_means_over_the_segments_pixels(model, pictures):
    one, table, _ = survey(model, pictures)
    activation = activations(model, LAYER, pictures).numpy()
    for i, sample_id in enumerate(table.ids):
        found = segment(pictures[i].numpy(), one.scales)
        rows = table.tables[sample_id]
        assert len(rows["embedding"]) == len(found)
        for number in range(len(found)):
            pixels = np.argwhere(found.mask(number)) // 4  # of a cell of 4 x 4 px
            expected = np.mean([activation[i][:, y, x] for y, x in pixels], axis=0)
            assert np.allclose(rows["embedding"][number], expected, atol=1e-5)
            assert rows["area"][number] == pytest.approx(len(pixels) / 32**2)
            assert rows["number"][number] == number
        assert np.array_equal(Segments.unpacked(rows["segments"]).maps, found.maps)
        assert (rows["box"] == found.box).all() and (rows["level"] == found.level).all()


def test_where_segments_lie_by_loops(model, pictures):
    labels = torch.randint(-1, 3, (4, *SIZE), generator=torch.Generator().manual_seed(0))
    one, table, _ = survey(model, pictures, labels)
    with torch.no_grad():
        prediction = model(pictures).argmax(1).numpy()
    for i, sample_id in enumerate(table.ids):
        found, rows = segment(pictures[i].numpy(), one.scales), table.tables[sample_id]
        for number in range(len(found)):
            mask = found.mask(number)
            for c in range(3):
                here = prediction[i] == c
                near = ring(here) if c in rows["class"] else np.zeros(SIZE, bool)
                assert rows["share"][number, c] == pytest.approx(here[mask].mean())
                assert rows["ring"][number, c] == pytest.approx(near[mask].mean())
                truth = (labels[i].numpy() == c)[mask].mean()
                assert rows["truth"][number, c] == pytest.approx(truth)


def test_without_labels_the_truth_is_the_prediction(model, pictures):
    _, table, _ = survey(model, pictures)
    assert np.array_equal(table.column("truth"), table.column("share"))


def test_moments_are_those_of_every_position(model, pictures):
    _, _, moments = survey(model, pictures)
    grid = activations(model, LAYER, pictures).double().permute(0, 2, 3, 1).reshape(-1, 16)
    assert moments.count == 4 * 8 * 8
    assert np.allclose(moments.mean, grid.mean(0), atol=1e-10)
    assert np.allclose(moments.variance, grid.var(0, correction=0), atol=1e-10)


def test_images_one_by_one_are_the_batch(model, pictures):
    one, table, moments = survey(model, pictures)
    parts, means = SampleTable.empty(one.images_per_class), Moments.empty(16)
    for i in (2, 0, 3, 1):
        here, part = context(model, pictures, LAYER), batch(pictures[i : i + 1], first=i)
        state = swept(Survey(one), here, part)
        parts, means = parts.merge(state[SEGMENTS]), means.merge(state[ACTIVATION])
    assert parts.ids == table.ids
    for name in ("embedding", "local", "path", "share", "ring"):
        assert np.allclose(parts.column(name), table.column(name), atol=1e-5)
    assert np.allclose(means.mean, moments.mean, atol=1e-6)


class Partly(Arrays):
    """Every other image has labels."""

    def labelled(self, sample):
        return sample.id in ("s01", "s03")


def test_a_region_that_is_told_from_labels_needs_images_that_have_them(model, pictures):
    one = study(target={"region": "labelled"})
    with pytest.raises(InputError, match="region 'labelled' .* none of the 4 images .* a mask"):
        one.check(context(model, pictures, LAYER))
    labels = torch.zeros((4, *SIZE), dtype=torch.int64)
    here = context(model, pictures, LAYER, labels=labels)
    one.check(here)
    assert len(Survey(one).samples(here, Known())) == 4
    partly = dataclasses.replace(here.manifest, source=Partly(pictures, labels))
    here = dataclasses.replace(here, manifest=partly)
    assert [sample.id for sample in Survey(one).samples(here, Known())] == ["s01", "s03"]
    assert len(Survey(study()).samples(here, Known())) == 4


@pytest.mark.parametrize("region", ["labelled", "false_negative", "everything"])
def test_where_a_class_lies_is_told_by_its_prediction(model, pictures, region):
    """Whatever region is scored, shares and rings are those of the predicted region."""
    labels = torch.arange(32)[None, :, None].expand(4, 32, 32) % 3
    one, table, _ = survey(model, pictures, labels, target={"region": region})
    with torch.no_grad():
        prediction = model(pictures).argmax(1).numpy()
    for i, sample_id in enumerate(table.ids):
        found, rows = segment(pictures[i].numpy(), one.scales), table.tables[sample_id]
        if region != "false_negative":
            assert rows["class"].tolist() == [0, 1, 2]
        for c in rows["class"]:
            here = prediction[i] == c
            for number in (0, len(found) - 1):
                mask = found.mask(number)
                assert rows["share"][number, c] == pytest.approx(here[mask].mean())
                assert rows["ring"][number, c] == pytest.approx(ring(here)[mask].mean())


def test_no_more_images_of_a_class_than_asked_for(model, pictures):
    _, table, _ = survey(model, pictures.repeat(2, 1, 1, 1)[:7], images_per_class=2)
    for c in range(3):
        assert sum(c in held for held in table.classes.values()) >= 2
    assert len(table.ids) <= 6


def test_a_network_that_predicts_none_of_the_classes(model, pictures):
    here = context(model, pictures, LAYER)
    empty = SEGMENTS(SampleTable.empty(200)) | ACTIVATION(Moments.empty(16))
    with pytest.raises(InputError, match="none of the classes 'class 0', 'class 1', 'class 2' is"):
        discover(study(), here, empty)
    one = study(data={"manifest": "none.yaml", "classes": ["class 1"]})
    with pytest.raises(InputError, match="data.classes: 'class 1' is predicted in none"):
        discover(one, here, empty)


class Lines(torch.nn.Module):
    """Calls bright pixels `red`: the line that each scene is painted with here, and its square."""

    def forward(self, x):
        bright = x.mean(1, keepdim=True) - 0.6
        return 20 * torch.cat([-bright, bright, bright - 1], 1)


@pytest.mark.parametrize(("wide", "finer"), [(2, True), (12, False)])
def test_segments_are_as_fine_as_the_narrowest_class_needs(tmp_path, wide, finer):
    """Lines across images of 96 x 128 px; squares of twelve need nothing."""
    path = write_scenes(tmp_path / "files", 3)
    for file in (tmp_path / "files/images").glob("*.png"):
        pixels = np.full((96, 128, 3), 60, np.uint8)
        pixels[40 : 40 + wide, :] = 240
        Image.fromarray(pixels).save(file)
        Image.fromarray((pixels[..., 0] > 200).astype(np.uint8)).save(
            tmp_path / "files/masks" / file.name
        )
    model = [("model.name", "tests.study.ace.test_survey:Lines"), ("layer", "auto")]
    one = read_settings("ace", Ace, path, [*model, ("scales", "auto")]).study
    network = SegmentationModel(Lines(), ("ground", "red", "green"), reading=LOGITS)
    manifest = read_manifest(one)
    here = Context(network, manifest, one.run, "", 0)
    scales, name, narrow = cut_scales(one, here)
    assert name == "red" and abs(narrow - wide) <= 1
    assert scales[:3] == (15, 50, 80) and (len(scales) == 4) == finer
    remark, *_ = remarks(one, here)
    assert "the narrowest class is red" in remark[1] and "no segment" not in remark[1]
    given = one.model_copy(update={"scales": (15, 50)})
    assert cut_scales(given, here)[0] == (15, 50)
    assert ("no segment can follow it" in remarks(given, here)[0][1]) == finer
