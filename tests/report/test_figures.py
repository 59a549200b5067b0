import io
import json

import numpy as np
import plotly.graph_objects as go
import pytest
from PIL import Image

from conceptseg.report import colours, figures, thumbnails

HOSTILE = "<b>x</b> & <script>"
NAMES = ["one", "two", HOSTILE]
V = np.array([0.1, -0.4, 0.2])
ALL = {
    "heatmap": lambda: figures.heatmap(
        np.outer(V, V),
        NAMES,
        NAMES,
        value_name=HOSTILE,
        significant={"Holm": np.eye(3, dtype=bool), HOSTILE: np.ones((3, 3), bool)},
    ),
    "intervals": lambda: figures.intervals(
        NAMES,
        V,
        V - 0.1,
        V + 0.1,
        value_name=HOSTILE,
        null=(-0.1, 0.1),
        reference=0,
        significant=np.array([True, False, True]),
    ),
    "bars": lambda: figures.bars(
        NAMES, {HOSTILE: V, "two": V}, {HOSTILE: (V - 0.1, V + 0.1)}, value_name=HOSTILE
    ),
    "shares": lambda: figures.stacked_shares(NAMES, {"inside": abs(V), HOSTILE: 1 - abs(V)}),
    "map": lambda: figures.scatter_map(np.stack([V, V], 1), NAMES, x_name=HOSTILE),
    "null": lambda: figures.null_histogram(V, {HOSTILE: 0.3}, value_name=HOSTILE),
    "curves": lambda: figures.curves(
        V, {HOSTILE: V}, {HOSTILE: (V - 1, V + 1)}, x_name=HOSTILE, y_name=HOSTILE
    ),
}


@pytest.mark.parametrize("name", ALL)
def test_every_figure_is_valid_literal_and_repeatable(name):
    figure = ALL[name]()
    assert isinstance(figure, go.Figure)
    text = figure.to_json()
    assert "<b>" not in text and "<script>" not in text  # a user's name is text, not markup
    assert text == ALL[name]().to_json()
    assert figure.layout.height >= 100
    assert '"f8"' not in text  # float32 is ample for the eye
    assert len(text) < 12_000


def test_a_heatmap_is_symmetric_about_its_centre():
    figure = figures.heatmap(np.array([[0.4, 0.9]]), ["r"], ["a", "b"], value_name="", centre=0.5)
    assert figure.data[0].zmin + figure.data[0].zmax == pytest.approx(1.0)
    assert figure.data[0].zmax == pytest.approx(0.9)
    plain = figures.heatmap(np.array([[2.0, 5.0]]), ["r"], ["a", "b"], value_name="", centre=None)
    assert (plain.data[0].zmin, plain.data[0].zmax) == (2, 5)


def test_names_above_the_cells_keep_clear_of_the_bar_of_buttons():
    """The bar is 26 px high (16 and a padding of 5); a scale's title of 26 letters wants 150 px."""
    names = [f"column {n}" for n in range(9)]
    for rows in (["r"], names):
        shown = figures.heatmap(np.ones((len(rows), 9)), rows, names, value_name="IoU change")
        across = figures.intervals(rows, *np.ones((3, len(rows))), value_name="IoU change")
        assert shown.layout.margin.t >= across.layout.margin.t + 26
        assert shown.layout.height - shown.layout.margin.t - shown.layout.margin.b >= 100


def test_a_heatmaps_marks_and_buttons_follow_the_criteria():
    passed = {"strict": np.array([[True, False]]), "loose": np.array([[True, True]])}
    figure = figures.heatmap(
        np.array([[0.1, np.nan]]), ["r"], ["a", "b"], value_name="", significant=passed
    )
    written = [trace for trace in figure.data if trace.meta == "cell text"]
    assert [len(trace.x) for trace in written] == [1]  # the empty cell stays empty
    marks = [
        i
        for i, trace in enumerate(figure.data)
        if trace.type == "scatter" and trace.mode == "markers"
    ]
    assert [len(figure.data[i].x) for i in marks] == [1, 2]
    assert [figure.data[i].visible for i in marks] == [True, False]
    strict, loose = figure.layout.updatemenus[0].buttons
    assert loose.args[0] == {"visible": [False, True]}
    assert list(loose.args[1]) == marks == list(strict.args[1])


