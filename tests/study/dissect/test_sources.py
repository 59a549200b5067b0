"""Concept maps against labels drawn by hand."""

import numpy as np
import pytest
import torch
from PIL import Image

from conceptseg.data.manifest import load_manifest
from conceptseg.errors import InputError
from conceptseg.explain.regions import Boundary, Labelled
from conceptseg.study.dissect import sources, textures
from conceptseg.study.dissect.sources import Colours, UserMasks, View, on_centres
from conceptseg.study.dissect.textures import Codebook, descriptors
from conceptseg.study.shared.user_masks import UserMask

CLASSES = ("ground", "car", "tree")


def view(labels=None, prediction=None, images=None):
    if images is None:
        images = torch.zeros(1, 3, *(labels if labels is not None else prediction).shape[-2:])
    ids = tuple(f"s{i}" for i in range(len(images)))
    return View(ids, images, labels, prediction)


def test_errors_are_told_by_the_class_that_is_missed_and_the_one_that_is_called():
    labels = torch.tensor([[[0, 1, 2, 1, -1]]])
    prediction = torch.tensor([[[0, 2, 1, 1, 1]]])
    missed = sources.Errors(CLASSES, missed=True).map(view(labels, prediction))
    called = sources.Errors(CLASSES, missed=False).map(view(labels, prediction))
    assert missed.tolist() == [[[3, 1, 2, 3, 4]]]  # 3: no error, 4: not annotated
    assert called.tolist() == [[[3, 2, 1, 3, 4]]]
    assert sources.Labels(CLASSES).map(view(labels)).tolist() == [[[0, 1, 2, 1, 4]]]


def test_without_a_mask_nothing_is_annotated():
    images = torch.zeros(2, 3, 4, 5)
    slots = sources.Labels(CLASSES).map(view(images=images))
    assert slots.shape == (2, 4, 5) and (slots == 4).all()


def test_the_boundary_is_where_another_class_is_near():
    """A square: the band is that of the square's region, measured along rows and columns."""
    labels = torch.zeros(1, 24, 24, dtype=torch.int64)
    labels[0, 8:16, 8:16] = 1
    slots = sources.BoundaryBand().map(view(labels))
    straight = Boundary(Labelled(1), radius_px=3.0).of(labels, labels)
    rows = slice(11, 13)  # far from the corners, where distances differ
    np.testing.assert_array_equal(slots[0, rows] == 0, straight[0, rows])
    assert (slots[0, 0] == 1).all()


def test_objects_by_size():
    """Of 10,000 px: parts of 49 px (0.49 %), of 400 px and of 900 px; touching corners join."""
    labels = torch.zeros(1, 100, 100, dtype=torch.int64)
    labels[0, 2:9, 2:9] = 1
    labels[0, 20:40, 20:40] = 2
    labels[0, 60:90, 60:90] = 1
    labels[0, 0, 99] = -1
    slots = sources.Sizes(0).map(view(labels))[0]
    assert slots[5, 5] == 0 and slots[30, 30] == 1 and slots[70, 70] == 2
    assert slots[50, 50] == 3 and slots[0, 99] == 4


def test_places_and_the_frame():
    images = torch.zeros(1, 3, 32, 48)
    places = sources.Places().map(view(images=images))[0]
    names = sources.Places.category.concepts
    assert names[places[0, 0]] == "top left" and names[places[16, 24]] == "centre"
    assert names[places[31, 47]] == "bottom right"
    assert torch.bincount(places.flatten()).shape == (9,)
    frame = sources.Frame().map(view(images=images))[0]
    assert (frame == 0).sum() == 32 * 48 - 28 * 42


@pytest.mark.parametrize(
    ("rgb", "name"),
    [
        ((0.02, 0.03, 0.02), "black"),
        ((0.5, 0.5, 0.52), "grey"),
        ((0.98, 0.97, 0.96), "white"),
        ((0.9, 0.1, 0.1), "red"),
        ((1.0, 0.55, 0.1), "orange"),
        ((0.95, 0.9, 0.1), "yellow"),
        ((0.1, 0.8, 0.2), "green"),
        ((0.1, 0.2, 0.9), "blue"),
        ((0.5, 0.1, 0.8), "purple"),
        ((0.95, 0.3, 0.7), "pink"),
        ((0.4, 0.25, 0.1), "brown"),
    ],
)
def test_colours_have_their_names(rgb, name):
    image = torch.tensor(rgb)[None, :, None, None].expand(1, 3, 2, 2)
    source = Colours(3)
    assert source.category.concepts[int(source.map(view(images=image))[0, 0, 0])] == name


