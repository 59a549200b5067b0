"""Outputs read as classes: merged, dropped, independent."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from conceptseg.config import Reading
from conceptseg.errors import InputError
from conceptseg.network.interpret import Interpretation
from conceptseg.network.model import SegmentationModel

NAMES = ("road", "wall", "building", "tree", "void")
Z = torch.randn(2, 5, 6, 7, generator=torch.Generator().manual_seed(1)).mul(4)


class Maps(nn.Module):
    """Puts out its weights, whatever the image."""

    def __init__(self, maps):
        super().__init__()
        self.maps = nn.Parameter(maps)

    def forward(self, x):
        return self.maps[: x.shape[0]].clone() + 0 * x[:, :1]


def model_of(maps, names=NAMES, positive_class=None, **reading):
    return SegmentationModel(
        Maps(maps), names, positive_class=positive_class, reading=Reading(**reading)
    )


IMAGES = torch.rand(2, 3, 6, 7)


def test_classes_are_merged_and_dropped_in_order():
    model = model_of(Z, merge={"house": ("building", "wall")}, drop=("void",))
    assert model.classes == ("road", "house", "tree")
    p, found = Z[:, :4].softmax(1), model(IMAGES).softmax(1)
    torch.testing.assert_close(found, torch.stack((p[:, 0], p[:, 1] + p[:, 2], p[:, 3]), 1))
    assert model.interpretation.names_of(1) == ("house", "wall", "building")
    assert model.fingerprint() != model_of(Z).fingerprint()


def test_probabilities_are_added_too():
    p = Z.softmax(1)
    found = model_of(p, merge={"wall": ("wall", "tree")})(IMAGES).softmax(1)
    torch.testing.assert_close(found[:, 1], p[:, 1] + p[:, 3])


@pytest.mark.parametrize(
    ("reading", "words"),
    [
        ({"merge": {"house": ("wal", "tree")}}, "model.merge: .*no output 'wal'; did you mean"),
        ({"drop": ("sky",)}, "model.drop: .*no output 'sky'"),
        ({"merge": {"a": ("wall",), "b": ("wall",)}}, "'wall' is named twice"),
        ({"merge": {"a": ("wall",)}, "drop": ("wall",)}, "'wall' is named twice"),
        ({"merge": {"road": ("wall", "tree")}}, "'road' is an output of its own"),
        ({"merge": {"all": NAMES[:4]}, "drop": ("void",)}, "leave one class"),
        ({"values": "independent"}, "positive_class: road, wall"),
    ],
)
def test_what_cannot_be_read_is_refused(reading, words):
    with pytest.raises(InputError, match=words):
        Interpretation(NAMES, Reading(**reading), None)


@pytest.mark.parametrize(
    ("values", "maps"), [("independent", Z), ("independent_probabilities", Z.sigmoid())]
)
def test_an_independent_class_is_a_yes_or_no_of_its_own(values, maps):
    for place, name in enumerate(NAMES):
        model = model_of(maps, positive_class=name, values=values)
        assert model.classes == (f"not {name}", name)
        logits = model(IMAGES)
        torch.testing.assert_close(logits.softmax(1)[:, 1], Z[:, place].sigmoid())
        assert torch.equal(logits.argmax(1) == 1, Z[:, place] > 0)


def test_independent_classes_are_neither_merged_nor_dropped():
    with pytest.raises(InputError, match="independent classes need neither"):
        Interpretation(NAMES, Reading(values="independent", drop=("void",)), "road")


def test_each_class_of_an_independent_head_has_a_fingerprint_of_its_own():
    prints = {
        model_of(Z, positive_class=name, values="independent").fingerprint() for name in NAMES
    }
    assert len(prints) == len(NAMES)


def test_the_part_that_is_asked_for():
    class Two(Maps):
        def forward(self, x):
            one = super().forward(x)
            return [one, -one]

    with pytest.raises(InputError, match=r"model 'toy'.*0: .*; 1: .*model.output"):
        SegmentationModel(Two(Z), NAMES, name="toy")(IMAGES)
    last = SegmentationModel(Two(Z), NAMES, reading=Reading(output="last"))
    torch.testing.assert_close(last(IMAGES), -Z)
    assert (last.interpretation.taken.where, last.interpretation.numbers.values) == ("1", "logits")


def test_folded_queries_are_one_class_for_each_pixel():
    class Queries(nn.Module):
        def forward(self, x):
            return {"logits": torch.zeros(len(x), 3, 6), "pred_masks": x[:, :3]}

    plain = SegmentationModel(Queries(), NAMES)
    assert plain(IMAGES).shape == (2, 5, 6, 7)
    with pytest.raises(InputError, match="folded to logarithms of sums over queries.*key out"):
        model = SegmentationModel(
            Queries(), NAMES, positive_class="tree", reading=Reading(values="independent")
        )
        model(IMAGES)


class Bright(nn.Module):
    """One number per pixel, from how bright it is; `made` makes maps of it."""

    def __init__(self, made):
        super().__init__()
        self.made = made

    def forward(self, x):
        return self.made(8 * x.mean(1, keepdim=True) - 4)


def bright(*sides):
    """A dark image for each number, a bright square of that many pixels in it."""
    images = torch.zeros(len(sides), 3, 16, 16)
    for image, side in zip(images, sides, strict=True):
        image[:, :side, 2 : 2 + side] = 1
    return images


def cut_off(z):
    with torch.no_grad():
        return (z / 8 + 0.5).clamp(0, 1)


@pytest.mark.parametrize("first", [(0,), (0, 7), (0, 0, 5)])
def test_a_blank_first_image_does_not_decide_what_numbers_are(first):
    model = SegmentationModel(Bright(cut_off), ("dark", "bright"))
    with pytest.raises(InputError, match="a logit, or a probability already.*model.values"):
        for images in (bright(*first), bright(7)):
            model(images)
    told = SegmentationModel(
        Bright(cut_off), ("dark", "bright"), reading=Reading(values="probabilities")
    )
    assert int(told(bright(0, 7)).argmax(1).sum()) == 49


def test_logits_after_a_blank_image_are_logits():
    model = SegmentationModel(Bright(lambda z: 5 * (z + 4).relu()), ("dark", "bright"))
    assert int(model(bright(0)).argmax(1).sum()) == 0
    assert int(model(bright(7)).argmax(1).sum()) == 49
    assert model.interpretation.numbers.evidence == "numbers from 0 to 40"


@pytest.mark.parametrize("made", [F.hardsigmoid, F.logsigmoid, torch.sigmoid])
def test_the_last_step_tells_of_a_blank_image_too(made):
    model = SegmentationModel(Bright(made), ("dark", "bright"))
    assert int(model(bright(0)).argmax(1).sum()) == 0
    with torch.no_grad():
        assert int(model(bright(7, 3)).argmax(1).sum()) == 49 + 9


def test_a_finer_map_of_something_else_is_found_out_after_a_blank_image():
    def two(z):
        edges = F.max_pool2d(z, 3, 1, 1) - z - 1
        return F.avg_pool2d(torch.cat([-z, z], 1), 2), torch.cat([-edges, edges], 1)

    model = SegmentationModel(Bright(two), ("dark", "bright"))
    model(bright(0))
    with pytest.raises(InputError, match="kappa .*model.output, such as 1 or 0"):
        model(bright(8))
    chosen = SegmentationModel(Bright(two), ("dark", "bright"), reading=Reading(output=0))
    assert int(chosen(bright(8)).argmax(1).sum()) == 64


def test_heads_of_several_sizes_that_agree_are_read_by_the_finest():
    def heads(z):
        z = torch.cat([-z, z], 1)
        return [z, F.avg_pool2d(z, 2), F.avg_pool2d(z, 4)]

    model = SegmentationModel(Bright(heads), ("dark", "bright"))
    assert int(model(bright(0, 7)).argmax(1).sum()) == 49
    assert model.interpretation.taken.rule == "the finest of 3"


def test_another_part_of_a_further_output_is_refused():
    def fixed(z):
        z = torch.cat([-z, z], 1)
        return [z, F.interpolate(z, (20, 20))]

    model = SegmentationModel(Bright(fixed), ("dark", "bright"))
    assert int(model(F.pad(bright(7), (0, 8, 0, 8))).argmax(1).sum()) == 49
    with pytest.raises(
        InputError, match="of 16 x 16 1 would be .* the first 0 was: .*model.output"
    ):
        model(bright(7))