def test_a_scale_is_never_narrower_than_what_counts():
    tiny = np.array([[0.0, -4e-4]])
    figure = figures.heatmap(tiny, ["r"], ["a", "b"], value_name="", least=0.02)
    assert (figure.data[0].zmin, figure.data[0].zmax) == (-0.02, 0.02)
    large = figures.heatmap(100 * tiny, ["r"], ["a", "b"], value_name="", least=0.02)
    assert (large.data[0].zmin, large.data[0].zmax) == (-0.04, 0.04)
    ends = (np.array([1e-4]), np.array([-1e-4]), np.array([3e-4]))
    forest = figures.intervals(["r"], *ends, value_name="", least=0.02)
    assert forest.layout.xaxis.range[0] < -0.02 and forest.layout.xaxis.range[1] > 0.02
    assert figures.intervals(["r"], *ends, value_name="").layout.xaxis.range is None


def test_of_more_than_eight_categories_one_can_be_singled_out():
    kinds = [f"k{i}" for i in range(10) for _ in range(i + 1)]
    figure = figures.scatter_map(np.zeros((len(kinds), 2)), kinds)
    colours = [trace.marker.color for trace in figure.data]
    pale = colours[0]
    assert colours[1] == pale and len(set(colours)) == 9  # the two smallest have none of their own
    every, *single = figure.layout.updatemenus[0].buttons
    assert list(every.args[0]["marker.color"]) == colours and len(single) == 10
    only = list(single[3].args[0]["marker.color"])
    assert only.count(pale) == 9 and only[3] != pale
    few = figures.scatter_map(np.zeros((8, 2)), [f"k{i}" for i in range(8)])
    assert not few.layout.updatemenus and len({trace.marker.color for trace in few.data}) == 8


@pytest.mark.parametrize(
    "empty",
    [
        lambda: figures.heatmap(np.zeros((0, 0)), [], [], value_name=""),
        lambda: figures.heatmap(np.full((2, 2), np.nan), NAMES[:2], NAMES[:2], value_name=""),
        lambda: figures.intervals([], [], [], [], value_name=""),
        lambda: figures.scatter_map(np.zeros((0, 2)), []),
        lambda: figures.null_histogram(np.zeros(0), {}, value_name=""),
        lambda: figures.null_histogram(np.zeros(5), 0.0, value_name=""),
    ],
)
def test_nothing_to_draw_is_drawn(empty):
    json.loads(empty().to_json())


def test_intervals_reach_to_their_ends():
    figure = figures.intervals(
        ["a", "b"],
        [0.1, 0.5],
        [0.0, 0.2],
        [0.3, 0.6],
        value_name="",
        significant=np.array([False, True]),
    )
    ends = {}
    for trace in figure.data:
        for y, x, minus, plus in zip(
            trace.y, trace.x, trace.error_x.arrayminus, trace.error_x.array, strict=True
        ):
            ends[int(y)] = (x - minus, x + plus)
    assert ends[0] == pytest.approx((0.0, 0.3))
    assert ends[1] == pytest.approx((0.2, 0.6))


def test_a_long_name_stands_on_two_lines_of_a_higher_row():
    said = "ability: what follows a layer loses a class"
    names = ["short", said, "x" * 90, "a<b " * 9]
    figure = figures.intervals(names, *np.ones((3, 4)), value_name="v")
    short, two, cut, escaped = figure.layout.yaxis.ticktext
    assert short == "short" and two.split("<br>") == [
        "ability: what follows a",
        "layer loses a class",
    ]
    assert cut.count("x") < 52 and "…" in cut and max(map(len, cut.split("<br>"))) <= 26
    assert escaped.replace("<br>", " ").replace("&lt;", "<") == ("a<b " * 9).strip()
    plain = figures.intervals(["short"] * 4, *np.ones((3, 4)), value_name="v")
    assert figure.layout.height == plain.layout.height + 4 * 12


