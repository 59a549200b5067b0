"""A guess at what masks mean reads them as they were drawn: by the real reader of masks."""

import numpy as np
import pytest
from PIL import Image

from conceptseg.data.images import read_mask_raster
from conceptseg.data.legend import guess, guess_each, look_at_images
from conceptseg.data.raster import Rules
from conceptseg.data.readers._spec import LabelSpec
from conceptseg.errors import InputError

DRAWN = np.random.default_rng(0).integers(0, 3, (12, 10))


def save(folder, values, name="m.png", **options):
    path = folder / name
    Image.fromarray(np.asarray(values, np.uint8)).save(path, **options)
    return path


def read(path, legend):
    block = LabelSpec.model_validate(legend.labels).block()
    return block.read(read_mask_raster(path, Rules(), graded=block.graded), str(path))


@pytest.mark.parametrize(
    "values, expected",
    [
        (DRAWN, DRAWN),
        (DRAWN * 127, DRAWN),
        (np.where(DRAWN > 0, 255, 0), DRAWN > 0),
        (np.where(DRAWN == 2, 255, DRAWN), np.where(DRAWN == 2, -1, DRAWN)),
        (np.stack([DRAWN * 100] * 3, -1), DRAWN),
        (np.stack([DRAWN * 90, DRAWN * 20, 0 * DRAWN], -1), DRAWN),
    ],
    ids=["indices", "spread", "black and white", "255 is void", "grey as RGB", "colours"],
)
def test_masks_are_read_as_they_were_drawn(tmp_path, values, expected):
    path = save(tmp_path, values)
    assert (read(path, guess([path])) == expected).all()


def test_counted_from_one_where_the_network_or_names_say_so(tmp_path):
    path = save(tmp_path, DRAWN + 1)
    assert (read(path, guess([path], outputs=3)) == DRAWN).all()
    assert (read(path, guess([path], ["a", "b", "c"])) == DRAWN).all()
    assert (read(path, guess([path])) == DRAWN + 1).all()  # 0 may be a class that is not here
    assert len(guess([path], outputs=7).labels["names"]) == 7


def test_soft_edges_have_a_threshold(tmp_path):
    soft = np.linspace(0, 255, 120).reshape(12, 10)
    for name, options in (("m.png", {}), ("m.jpg", {"quality": 95})):
        path = save(tmp_path, soft, name, **options)
        assert (read(path, guess([path])) == (np.asarray(Image.open(path)) >= 128)).all()


def test_soft_edges_of_few_values_are_no_classes(tmp_path):
    square = np.zeros((30, 30), np.uint8)
    square[8:20, 9:21] = 255
    path = tmp_path / "m.png"
    Image.fromarray(square).resize((44, 44), Image.Resampling.BILINEAR).save(path)
    soft = np.asarray(Image.open(path))
    assert 2 < len(np.unique(soft)) < 64
    for names, outputs in (((), None), (("a", "b"), None), ((), 1), ((), 2)):
        assert (read(path, guess([path], names, outputs)) == (soft >= 128)).all()


def test_classes_of_floats_are_parted_half_way(tmp_path):
    path = tmp_path / "m.npy"
    for values, expected in (
        (DRAWN, DRAWN),
        (DRAWN > 0, DRAWN > 0),
        (np.where(DRAWN == 2, 255, DRAWN), np.where(DRAWN == 2, -1, DRAWN)),
        (DRAWN - 1, DRAWN - 1),  # -1 is nothing
    ):
        np.save(path, values.astype(float))
        assert (read(path, guess([path])) == expected).all()


def test_minus_one_is_void(tmp_path):
    path = tmp_path / "m.npy"
    np.save(path, DRAWN - 1)
    assert (read(path, guess([path])) == DRAWN - 1).all()


def test_many_classes_are_told_by_names_or_the_network_and_never_by_brightness(tmp_path):
    many = np.arange(150, dtype=np.uint8).repeat(4).reshape(20, 30)
    path = save(tmp_path, many)
    assert (read(path, guess([path], outputs=150)) == many).all()
    assert (read(path, guess([path], [f"c{i}" for i in range(150)])) == many).all()
    with pytest.raises(InputError, match="--classes names them"):
        guess([path])


