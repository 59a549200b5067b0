"""What is noticed of a network's output: of these very images, and of no copy."""

import pytest
import torch

from conceptseg.errors import InputError
from conceptseg.network.watch import Watch
from tests.strange_models import model_of

IDS = ["a", "b", "c"]


def logits(*bad):
    found = torch.zeros(3, 2, 4, 4)
    for place in bad:
        found[place, 1, 2, 3] = torch.inf
    return found


def watched(see):
    with Watch(torch.zeros(3, 1, 4, 4), IDS, "it returns") as watch:
        see(watch)


def test_the_first_image_of_which_anything_is_infinite_is_named():
    with pytest.raises(InputError, match="it returns NaN or infinity for sample 'b'"):
        watched(lambda watch: watch.see(watch._images, logits(1, 2)))
    watched(lambda watch: watch.see(watch._images, logits()))


def test_some_of_the_images_are_told_by_where_they_lie():
    with pytest.raises(InputError, match="sample 'c'"):
        watched(lambda watch: watch.see(watch._images[1:], logits(0, 2)[1:]))
    with pytest.raises(InputError, match="sample 'b'"):
        watched(lambda watch: watch.see(watch._images[1:2], logits(1)[1:2]))


@pytest.mark.parametrize("other", [torch.clone, lambda x: x[:, :, ::2], lambda x: x.double()])
def test_copies_and_other_images_do_not_count(other):
    watched(lambda watch: watch.see(other(watch._images), logits(0, 1, 2)))


def test_what_fails_for_that_reason_is_told_with_it_and_all_else_as_it_is():
    def fails(watch, bad):
        watch.see(watch._images, logits(*bad))
        raise ValueError("cannot convert NaN")

    with pytest.raises(InputError, match="sample 'a'"):
        watched(lambda watch: fails(watch, [0]))
    with pytest.raises(ValueError, match="cannot convert"):
        watched(lambda watch: fails(watch, []))


def test_a_network_is_watched_for_a_while():
    model, images = model_of("plain"), torch.rand(3, 3, 24, 32)
    with torch.no_grad():
        model.module.head.bias[0] = torch.nan
        told = pytest.raises(InputError, match="returns NaN or infinity for sample 'a'")
        with told, model.watching(images, IDS):
            model(images)
        with model.watching(images, IDS):
            model(images.clone())
        assert model(images).isnan().any()
