"""The network that has forgotten: same values, other places."""

import torch

from conceptseg.network.shuffle import shuffled
from conceptseg.study.ace import control
from tests.small_models import hooks, images, unet


def test_each_weight_keeps_its_values_in_another_order():
    model = unet()
    before = model.state_dict()
    other = shuffled(model, 0)
    moved = 0
    for name, value in other.named_parameters():
        if value.dim() == 1:
            assert torch.equal(value, before[name]), "biases and norms stay"
            continue
        assert torch.equal(value.flatten().sort().values, before[name].flatten().sort().values)
        moved += not torch.equal(value, before[name])
    assert moved > 10
    assert all(torch.equal(value, before[name]) for name, value in other.named_buffers())


def test_the_permutation_is_a_seed_s_randperm():
    """By hand, parameter after parameter."""
    model, generator = unet(), torch.Generator().manual_seed(5)
    for before, after in zip(model.parameters(), shuffled(model, 5).parameters(), strict=True):
        if before.dim() > 1:
            order = torch.randperm(before.numel(), generator=generator)
            assert torch.equal(before.flatten()[order], after.flatten())


def test_the_same_as_ace_s_control():
    model = unet()
    ours, theirs = shuffled(model, 3).state_dict(), control.shuffled(model, 3).state_dict()
    assert all(torch.equal(ours[key], theirs[key]) for key in theirs)


def test_the_seed_decides():
    model = unet()
    one, again, other = (shuffled(model, seed).module.head.weight for seed in (0, 0, 1))
    assert torch.equal(one, again) and not torch.equal(one, other)


def test_network_and_random_state_are_left_alone():
    model, x = unet(), images(2, 32, 32)
    with torch.no_grad():
        before = model(x)
    torch.manual_seed(4)
    expected = torch.rand(1)
    torch.manual_seed(4)
    other = shuffled(model, 0)
    assert torch.equal(torch.rand(1), expected)
    with torch.no_grad():
        assert torch.equal(model(x), before)
        assert not torch.allclose(other(x), before, atol=1e-2)
    assert hooks(model) == hooks(other) == 0


def test_a_copy_made_in_inference_mode_can_be_differentiated():
    model = unet()
    with torch.inference_mode():
        other = shuffled(model, 0)
    x = images(1, 16, 16).requires_grad_()
    other(x).sum().backward()
    assert x.grad.abs().max() > 0