def test_the_map_finds_each_point_again():
    points = np.arange(8.0).reshape(4, 2)
    figure = figures.scatter_map(points, ["b", "a", "b", "a"], order=["a", "b"])
    assert [trace.name for trace in figure.data] == ["a", "b"]
    for trace in figure.data:
        for x, y, data in zip(trace.x, trace.y, trace.customdata, strict=True):
            assert (x, y) == tuple(points[int(data[0])])


def test_the_null_histogram_holds_every_draw_and_shows_the_observed():
    null = np.random.default_rng(0).normal(size=999)
    figure = figures.null_histogram(null, 7.0, value_name="x")
    assert sum(figure.data[0].y) == 999
    low, high = figure.layout.xaxis.range
    assert low < null.min() and high > 7


def srgb_to_oklab(colour):
    """Ottosson's forward definition, the other way from what the package computes."""
    c = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    r, g, b = np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)
    long = (0.4122214708 * r + 0.5363325363 * g + 0.0514459929 * b) ** (1 / 3)
    middle = (0.2119034982 * r + 0.6806995451 * g + 0.1073969566 * b) ** (1 / 3)
    short = (0.0883024619 * r + 0.2817188376 * g + 0.6299787005 * b) ** (1 / 3)
    return np.array(
        [
            0.2104542553 * long + 0.7936177850 * middle - 0.0040720468 * short,
            1.9779984951 * long - 2.4285922050 * middle + 0.4505937099 * short,
            0.0259040371 * long + 0.7827717662 * middle - 0.8086757660 * short,
        ]
    )


def test_scales_are_uniform_and_balance_is_even():
    lab = np.array([srgb_to_oklab(colour) for colour in colours.SCALES["balance"]])
    steps = np.linalg.norm(np.diff(lab, axis=0), axis=1)
    assert steps.max() / steps.min() < 1.35  # rounding to 8 bits included
    np.testing.assert_allclose(lab[:, 0], lab[::-1, 0], atol=0.01)  # both signs equally dark
    lightness = [srgb_to_oklab(colour)[0] for colour in colours.SCALES["cividis"]]
    assert np.all(np.diff(lightness) > 0)


def test_paint_hits_the_ends_the_middle_and_clips():
    painted = colours.paint(np.array([-9.0, -1.0, 0.0, 1.0, 9.0]), -1, 1, "balance")
    as_hex = ["#{:02x}{:02x}{:02x}".format(*row) for row in painted]
    scale = colours.SCALES["balance"]
    assert as_hex == [scale[0], scale[0], scale[16], scale[-1], scale[-1]]


def decode(data):
    with Image.open(io.BytesIO(data)) as picture:
        assert picture.format == "WEBP"
        return np.asarray(picture.convert("RGB")).astype(float)


@pytest.mark.parametrize(
    "channels, shown", [(1, [0, 0, 0]), (2, None), (3, [0, 1, 2]), (5, [0, 1, 2])]
)
def test_any_number_of_channels_is_shown(channels, shown):
    image = np.random.default_rng(0).random((channels, 6, 4))
    rgb = thumbnails.to_rgb(image)
    wanted = np.stack([image.mean(0)] * 3) if shown is None else image[shown]
    np.testing.assert_allclose(rgb.transpose(2, 0, 1) / 255, wanted, atol=0.5 / 255 + 1e-9)
    with pytest.raises(ValueError, match=r"\[c, h, w\]"):
        thumbnails.to_rgb(image[0])


def test_pictures_are_whole_small_and_the_same_each_time():
    image = np.random.default_rng(0).random((3, 300, 600))
    mask = np.zeros((300, 600), bool)
    mask[50:100, 80:200] = True
    assert decode(thumbnails.photo(image, 256)).shape == (128, 256, 3)
    assert decode(thumbnails.photo(image[:, :30, :60], 256)).shape == (30, 60, 3)
    small = thumbnails.outlined(image[:, :30, :60], mask[:30, :60], 256)
    assert decode(small).shape == (120, 240, 3)
    assert thumbnails.outlined(image, mask) == thumbnails.outlined(image, mask)
    with pytest.raises(ValueError, match="mask"):
        thumbnails.outlined(image, mask[:5])


