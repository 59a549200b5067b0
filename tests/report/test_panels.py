"""Image, labels and prediction as one picture: pixels are read back."""

import io

import numpy as np
import pytest
from PIL import Image

from conceptseg.report.panels import GAP, GROUND, Palette, panels


class Given:
    """As much of a manifest as a palette needs."""

    def __init__(self, classes, colours, background):
        self.classes, self.colours, self.background = classes, colours, background


def pixels(data):
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB")).astype(int)


def test_colours_are_the_data_sets_by_name_and_the_background_is_dark():
    given = Given(("road", "car"), ((1, 2, 3), (4, 5, 6)), None)
    palette = Palette.of(given, ("car", "road"))
    assert palette.colours.tolist() == [[4, 5, 6], [1, 2, 3], [0, 0, 0]]
    plain = Palette.of(Given(("ground", "a", "b"), None, "ground"), ("ground", "a", "b"))
    assert tuple(plain.colours[0]) == GROUND
    assert len({tuple(colour) for colour in plain.colours.tolist()}) == 4


@pytest.mark.parametrize("labelled", [True, False])
def test_panels_stand_side_by_side(labelled):
    palette = Palette(np.array([[200, 0, 0], [0, 0, 200], [0, 0, 0]], np.uint8))
    image = np.full((1, 32, 48), 0.5)
    truth = np.zeros((32, 48), int)
    truth[:, 24:] = -1
    prediction = np.ones((32, 48), int)
    found = pixels(panels(image, truth if labelled else None, prediction, palette, 48))
    count = 3 if labelled else 2
    assert found.shape == (32, count * 48 + (count - 1) * GAP, 3)
    np.testing.assert_allclose(found[16, 20], [128] * 3, atol=6)
    np.testing.assert_allclose(found[16, -20], [0, 0, 200], atol=25)
    if labelled:
        np.testing.assert_allclose(found[16, 48 + GAP + 8], [200, 0, 0], atol=25)
        np.testing.assert_allclose(found[16, 48 + GAP + 40], [0, 0, 0], atol=25)


@pytest.mark.parametrize(("longer", "kept"), [(20, 20), (64, 48)])
def test_panels_are_made_smaller_and_never_larger(longer, kept):
    palette = Palette(np.array([[200, 0, 0], [0, 0, 0]], np.uint8))
    labels = np.zeros((longer // 2, longer), int)
    found = pixels(panels(np.zeros((3, longer // 2, longer)), labels, labels, palette, 48))
    assert found.shape == (kept // 2, 3 * kept + 2 * GAP, 3)
