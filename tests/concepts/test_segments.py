"""Superpixels against scikit-image itself and against loops over pixels."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.segmentation import slic

from conceptseg.concepts.segments import SCALES as PUBLISHED
from conceptseg.concepts.segments import (
    Segments,
    _collect,
    _survivors,
    fitting_scales,
    least_area,
    ring,
    segment,
    width,
    widths,
)

SCALES = (4, 12, 20)
SIZE = (30, 44)


def picture(channels: int = 3, seed: int = 0) -> np.ndarray:
    """Tiles of flat colour with a little noise, float32 [c, 30, 44]."""
    rng = np.random.default_rng(seed)
    tiles = rng.random((channels, 3, 4)).repeat(10, 1).repeat(11, 2)
    return np.clip(tiles + 0.05 * rng.normal(size=tiles.shape), 0, 1).astype(np.float32)


def raw_levels(image: np.ndarray) -> list[np.ndarray]:
    """What scikit-image finds at each scale, called as the docstring says."""
    pixels = np.moveaxis(image, 0, -1)
    colour = len(image) == 3
    return [
        slic(
            pixels,
            n_segments=n,
            compactness=20.0 if colour else 0.2,
            sigma=1.0,
            convert2lab=colour,
            channel_axis=-1,
            start_label=0,
        )
        for n in SCALES
    ]


def kept_by_loops(levels: list[np.ndarray], min_area: float) -> list[tuple[int, np.ndarray]]:
    """Level and mask of each segment that ACE's rules leave, in order."""
    kept: list[tuple[int, np.ndarray]] = []
    for index, level in enumerate(levels):
        new = []
        for label in np.unique(level):
            mask = level == label
            if mask.sum() < min_area:
                continue
            overlaps = [(mask & old).sum() / (mask | old).sum() for _, old in kept]
            if not overlaps or max(overlaps) <= 0.5:
                new.append((index, mask))
        kept += new
    return kept


@pytest.mark.parametrize("channels", [1, 2, 3, 5])
def test_segments_are_those_of_scikit_image_less_the_small_and_the_doubled(channels):
    image = picture(channels)
    levels = raw_levels(image)
    for level in levels:
        assert (level >= 0).all() and len(np.unique(level)) > 1, "each pixel lies in a segment"
    expected = kept_by_loops(levels, 0.001 * image[0].size)
    found = segment(image, SCALES)
    assert len(found) == len(expected)
    for number, (level, mask) in enumerate(expected):
        assert found.level[number] == level
        assert (found.mask(number) == mask).all()
        assert found.area[number] == mask.sum()
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        box = [rows[0], columns[0], rows[-1] + 1, columns[-1] + 1]
        assert found.box[number].tolist() == box


def test_the_first_scale_covers_every_pixel():
    """No segment is small or doubled there, and none is lost, the last label's neither."""
    found = segment(picture(), SCALES)
    covered = sum(found.mask(i).astype(int) for i in np.flatnonzero(found.level == 0))
    assert (covered == 1).all()
    assert found.area[found.level == 0].sum() == SIZE[0] * SIZE[1]


@pytest.mark.parametrize("seed", range(4))
def test_what_is_dropped_by_loops_over_random_partitions(seed):
    """Partitions that often repeat each other, with small segments, as SLIC seldom makes them."""
    rng = np.random.default_rng(seed)
    first = rng.integers(0, 4, (3, 4)).repeat(4, 0).repeat(3, 1)
    levels = [first]
    for flips in (5, 40, 90):
        other = levels[-1].copy()
        other.flat[rng.integers(0, other.size, flips)] = rng.integers(0, 6, flips)
        levels.append(np.unique(other, return_inverse=True)[1].reshape(first.shape))
    levels[0] = np.unique(first, return_inverse=True)[1].reshape(first.shape)
    expected = kept_by_loops(levels, 6)
    keep = _survivors(levels, 6)
    assert sum(int(good.sum()) for good in keep) == len(expected) < sum(map(len, keep))
    found = _collect(levels, keep)
    for number, (level, mask) in enumerate(expected):
        assert found.level[number] == level and (found.mask(number) == mask).all()


