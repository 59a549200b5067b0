"""Where components lie: their boxes and middles."""

import numpy as np

from conceptseg.study.shared.parts import boxes, middles


def drawn(*places, size=(4, 10)):
    mask = np.zeros(size, bool)
    mask[tuple(np.array(places).T)] = True
    return mask


def test_boxes_end_one_beyond_the_mask():
    found = boxes([drawn((0, 0)), drawn((1, 2), (3, 7))])
    assert found.dtype == np.int32 and found.tolist() == [[0, 0, 1, 1], [1, 2, 4, 8]]


def test_middles_are_parts_of_either_side_of_the_image():
    whole = np.ones((4, 10), bool)
    found = middles([whole, drawn((0, 0)), drawn((1, 2), (3, 8))])
    assert found.tolist() == [[0.5, 0.5], [0.125, 0.05], [0.625, 0.55]]