def test_masks_of_one_bit_beside_those_of_eight_are_as_bright(tmp_path):
    """As ImageMagick saves those in which black and white are all there is."""
    paths = []
    for index, drawn in enumerate((DRAWN, np.minimum(DRAWN, 1) * 2)):
        grey = Image.fromarray(np.array([0, 127, 255], np.uint8)[drawn])
        paths.append(tmp_path / f"{index}.png")
        (grey.convert("1") if index else grey).save(paths[-1])
    legend = guess(paths)
    assert (read(paths[0], legend) == DRAWN).all()
    assert (read(paths[1], legend) == np.minimum(DRAWN, 1) * 2).all()


def indexed(path, drawn, palette):
    picture = Image.fromarray(drawn.astype(np.uint8))
    picture.putpalette(np.array(palette, np.uint8).ravel().tolist())
    picture.save(path)
    return path


def test_palettes_of_another_order_in_each_file_are_read_by_colour(tmp_path):
    colours = [(0, 0, 0), (90, 0, 0), (0, 200, 0)]
    first = indexed(tmp_path / "a.png", DRAWN, colours)
    other = indexed(tmp_path / "b.png", 2 - DRAWN, colours[::-1])
    legend = guess([first, other])
    for path in (first, other):
        assert (read(path, legend) == DRAWN).all()
    white_first = indexed(tmp_path / "c.png", DRAWN == 0, [(255, 255, 255), (0, 0, 0)])
    assert (read(white_first, guess([white_first])) == (DRAWN != 0)).all()


def test_one_mask_for_each_class(tmp_path):
    a, b = (save(tmp_path, 255 * (k == DRAWN), f"{k}.png") for k in (1, 2))
    legend = guess_each({"road": [a], "water": [b]})
    assert legend.labels["names"] == ["background", "road", "water"]
    LabelSpec.model_validate(legend.labels)
    with pytest.raises(InputError, match="3 values or colours, so that"):
        guess_each({"fine": [save(tmp_path, DRAWN, "several.png")], "coarse": [a]})


def test_what_is_no_class_is_refused(tmp_path):
    deep = tmp_path / "m.tif"
    Image.fromarray(np.arange(400, dtype=np.uint16).reshape(20, 20)).save(deep)
    with pytest.raises(InputError, match="which are no classes"):
        guess([deep])
    path = save(tmp_path, np.random.default_rng(1).integers(0, 256, (20, 20, 3)))
    with pytest.raises(InputError, match="labels.tolerance"):
        guess([path])
    spread = save(tmp_path, 90 * DRAWN)
    with pytest.raises(InputError, match="--classes names 2 classes"):
        guess([spread], ["a", "b"])


@pytest.mark.parametrize(
    "pixels, wanted, expected",
    [
        (np.zeros((4, 5, 3), np.uint8), 3, {"channels": 3}),
        (np.zeros((4, 5), np.uint8), 3, {"channels": 3}),
        (np.zeros((4, 5), np.uint8), 1, {"channels": 1}),
        (np.zeros((4, 5, 4), np.uint8), 3, {"channels": 3, "alpha": "drop"}),
        (np.full((4, 5), 4000, np.uint16), None, {"channels": 1, "range": [0.0, 4095.0]}),
        (np.full((4, 5), 60000, np.uint16), None, {"channels": 1}),
    ],
)
def test_images_tell_their_channels_and_range(tmp_path, pixels, wanted, expected):
    path = tmp_path / "i.png"
    Image.fromarray(pixels).save(path)
    assert look_at_images([path], wanted).keys == expected


def test_floats_tell_their_range(tmp_path):
    for limits, expected in (((0.0, 1.0), None), ((-20.0, 300.0), [-20.0, 300.0])):
        np.save(tmp_path / "i.npy", np.linspace(*limits, 20, dtype=np.float32).reshape(4, 5))
        assert look_at_images([tmp_path / "i.npy"]).keys.get("range") == expected