def test_identical_scales_are_kept_once():
    found = segment(picture(), (12, 12))
    assert set(found.level.tolist()) == {0} and (found.maps[1] == -1).all()


@pytest.mark.parametrize("grid", [(5, 7), (30, 44), (1, 1), (40, 50)])
def test_weights_average_activations_over_the_segments_pixels(grid):
    found = segment(picture(), SCALES)
    rng = np.random.default_rng(1)
    activation = rng.normal(size=(*grid, 3))
    embedding = found.weights(grid) @ activation.reshape(-1, 3)
    for number in range(len(found)):
        total = np.zeros(3)
        for row, column in np.argwhere(found.mask(number)):
            y = int((row + 0.5) / SIZE[0] * grid[0])
            x = int((column + 0.5) / SIZE[1] * grid[1])
            total += activation[y, x]
        assert np.allclose(embedding[number], total / found.area[number], atol=1e-5)
    assert np.allclose(found.weights(grid).sum(1), 1, atol=1e-5)


def test_shares_by_loops_with_ignored_pixels():
    found = segment(picture(), SCALES)
    classes = np.random.default_rng(2).integers(-1, 4, SIZE)
    shares = found.shares(classes, 3)
    for number in range(len(found)):
        for c in range(3):
            count = sum(classes[y, x] == c for y, x in np.argwhere(found.mask(number)))
            assert shares[number, c] == pytest.approx(count / found.area[number])


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1000), st.sampled_from([0.05, 0.1, 0.3]))
def test_ring_by_loops(seed, fraction):
    rng = np.random.default_rng(seed)
    mask = rng.random((9, 13)) < 0.04
    radius = max(1, round(fraction * (9**2 + 13**2) ** 0.5))
    inside = np.argwhere(mask)
    found = ring(mask, fraction)
    for y in range(9):
        for x in range(13):
            near = any(max(abs(y - v), abs(x - u)) <= radius for v, u in inside)
            assert found[y, x] == (near and not mask[y, x])


def test_ring_of_nothing_and_of_everything():
    assert not ring(np.zeros((8, 8), bool)).any() and not ring(np.ones((8, 8), bool)).any()


def test_the_same_image_gives_the_same_segments_and_is_left_alone():
    image = picture()
    before = image.copy()
    first, second = segment(image, SCALES), segment(image, SCALES)
    for name in ("maps", "level", "area", "box"):
        assert (getattr(first, name) == getattr(second, name)).all()
    assert (image == before).all()


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("sigma", [0.0, 1.0])
def test_segments_follow_edges_whatever_the_channels(channels, sigma):
    """Bright discs on dark ground: squares straddle their rims, superpixels hardly do."""
    y, x = np.mgrid[:48, :64]
    disc = ((y - 20) ** 2 + (x - 27) ** 2 < 11**2) | ((y - 33) ** 2 + (x - 50) ** 2 < 8**2)
    image = np.repeat(np.where(disc, 0.8, 0.2)[None], channels, 0).astype(np.float32)

    def astray(compactness: float) -> float:
        found = segment(image, (15, 50), sigma=sigma, compactness=compactness)
        share = found.shares(disc.astype(np.int64), 2)[:, 1]
        return float((np.minimum(share, 1 - share) * found.area).sum() / found.area.sum())

    assert astray(1e5) > 0.09
    assert astray(20.0) < 0.04


@pytest.mark.parametrize("scales", [(4,), SCALES, (12, 12)])
def test_packing_keeps_everything(scales):
    found = segment(picture(), scales)
    again = Segments.unpacked(found.packed())
    for name in ("maps", "level", "area", "box"):
        first, second = getattr(found, name), getattr(again, name)
        assert first.dtype == second.dtype and np.array_equal(first, second), name


def test_packing_takes_few_bytes_and_many_segments():
    image = picture().repeat(8, 1).repeat(8, 2)
    found = segment(image, SCALES)
    assert found.packed().nbytes < found.maps.nbytes / 30
    many = np.arange(40_000, dtype=np.int32).reshape(1, 200, 200)
    assert np.array_equal(Segments.unpacked(Segments.of(many).packed()).maps, many)


