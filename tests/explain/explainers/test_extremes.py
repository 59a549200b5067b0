"""Every number of every method at the most that may be asked for: a map, or one line."""

import pytest
import torch
from annotated_types import Le, Lt
from pydantic import ValidationError

from conceptseg.catalogue import load, names
from conceptseg.errors import InputError
from conceptseg.explain.regions import Predicted
from conceptseg.explain.target import Target
from tests.explain.explainers.small import SMALL
from tests.strange_models import HEIGHT, WIDTH, images, model_of

CRIMSON = Target(1, Predicted(1))
PASSES = {
    *("batches", "budget", "cells", "designs", "draws", "masks", "max_steps", "pixels"),
    *("repeats", "samples", "seed", "steps"),
}
"""Counts of what is done one after the other: as many as are asked for take their time."""


def greatest(field):
    """The most that a field takes, or what is beyond all use of it."""
    tops = [one.le for one in field.metadata if isinstance(one, Le)]
    tops += [one.lt for one in field.metadata if isinstance(one, Lt)]
    if tops:
        return tops[:1]
    return [1e6, 1e300] if field.annotation is float else [10**6]


CASES = [
    (name, key, value)
    for name in names("explainers")
    for key, field in load("explainers", name).model_fields.items()
    if field.annotation in (int, float) and key not in PASSES
    for value in greatest(field)
]


@pytest.mark.parametrize(("name", "key", "value"), CASES)
def test_the_most_that_may_be_asked_for(name, key, value):
    try:
        explainer = load("explainers", name)(**{**SMALL.get(name, {}), key: value})
        found = explainer(model_of("plain"), images(), CRIMSON)
    except (InputError, ValidationError):
        return
    assert found.shape == (len(images()), HEIGHT, WIDTH)
    assert not torch.isnan(found).any()
