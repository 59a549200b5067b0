import numpy as np
import pytest
import torch

from conceptseg.config import Preprocessing
from conceptseg.errors import InputError
from conceptseg.explain.explainers._masking import (
    Hide,
    _predicted,
    _shares,
    overlap,
    reader,
    respond,
    stretch,
)
from conceptseg.explain.fill import filling
from conceptseg.explain.regions import Box, Everything, Labelled, Predicted
from conceptseg.explain.scene import Scene
from conceptseg.explain.target import Target
from conceptseg.network.model import SegmentationModel
from tests.small_models import LOGITS, images, unet


@pytest.fixture(scope="module")
def scene():
    return Scene(unet().double(), images(2).double())


@pytest.mark.parametrize("fill", ["mean", "blur", "black", "grey", "neutral"])
@pytest.mark.parametrize("own", [False, True])
def test_hidden_images_by_loops(fill, own):
    net = unet().double()
    settings = Preprocessing(mean=(0.4, 0.5, 0.6))
    model = SegmentationModel(net.module, net.classes, settings, name="small", reading=LOGITS)
    x = images(2, 5, 7).double()
    random = torch.Generator().manual_seed(0)
    masks = torch.rand(*((2,) if own else ()), 3, 5, 7, generator=random, dtype=torch.float64)
    found = Hide(Scene(model, x), fill)(masks)
    empty = filling(model, x, fill)
    assert found.shape == (2, 3, 3, 5, 7)
    for i in range(2):
        for r in range(3):
            mask = masks[i, r] if own else masks[r]
            for c in range(3):
                expected = x[i, c] * mask + empty[i, c] * (1 - mask)
                assert torch.allclose(found[i, r, c], expected, atol=1e-15)


@pytest.mark.parametrize("last", [False, True])
def test_what_is_kept_is_the_image_and_layout_follows_it(last):
    x = images(2, 6, 8)
    if last:
        x = x.contiguous(memory_format=torch.channels_last)
    scene = Scene(unet(), x)
    mask = torch.zeros(2, 6, 8)
    mask[1] = 1
    found = Hide(scene, "mean")(mask)
    assert torch.equal(found[:, 1], x)
    assert torch.equal(found[:, 0], x.mean((2, 3), keepdim=True).expand_as(x))
    layout = torch.channels_last if last else torch.contiguous_format
    assert found.flatten(0, 1).is_contiguous(memory_format=layout)


def test_respond_by_loops(scene):
    masks = torch.rand(5, *scene.size, generator=torch.Generator().manual_seed(1)).double()
    targets = [Target(0, Everything()), Target(2, Box(1, 1, 9, 9))]
    read = reader(scene, targets, "score")
    found = respond(scene, "grey", 5, lambda start, stop: masks[start:stop], read)
    for t, target in enumerate(targets):
        for i in range(2):
            for r in range(5):
                varied = scene.images[i : i + 1] * masks[r] + 0.5 * (1 - masks[r])
                expected = scene.fix(target).image(i)(scene.model(varied))
                assert found[t, i, r].item() == pytest.approx(expected.item(), abs=1e-12)


@pytest.mark.parametrize("measure", ["dice", "iou", "softdice"])
def test_overlaps_by_loops(scene, measure):
    """Pixel by pixel, for variants whose predictions differ from the clean image's."""
    targets = [Target(c, region) for c in range(3) for region in (None, Box(2, 3, 9, 14))]
    random = torch.Generator().manual_seed(2)
    logits = torch.randn(6, 3, *scene.size, generator=random, dtype=torch.float64)
    logits[0, :, :4] = 1.0  # ties go to the first class, as they do in regions
    found = reader(scene, targets, measure)(logits)
    assert found.shape == (6, 6)
    alone = torch.cat([reader(scene, [target], measure)(logits) for target in targets])
    assert torch.allclose(alone, found, atol=1e-14)
    for t, target in enumerate(targets):
        for row in range(6):
            region = scene.fix(target).mask[row // 3]
            shared = held = both = 0.0
            for y in range(scene.size[0]):
                for x in range(scene.size[1]):
                    z = logits[row, :, y, x].numpy()
                    p = np.exp(z)[target.class_id] / np.exp(z).sum()
                    p = p if measure == "softdice" else float(np.argmax(z) == target.class_id)
                    shared, held, both = (
                        shared + p * bool(region[y, x]),
                        held + p,
                        both + bool(region[y, x]),
                    )
            expected = (
                shared / (held + both - shared) if measure == "iou" else 2 * shared / (held + both)
            )
            assert found[t, row].item() == pytest.approx(expected, abs=1e-12)


def test_overlap_of_a_region_with_itself_and_with_nothing():
    region = torch.zeros(1, 4, 4, dtype=torch.bool)
    region[0, 1:3] = True
    for measure in ("dice", "iou", "softdice"):
        assert overlap(region.float(), region, measure).item() == 1
        assert overlap((~region).float(), region, measure).item() == 0
        assert overlap(torch.zeros(1, 4, 4), region & False, measure).item() == 0


def test_predicted_regions_are_what_the_reader_predicts(scene):
    targets = [Target(c, Predicted(c)) for c in range(3)]
    assert torch.equal(reader(scene, targets, "dice")(scene.logits), torch.ones(3, 2).double())


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("classes", [[0], [3, 1], [4], [2, 0, 1, 4, 3]])
def test_classes_one_by_one_and_together(layout, classes):
    """Shares are the softmax, also where powers overflow; predictions the argmax, also of ties."""
    random = torch.Generator().manual_seed(3)
    for scale in (1.0, 1e3):
        logits = (scale * torch.randn(2, 5, 6, 7, generator=random)).round(decimals=1)
        logits = logits.contiguous(memory_format=layout)
        kept = logits.clone()
        shares, predicted = _shares(logits, classes), _predicted(logits, classes)
        for c, share, held in zip(classes, shares, predicted, strict=True):
            assert torch.allclose(share, logits.softmax(1)[:, c], atol=1e-6)
            assert torch.equal(held, logits.argmax(1) == c)
        assert torch.equal(logits, kept)
    same = torch.zeros(1, 5, 2, 2)
    assert [held.all().item() for held in _predicted(same, classes)] == [c == 0 for c in classes]


@pytest.mark.parametrize(("cells", "size"), [(1, 5), (3, 7), (7, 7), (4, 12), (5, 3)])
def test_stretch(cells, size):
    """Against scikit-image, whose nearest and linear resizes align cells in the same way."""
    transform = pytest.importorskip("skimage.transform")
    grid = np.random.default_rng(0).random((cells, cells))
    for interpolation, order in (("bilinear", 1), ("nearest", 0)):
        rows = stretch(cells, size, interpolation)
        assert torch.allclose(rows.sum(1), torch.ones(size).double())
        expected = transform.resize(grid, (size, size), order, mode="edge", anti_aliasing=False)
        found = rows @ torch.from_numpy(grid) @ rows.T
        assert np.allclose(found, expected, atol=1e-6)


def test_overlaps_refuse_logits_that_are_not_numbers():
    model = unet()
    model.module.head.bias.data.fill_(float("nan"))
    scene = Scene(model, images(1), torch.ones(1, 16, 24, dtype=torch.int64))
    with pytest.raises(InputError, match="not finite"):
        reader(scene, [Target(1, Labelled(1))], "dice")
