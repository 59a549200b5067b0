import pytest
import torch
from torch import nn

from conceptseg.errors import InputError
from conceptseg.network.record import Tail
from conceptseg.network.replay import swapped_forwards
from tests.small_models import hooks, images, seeded, wrapped


def test_a_forward_of_the_instance_s_own_comes_back():
    first, second = nn.ReLU(), nn.ReLU()
    own = lambda x: x - 1  # noqa: E731
    first.forward = own
    with pytest.raises(KeyError), swapped_forwards({first: torch.neg, second: torch.neg}):
        assert first(torch.ones(1)).item() == second(torch.ones(1)).item() == -1
        raise KeyError
    assert first.forward is own and second(torch.ones(1)).item() == 1
    assert hooks(second) == 0


class Fickle(nn.Module):
    """Takes another path every time."""

    def __init__(self):
        super().__init__()
        self.one, self.two, self.layer = (nn.Conv2d(3, 3, 1) for _ in range(3))
        self.turn = 0

    def forward(self, x):
        self.turn += 1
        return self.layer(self.one(x) if self.turn % 2 else self.two(x))


def test_another_path_is_noticed():
    model = wrapped(seeded(Fickle))
    tail = Tail.of(model, images(), "layer")
    with pytest.raises(InputError, match="took another path"):
        tail.resume(tail.activation)
    assert hooks(model) == 0
