"""Local saliency maps beside a study's result are those of the explainers themselves."""

import io
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from pydantic import ValidationError

from conceptseg import catalogue
from conceptseg.catalogue import Unsuited
from conceptseg.engine.contract import left_out
from conceptseg.engine.known import Known
from conceptseg.errors import InputError
from conceptseg.explain.contract import Explainer
from conceptseg.explain.methods import explainers
from conceptseg.explain.regions import Predicted
from conceptseg.explain.target import Target
from conceptseg.stats.mergeable.sample_table import SampleTable
from conceptseg.study.shared.compare import CHOSEN, COMPARISON, MAPS, Compare
from conceptseg.study.shared.compare import METHODS as KEPT
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
    assert not Compare(METHODS).samples(here, CHOSEN(()))
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


def test_all_entries_that_are_wrong_are_told_at_once_each_by_its_name():
    """An unknown key, a value out of bounds and one that no field allows, in a long list."""
    entries = [
        "grad_pam",
        {"kind": "rise", "mask": 4},
        "edge_filter",
        {"kind": "seg_sobol", "samples": 33},
        {"kind": "shap", "cells": 0},
        "seg_grad_cm",
    ]
    with pytest.raises(ValidationError) as refused:
        toy(compare=entries)
    text = refused.value.errors()[0]["msg"]
    for words in (
        "rise: unknown key 'mask'; did you mean 'masks'",
        "seg_sobol: samples is 33: a power of two is needed, take 32 or 64",
        "shap: cells is 0: Input should be greater than or equal to 1",
        "unknown explainer 'seg_grad_cm'",
    ):
        assert words in text
    assert "grad_pam:" not in text and "\n" not in text


def test_a_method_that_fails_on_a_chosen_image_is_left_out_and_the_others_stay(monkeypatch):
    load = catalogue.load
    monkeypatch.setattr(
        catalogue, "load", lambda k, name: Picky if name == "edge_filter" else load(k, name)
    )
    images = pictures()
    here = context(red_finder(), images, "encoder")
    entries = ("edge_filter", "seg_grad_cam")
    one, known = Compare(entries, picture_px=48), CHOSEN((("s00", 1), ("s02", 1)))
    with one.open(here, known) as opened:
        known |= opened
        state = MAPS(one.map(here, batch(images[[0]]), known)[MAPS])
        state = state.merge(one.map(here, batch(images[[2]], first=2), known))
        found = one.finish(here, MAPS(again(state[MAPS])), known)
    assert found[COMPARISON].methods == ("seg_grad_cam",)
    (row,) = found[left_out("compare")]
    assert (row["method"], row["sample"]) == ("edge_filter", "s02")
    assert row["reason"] == "this image is too dark"


def test_methods_that_do_not_suit_the_network_are_not_asked():
    here = context(red_finder(), pictures(), "encoder")
    here = replace(here, unsuited=(Unsuited("seg_grad_cam", "seg_grad_cam", "because"),))
    with Compare(METHODS).open(here, Known()) as opened:
        assert list(opened[KEPT]) == ["seg_hires_grad_cam"]


class Picky(Explainer):
    """Refuses dark images."""

    def attribute(self, scene, targets):
        if float(scene.images.max()) < 0.85:
            raise InputError("this image is too dark")
        return scene.images.mean(1)[None].expand(len(targets), -1, -1, -1)
