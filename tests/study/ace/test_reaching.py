"""Whether a layer acts far enough for a use from context to be shown, and which one does."""

import dataclasses
from types import SimpleNamespace

import pytest
import torch

from conceptseg.network.choice import chosen
from conceptseg.network.reach import with_reach
from conceptseg.study.ace import reaching
from tests.network.test_choice import blocks
from tests.network.test_reach import Smeared
from tests.small_models import wrapped


@pytest.fixture
def asked(monkeypatch):
    """What is said of a layer of a network whose layers act two pixels far, with a ring around
    classes as wide as given."""
    model = wrapped(Smeared(1.0), 2, 1)
    choice = with_reach(chosen(model, blocks(), layer="head"), model, blocks())
    monkeypatch.setattr(reaching, "first_images", lambda manifest, run: torch.zeros(1, 1, 32, 32))

    def about(layer, ring, **reaches):
        weighed = {
            name: dataclasses.replace(one, reach=reaches.get(name, one.reach))
            for name, one in choice.weighed.items()
        }
        own = dataclasses.replace(choice, weighed=weighed)
        monkeypatch.setattr(reaching, "ring_px", lambda size: ring)
        return reaching.about_reach(
            SimpleNamespace(choice=own, layer=layer, manifest=None, run=None)
        )

    return about


def test_a_layer_that_acts_farther_than_the_ring_needs_no_word(asked):
    assert asked("deep", 1) == []


def test_one_that_acts_hardly_farther_is_not_named(asked):
    ((_, text),) = asked("head", 5, mid=10.0)
    assert text.endswith("no use from context could be shown here")


def test_of_one_that_does_not_another_is_named_that_does(asked):
    ((what, text),) = asked("head", 5, mid=20.0)
    assert what == "context"
    assert "behind head a position acts on pixels 2 px away at most, and 5 px around" in text
    assert "--set layer=mid`, from where a position acts on pixels 20 px away" in text
    assert "worth 1.00 to the decision, 1.00 here" in text


def test_where_no_layer_does_none_is_named(asked):
    ((_, text),) = asked("deep", 5)
    assert text.endswith("no use from context could be shown here")


def test_nothing_is_said_of_what_was_not_measured(asked):
    assert asked("deep", 5, deep=None) == [] == asked("no such layer", 5)
    nothing = SimpleNamespace(choice=None, layer="deep", manifest=None, run=None)
    assert reaching.about_reach(nothing) == [] and reaching.outside_layer(nothing, 5) is None


def test_the_layer_itself_is_no_other():
    model = wrapped(Smeared(1.0), 2, 1)
    choice = with_reach(chosen(model, blocks()), model, blocks())
    name = choice.from_outside(0)
    context = SimpleNamespace(choice=choice, layer=name)
    assert name is not None and reaching.outside_layer(context, 0) is None
    assert reaching.outside_layer(SimpleNamespace(choice=choice, layer="head"), 0)["layer"] == name