def test_a_grey_image_is_told_apart_by_its_grey():
    """Two halves of unlike grey: no segment straddles the border."""
    image = np.zeros((1, 24, 24), dtype=np.float32)
    image[:, :, 12:] = 1
    found = segment(image, (4,), sigma=0.0)
    left = np.zeros((24, 24), np.int64)
    left[:, :12] = 1
    assert set(found.shares(left, 2)[:, 1].tolist()) == {0.0, 1.0}


@pytest.mark.parametrize("wide", [3, 5, 9, 14])
@pytest.mark.parametrize("lies", ["upright", "across", "ring"])
def test_the_width_of_a_region_is_that_of_its_strokes(wide, lies):
    region = np.zeros((80, 100), dtype=bool)
    if lies == "upright":
        region[:, 40 : 40 + wide] = True
    elif lies == "across":
        region[20 : 20 + wide, 10:90] = True
    else:
        y, x = np.mgrid[:80, :100]
        region[np.abs(np.hypot(y - 40, x - 50) - 25) < wide / 2] = True
    assert abs(width(region) - wide) <= 1.3


def test_widths_are_of_each_class_that_covers_enough():
    classes = np.zeros((60, 60), dtype=np.int64)
    classes[:, 10:14], classes[30:50, 30:50], classes[0, 59] = 1, 2, 3
    found = widths(classes, 5)
    assert 3 <= found[1] <= 5 and 17 <= found[2] <= 21
    assert np.isnan(found[3:]).all() and found[0] > found[1]
    assert np.isnan(width(np.zeros((4, 4), bool))) and width(np.ones((4, 6), bool)) == 4


def test_scales_are_the_published_ones_unless_a_class_is_too_narrow():
    assert fitting_scales(10.0, (240, 320)) == fitting_scales(float("nan"), (240, 320)) == PUBLISHED
    narrow = fitting_scales(3.0, (240, 320))
    assert narrow[:3] == PUBLISHED and (240 * 320 / narrow[3]) ** 0.5 == pytest.approx(
        10.5, rel=0.01
    )
    assert fitting_scales(1.0, (2000, 2000))[3] == 1000
    assert least_area(PUBLISHED) == 0.001 and least_area(narrow) * narrow[3] == 0.25


def drawn_lines(seed, wide=3, side=192):
    """An image with bright lines on noisy dark ground, and where they are."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[:side, :side]
    lines = np.zeros((side, side), dtype=bool)
    for angle in random.uniform(0, np.pi, 6):
        cy, cx = random.uniform(0.2, 0.8, 2) * side
        lines |= np.abs((y - cy) * np.cos(angle) - (x - cx) * np.sin(angle)) <= wide / 2
    image = 0.4 + 0.25 * lines + 0.03 * random.normal(size=(3, side, side))
    return np.clip(image, 0, 1).astype(np.float32), lines


def test_at_fitting_scales_segments_lie_on_more_of_narrow_lines():
    def covered(image, lines, scales):
        found = segment(image, scales, min_area_fraction=least_area(scales))
        share = found.shares(lines.astype(np.int64), 2)[:, 1]
        on = [found.mask(int(i)) for i in np.flatnonzero(share > 0.5)]
        return (np.any(on, axis=0) & lines).sum() / lines.sum() if on else 0.0

    for seed in (0, 1):
        image, lines = drawn_lines(seed)
        scales = fitting_scales(width(lines), lines.shape)
        assert covered(image, lines, scales) > max(0.7, covered(image, lines, PUBLISHED) + 0.15)


def test_regions_of_the_user_are_segments_on_levels_of_their_own():
    own = segment(np.random.default_rng(0).random((3, 24, 32)).astype(np.float32), (5,))
    drawn = np.zeros((24, 32), bool)
    drawn[3:9, 4:20] = True
    found = own.with_regions([None, drawn, np.zeros_like(drawn)])
    assert len(found.maps) == 4 and len(found) == len(own) + 1
    assert found.level[-1] == 2
    np.testing.assert_array_equal(found.mask(len(own)), drawn)
    np.testing.assert_array_equal(found.maps[0], own.maps[0])
    assert found.box[-1].tolist() == [3, 4, 9, 20]
