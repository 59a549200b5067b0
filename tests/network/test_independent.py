"""Independent classes share one network, and each is what it is alone."""

import pytest
import torch

from conceptseg.config import Reading
from conceptseg.errors import InputError
from conceptseg.network.independent import every, only, pair
from conceptseg.network.model import SegmentationModel
from tests.strange_models import ANY, Overlapping, images, model_of

YES_OR_NO = Reading(values="independent")


def network(name):
    return SegmentationModel(Overlapping(), ANY, reading=YES_OR_NO, positive_class=name)


@pytest.mark.parametrize("name", ANY)
def test_one_of_them_is_the_network_that_is_told_to_study_it(name):
    first = network("any")
    first.settle(images())
    one, alone = only(first, name), network(name)
    assert one.classes == alone.classes == (f"not {name}", name)
    assert torch.equal(one(images()), alone(images()))
    assert one.fingerprint() == alone.fingerprint()
    assert one.module is first.module and first.classes == ("not any", "any")


def test_all_of_them_come_out_of_one_pass():
    first = network("any")
    first.settle(images())
    calls = []
    first.module.register_forward_hook(lambda *_: calls.append(1))
    logits = every(first)(images())
    assert len(calls) == 1 and logits.shape == (2, 3, 24, 32)
    for place, name in enumerate(ANY):
        found = pair(only(first, name), logits)
        assert torch.equal(found, network(name)(images()))
        assert torch.equal(found[:, 1], logits[:, place]) and not found[:, 0].any()


def test_a_network_of_one_of_many_is_itself():
    plain = model_of("plain")
    logits = plain(images())
    assert every(plain) is plain and pair(plain, logits) is logits


def test_an_unknown_class_is_refused():
    with pytest.raises(InputError, match="model.positive_class: no class 'crimsn'.*crimson"):
        only(network("any"), "crimsn")