def test_greys_of_one_channel():
    image = torch.linspace(0, 1, 5)[None, None, None]
    assert Colours(1).map(view(images=image)).flatten().tolist() == [0, 1, 2, 3, 4]


def stripes(angle, wavelength, side=48):
    y, x = np.mgrid[:side, :side]
    wave = np.sin(2 * np.pi * (x * np.cos(angle) + y * np.sin(angle)) / wavelength)
    return torch.from_numpy(0.5 + 0.3 * wave).float()[None, None]


@pytest.mark.parametrize("size", [0, 1])
@pytest.mark.parametrize("direction", [0, 1, 2, 3])
def test_a_filter_answers_to_its_own_wave_most(size, direction):
    wave = stripes(np.pi * direction / 4, textures.WAVELENGTHS_PX[size])
    energies = descriptors(wave)[0, :8, 24, 24].reshape(2, 4)
    assert int(energies.argmax()) == 4 * size + direction
    flat = descriptors(torch.full((1, 1, 48, 48), 0.5))
    assert (flat < np.log(2e-3)).all()


def test_textures_are_told_apart():
    """Flat ground, upright stripes and level stripes: three clusters, named for what they are."""
    parts = [torch.full((1, 1, 48, 48), 0.5), stripes(0, 4), stripes(np.pi / 2, 8)]
    rows = np.concatenate([descriptors(p)[0, :, 8:40, 8:40].flatten(1).T.numpy() for p in parts])
    book = Codebook.of(rows, 3, seed=0)
    own = [int(book.nearest(descriptors(part))[0, 24, 24]) for part in parts]
    assert sorted(own) == [0, 1, 2] and own[0] == 0
    assert "flat" in book.names[own[0]] and "vertical" in book.names[own[1]]
    assert "horizontal" in book.names[own[2]]


def test_slots_are_read_at_the_centres_of_cells():
    maps = torch.arange(36).reshape(1, 6, 6)
    assert on_centres(maps, (2, 3)).tolist() == [[[7, 9, 11], [25, 27, 29]]]
    assert torch.equal(on_centres(maps, (6, 6)), maps)


@pytest.fixture
def manifest(tmp_path):
    """Three images, of which two have a mask of a lane; a column names another mask's file."""
    import yaml

    for n in range(3):
        Image.new("RGB", (6, 4)).save(tmp_path / f"i{n}.png")
        if n < 2:
            mask = np.zeros((4, 6), np.uint8)
            mask[n] = 255
            (tmp_path / "lane").mkdir(exist_ok=True)
            Image.fromarray(mask).save(tmp_path / f"lane/i{n}.png")
    samples = [{"image": f"i{n}.png", "metadata": {"file": f"lane/i{n}.png"}} for n in range(2)]
    content = {"name": "m", "channels": 3, "labels": {"names": ["a", "b"]}, "root": "."}
    content["samples"] = [*samples, {"image": "i2.png"}]
    (tmp_path / "m.yaml").write_text(yaml.safe_dump(content))
    return load_manifest(tmp_path / "m.yaml")


@pytest.mark.parametrize("pattern", ["lane/{id}.png", "{file}"])
def test_masks_of_the_user(manifest, pattern):
    source = UserMasks(UserMask("lane", pattern, manifest))
    found = source.map(View(("i0", "i1", "i2"), torch.zeros(3, 3, 4, 6), None, None))
    assert (found[0] == 0).nonzero().tolist() == [[0, x] for x in range(6)]
    assert (found[1] == 0).sum() == 6 and (found[1] == 1).sum() == 18
    assert (found[2] == source.category.unknown).all()
    assert source.mask.missing == ("i2",)


def test_masks_that_cannot_be_used(manifest, tmp_path):
    with pytest.raises(InputError, match=r"masks\.lane: no image has a file 'x/\{id\}\.png'"):
        UserMask("lane", "x/{id}.png", manifest)
    with pytest.raises(InputError, match=r"masks\.lane: nothing is called \{nmae\}"):
        UserMask("lane", "{nmae}.png", manifest)
    with pytest.raises(InputError, match="leaves the root"):
        UserMask("lane", "../{id}.png", manifest)
    Image.new("L", (5, 4)).save(tmp_path / "lane/i0.png")
    source = UserMasks(UserMask("lane", "lane/{id}.png", manifest))
    with pytest.raises(InputError, match="the mask is 4 x 5 pixels"):
        source.map(View(("i0",), torch.zeros(1, 3, 4, 6), None, None))
    with pytest.raises(InputError, match="no root folder"):
        UserMask("lane", "{id}.png", load_manifest("builtin:planted"))
