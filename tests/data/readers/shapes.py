"""Pictures with shapes of which every pixel is known."""

import numpy as np

from tests.files import png, write

H, W = 12, 20
BIG = (2, 2, 12, 10)  # left, top, right, bottom, in whole pixels
SMALL = (6, 4, 9, 8)


def corners(box):
    left, top, right, bottom = box
    return [(left, top), (right, top), (right, bottom), (left, bottom)]


def region(box):
    left, top, right, bottom = box
    inside = np.zeros((H, W), bool)
    inside[top:bottom, left:right] = True
    return inside


def pictures(folder, *names):
    for name in names:
        write(folder / name, png(np.zeros((H, W, 3), np.uint8)))