def test_an_outline_is_drawn_on_the_border_and_nowhere_else():
    image = np.full((3, 128, 128), 0.5)
    mask = np.zeros((128, 128), bool)
    mask[32:96, 40:80] = True
    changed = np.abs(decode(thumbnails.outlined(image, mask, 128)) - 128).max(axis=2) > 60
    rows, columns = np.nonzero(changed)
    assert 28 <= rows.min() <= 32 and 95 <= rows.max() <= 99
    assert 36 <= columns.min() <= 40 and 79 <= columns.max() <= 83
    assert not changed[40:88, 48:72].any()


def test_a_line_around_a_thin_region_leaves_it_seen():
    """Strokes of two and three pixels, where a line on the border would hide them; a disc has it
    on its border still."""
    image = np.full((3, 120, 160), 0.5)
    mask = np.zeros((120, 160), bool)
    mask[20:22, 10:150] = mask[30:110, 50:53] = True
    drawn = decode(thumbnails.outlined(image, mask, 160))
    inside, marked = np.abs(drawn - 128).max(axis=2)[mask], np.abs(drawn - 128).max(axis=2) > 60
    assert np.median(inside) < 60 and marked.any()
    near = np.pad(mask, 2)
    near = np.max(
        [np.roll(near, (dy, dx), (0, 1)) for dy in range(-2, 3) for dx in range(-2, 3)], 0
    )
    assert not (marked & ~near[2:-2, 2:-2]).any()
    y, x = np.mgrid[:120, :160]
    disc = np.hypot(y - 60, x - 80) < 40
    on_disc = np.abs(decode(thumbnails.outlined(image, disc, 160)) - 128).max(axis=2) > 60
    assert (on_disc & disc).any() and (on_disc & ~disc).any()


