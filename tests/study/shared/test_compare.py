"""Local saliency maps beside a study's result are those of the explainers themselves."""

import io

import numpy as np
import pytest
import torch
from PIL import Image
from pydantic import ValidationError

from conceptseg import catalogue
from conceptseg.engine.known import Known
from conceptseg.explain.contract import Explainer
from conceptseg.explain.methods import explainers
from conceptseg.explain.regions import Predicted
from conceptseg.explain.target import Target
from conceptseg.stats.mergeable.sample_table import SampleTable
from conceptseg.study.shared.compare import CHOSEN, COMPARISON, MAPS, Compare
from tests.explain.explainers.planted import red_finder, two_red_squares
from tests.study.ace.small import batch, context
from tests.toys import toy

METHODS = ("seg_grad_cam", "seg_hires_grad_cam")
PAIRS = (("s02", 1), ("s00", 1), ("s02", 0))


def compare(here, entries, chosen, parts, between=lambda table: table):
    """What the pass gives for the batches of `parts`; the state is put through `between`."""
    one, state = Compare(entries, picture_px=48), Known()
    known = CHOSEN(tuple(chosen))
    with one.open(here, known) as opened:
        known |= opened
        for part in parts:
            state = state.merge(one.map(here, part, known))
        if parts:
            state = MAPS(between(state[MAPS]))
        return one.finish(here, state, known)[COMPARISON]


def again(table):
    return SampleTable.from_arrays(table.to_arrays())


def pictures() -> torch.Tensor:
    return torch.cat([two_red_squares() * scale for scale in (1.0, 0.9, 0.8)])


@pytest.fixture(scope="module")
def done():
    model, images = red_finder(), pictures()
    here = context(model, images, "encoder")
    chosen = Compare(METHODS).samples(here, CHOSEN(PAIRS))
    rows = [int(sample.id[1:]) for sample in reversed(chosen)]
    parts = [batch(images[i : i + 1], first=i) for i in rows]
    return model, images, chosen, compare(here, METHODS, PAIRS, parts, again)


def test_only_the_chosen_images_are_visited(done):
    assert [sample.id for sample in done[2]] == ["s00", "s02"]


def test_maps_are_the_explainers_own_in_the_order_chosen(done):
    model, images, _, found = done
    assert found.chosen == PAIRS and found.methods == METHODS
    for method in METHODS:
        explainer = catalogue.load("explainers", method)(layer="encoder")
        for (sample_id, class_id), one in zip(PAIRS, found.maps[method], strict=True):
            x = images[int(sample_id[1:]) :][:1]
            expected = explainer(model, x, Target(class_id, Predicted(class_id)))[0]
            assert np.allclose(one, expected.numpy(), atol=1e-7)
            assert one.shape == (16, 24)


def test_the_planted_squares_are_what_the_maps_show(done):
    red = torch.zeros(16, 24, dtype=torch.bool)
    red[4:10, 2:6] = red[4:10, 16:20] = True
    for method in METHODS:
        one = torch.from_numpy(done[3].maps[method][1])
        assert one[red].min() > one[~red].max() - 1e-6


def test_the_pictures_of_a_method_share_its_scale(done):
    found = done[3]
    for method in METHODS:
        values = np.abs(np.concatenate([one.ravel() for one in found.maps[method]]))
        assert found.limits[method] == pytest.approx(np.quantile(values, 0.995))


def test_every_picture_shows_the_whole_image(done):
    found = done[3]
    for data in [*found.plain, *found.pictures[METHODS[0]], *found.pictures[METHODS[1]]]:
        assert Image.open(io.BytesIO(data)).size == (48, 32)
    assert len(found.plain) == len(found.pictures[METHODS[0]]) == 3


def test_nothing_chosen_is_nothing_shown():
    here = context(red_finder(), pictures(), "encoder")
    assert Compare(METHODS).samples(here, CHOSEN(())) == []
    found = compare(here, METHODS, (), [])
    assert found.chosen == () and found.plain == [] and found.maps[METHODS[0]] == []


def test_images_may_differ_in_size():
    """One of another size changes nothing of the rest; the state is saved and read between."""
    model, images = red_finder(), pictures()
    here = context(model, images, "encoder")
    wide = images[:1].repeat(1, 1, 2, 1)
    parts = [batch(wide), batch(images[1:2], first=1)]
    found = compare(here, METHODS, [("s00", 1), ("s01", 1)], parts, again)
    expected = compare(here, METHODS, [("s01", 1)], parts[1:])
    for method in METHODS:
        assert [m.shape for m in found.maps[method]] == [(32, 24), (16, 24)]
        assert np.array_equal(found.maps[method][1], expected.maps[method][0])


class Bright(Explainer):
    """Has no layer."""

    def attribute(self, scene, targets):
        return scene.images.mean(1)[None].expand(len(targets), -1, -1, -1)


def test_a_method_without_a_layer_is_not_given_one(monkeypatch):
    monkeypatch.setattr(catalogue, "load", lambda kind, name: Bright)
    images = pictures()
    here = context(red_finder(), images, "encoder")
    found = compare(here, ("bright",), [("s00", 1)], [batch(images[:1])])
    assert np.allclose(found.maps["bright"][0], images[0].mean(0), atol=1e-6)


def test_methods_may_be_given_parameters_and_names_are_kept_apart():
    entries = (
        "seg_grad_cam",
        {"kind": "seg_hires_grad_cam", "relu": False},
        {"kind": "seg_grad_cam", "relu": False, "layer": "tail"},
    )
    found = explainers(entries, "encoder")
    assert list(found) == [
        "seg_grad_cam",
        "seg_hires_grad_cam",
        "seg_grad_cam (relu False, layer tail)",
    ]
    assert [(one.layer, one.relu) for one in found.values()] == [
        ("encoder", True),
        ("encoder", False),
        ("tail", False),
    ]


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("seg_grad_camp", "unknown explainer 'seg_grad_camp'.*seg_grad_cam"),
        ({"kind": "seg_grad_cam", "rely": True}, "unknown key 'rely'.*relu"),
        ({"relu": True}, "give `kind`"),
        ({"kind": "seg_grad_cam", "relu": "perhaps"}, "relu"),
    ],
)
def test_what_a_study_refuses_to_compare(entry, message):
    with pytest.raises(ValidationError, match=message):
        toy(compare=[entry])
