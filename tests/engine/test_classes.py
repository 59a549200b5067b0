"""Classes of the masks and classes of the network: merged, independent, held by no mask."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from conceptseg import catalogue
from conceptseg.config import DataConfig, ModelConfig, Reading, RunConfig, StudyKeys
from conceptseg.engine.contract import Context
from conceptseg.engine.independence import check_background
from conceptseg.engine.reading import outputs_of_labels
from conceptseg.errors import InputError
from conceptseg.network.model import SegmentationModel

OUTPUTS = ("road", "wall", "building", "tree", "void")


def data_of(*classes, background=None):
    used = range(len(classes))
    return SimpleNamespace(
        classes=classes, where="data.yaml", background=background, block=SimpleNamespace(used=used)
    )


def model_of(positive_class=None, **reading):
    return SegmentationModel(
        nn.Conv2d(3, len(OUTPUTS), 1),
        OUTPUTS,
        name="net",
        positive_class=positive_class,
        reading=Reading(**reading),
    )


def test_masks_of_a_merged_class_go_by_its_name_and_by_those_of_its_outputs():
    model = model_of(merge={"house": ("wall", "building")}, drop=("void",))
    data = data_of("Tree", "wall", "house", "building", "road")
    assert outputs_of_labels(data, model) == (2, 1, 1, 1, 0)
    with pytest.raises(InputError, match="masks hold the class 'void', which model 'net' lacks"):
        outputs_of_labels(data_of("road", "void"), model)


def test_masks_of_an_independent_class_and_of_what_lies_within_it():
    model = model_of("building", values="independent", covers={"building": ("wall", "window")})
    data = data_of("ground", "building", "wall", "window", "tree")
    assert outputs_of_labels(data, model) == (0, 1, 1, 1, 0)
    with pytest.raises(InputError, match="no mask can hold the class 'building'"):
        outputs_of_labels(data_of("ground", "car"), model)


@pytest.mark.parametrize(
    ("held", "asked", "studied"),
    [
        (None, (), (0, 1, 2, 3)),
        ({0, 3}, (), (0, 3)),
        ({0, 3}, ("wall",), (1,)),
        ({4}, (), (0, 1, 2, 3)),
    ],
)
def test_classes_that_no_mask_can_hold_cost_nothing(held, asked, studied):
    study = catalogue.load("study", "ace")(
        data=DataConfig(manifest="m.yaml", classes=asked),
        model=ModelConfig(source="factory", name="net"),
    )
    data = data_of(*OUTPUTS, background="void")
    kept = None if held is None else frozenset(held)
    context = Context(model_of(), data, RunConfig(), "0", 0, kept)
    assert study.class_ids(context) == studied


def test_a_network_without_the_background_of_the_data_has_to_say_what_its_outputs_are():
    def study(**keys):
        return StudyKeys(
            data=DataConfig(manifest="m.yaml"),
            model=ModelConfig(source="factory", name="net", **keys),
        )

    data, model = data_of(*OUTPUTS, "ground", background="ground"), model_of()
    with pytest.raises(InputError, match="background 'ground'.*no output.*model.values: indep"):
        check_background(study(), data, model)
    check_background(study(values="logits"), data, model)
    check_background(study(), data_of(*OUTPUTS, background="Void"), model)
    check_background(study(), data_of(*OUTPUTS), model)


def test_a_merged_network_runs():
    model = model_of(values="logits", merge={"house": ("wall", "building")})
    assert model(torch.rand(2, 3, 8, 8)).shape == (2, 4, 8, 8)