@pytest.mark.parametrize("size", [64, 256, 900])
def test_a_path_around_a_thin_region_leaves_it_seen(size):
    """A stroke of half a hundredth of the picture: the path lies around it, whatever the image's
    size; a block's path lies on its border."""
    from PIL import Image, ImageDraw

    stroke, block = np.zeros((2, size, size), bool)
    stroke[size // 2 : size // 2 + max(1, size // 200), size // 8 : -size // 8] = True
    block[size // 4 : size // 2, size // 4 : size // 2] = True

    def drawn(mask, width):
        picture = Image.new("L", (1000, 1000))
        for part in thumbnails.outline(mask).removesuffix("Z").split("Z"):
            points = [tuple(map(int, xy.split())) for xy in part.removeprefix("M").split("L")]
            ImageDraw.Draw(picture).line([*points, points[0]], fill=255, width=width)
        return np.asarray(picture) > 0

    large = np.asarray(Image.fromarray(stroke).resize((1000, 1000), Image.Resampling.NEAREST))
    line = drawn(stroke, 4)
    if size > 64:  # else one pixel is 4 wide where a picture is shown
        assert line.any() and not (line & large).any()
        rows = np.nonzero(line)[0]
        assert large.any(1).argmax() - rows.min() < 20 > rows.max() - np.nonzero(large)[0].max()
    solid = np.asarray(Image.fromarray(block).resize((1000, 1000), Image.Resampling.NEAREST))
    line = drawn(block, 8)
    assert (line & solid).any() and (line & ~solid).any()


def test_a_map_of_zeros_or_of_nothing_says_so_in_its_picture():
    image = np.full((3, 60, 90), 0.5)
    plain = np.zeros((60, 90))
    plain[3, 4] = 1e-9
    pictures = [
        decode(thumbnails.overlay(image, one, -1, 1, side=180)).astype(int)
        for one in (plain, np.zeros((60, 90)), np.full((60, 90), np.nan))
    ]
    upper, lower = slice(0, 60), slice(-14, None)
    assert np.abs(pictures[1][upper] - pictures[0][upper]).max() < 12
    for drawn in pictures[1:]:
        words = drawn[lower, :90]
        assert words.min() < 20 and words.max() > 200
    assert np.abs(pictures[1] - pictures[2]).max() > 100


@pytest.mark.parametrize(
    ("most", "scale", "words"),
    [(0.04, "balance", True), (0.004, "balance", True), (0.06, "balance", False),
     (0.04, "cividis", False)],
)  # fmt: skip
def test_a_map_that_its_scale_does_not_show_says_how_far_it_goes(most, scale, words):
    """Beside maps that are a hundred times larger, one shows no colour, and is not nothing."""
    image, low = np.full((1, 60, 90), 0.5), {"balance": -2.0, "cividis": 0.0}[scale]
    one = np.zeros((60, 90))
    one[:20] = -2.0 * most if scale == "balance" else 2.0 * most
    picture = decode(thumbnails.overlay(image, one, low, 2.0, scale=scale, side=180)).astype(int)
    corner = picture[-14:, :90]
    assert (corner.min() < 20 and corner.max() > 200) == words


def test_small_shares_of_a_scale_in_words():
    assert thumbnails.faint(0.034) == "up to 3% of scale"
    assert thumbnails.faint(0.0099) == "below 1% of scale"


def test_an_outline_path_encloses_the_regions_area():
    mask = np.zeros((60, 90), bool)
    mask[10:40, 20:70] = True
    mask[20:30, 30:50] = False  # a hole
    mask[50:60, 80:90] = True  # another part, at the corner
    parts = thumbnails.outline(mask)[1:-1].split("ZM")
    areas = []
    for part in parts:
        x, y = np.array([point.split() for point in part.split("L")], float).T / 1000
        areas.append(abs(np.dot(x, np.roll(y, 1)) - np.dot(y, np.roll(x, 1))) / 2 * mask.size)
    wanted = [30 * 50, 10 * 20, 10 * 10]
    np.testing.assert_allclose(sorted(areas), sorted(wanted), rtol=0.03)
    assert thumbnails.outline(np.zeros((5, 5), bool)) == ""
    whole = thumbnails.outline(np.ones((5, 5), bool))
    assert set(whole.replace("M", " ").replace("L", " ").replace("Z", "").split()) >= {"0", "1000"}


def test_an_overlay_keeps_zero_neutral_and_signs_apart():
    image = np.full((1, 16, 16), 0.5)
    signs = np.zeros((16, 16))
    signs[:, :5], signs[:, 11:] = -1, 1
    picture = decode(thumbnails.overlay(image, signs, -1, 1))
    left, middle, right = picture[:, 0].mean(0), picture[:, 8].mean(0), picture[:, -1].mean(0)
    assert np.ptp(middle.mean(0)) < 8
    assert left[..., 2].mean() > left[..., 0].mean()
    assert right[..., 0].mean() > right[..., 2].mean()
    with pytest.raises(ValueError, match="attribution"):
        thumbnails.overlay(image, signs[:3], -1, 1)


def test_the_shared_limit():
    maps = [np.array([[0.0, -3.0]]), np.array([[1.0, 2.0]])]
    assert thumbnails.shared_limit(maps, 1.0) == 3.0
    assert thumbnails.shared_limit([]) == 1.0
    assert thumbnails.shared_limit([np.zeros((2, 2))]) == 1.0
    sparse = np.zeros((1000, 1))
    sparse[0] = 4
    assert thumbnails.shared_limit([sparse], 0.5) == 4.0


def test_a_trade_off_keeps_each_line_s_own_points():
    lines = {"a": (np.array([1.0, 2.0]), np.array([3.0, 4.0])), "<b>": (np.array([5.0]), [6.0])}
    figure = figures.trade_off(lines, x_name="area", y_name="dice")
    assert [trace.name for trace in figure.data] == ["a", "&lt;b&gt;"]
    assert list(figure.data[0].x) == [1, 2] and list(figure.data[0].y) == [3, 4]
    assert list(figure.data[1].x) == [5] and list(figure.data[1].y) == [6]
