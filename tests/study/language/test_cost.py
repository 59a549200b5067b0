"""What `check` foretells of learning languages."""

import pytest
import torch

from conceptseg.config import DataConfig, ModelConfig
from conceptseg.study.language.config import Language
from tests.small_models import images, unet
from tests.study.ace.small import context


def study(**changes):
    fields = {
        "data": DataConfig(manifest="none.yaml"),
        "model": ModelConfig(source="factory", name="none"),
    }
    return Language(**{**fields, "min_objects": 20, "vocabulary": 3, "grid": 4, **changes})


def test_learning_is_foretold_and_grows_with_its_seeds_and_steps():
    here = context(unet(), images(4, 32, 32), "mid")
    found = {one.what: one for one in study().work(here, (8, 4, 4))}
    assert found.keys() == {"learning of languages", "codes beside languages"}
    for one in found.values():
        one.one()
    more = {one.what: one for one in study(seeds=10, steps=600).work(here, (8, 4, 4))}
    assert more["learning of languages"].count == 4 * found["learning of languages"].count
    assert more["codes beside languages"].count == 2 * found["codes beside languages"].count


def test_more_objects_than_are_timed_cost_in_proportion(monkeypatch):
    here = context(unet(), torch.zeros(12, 3, 32, 32), "mid")
    whole = study().work(here, (8, 4, 4))[0].count
    monkeypatch.setattr("conceptseg.study.language.cost.ROWS", 24)
    assert study().work(here, (8, 4, 4))[0].count == pytest.approx(3 * whole)
