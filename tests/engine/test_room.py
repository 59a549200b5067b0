"""How many images go through at once follows from what one of them keeps."""

import pytest
import torch
from torch import nn

from conceptseg.engine import room
from conceptseg.errors import InputError
from tests.small_models import hooks, images, unet, wrapped


class Chain(nn.Module):
    """Convolutions whose inputs alone are kept for the gradient: float32 of known sizes."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 16, 3, padding=1), nn.Conv2d(16, 3, 1)

    def forward(self, x):
        return self.second(self.first(x))


def test_what_a_pass_keeps_is_what_its_layers_are_given():
    model = wrapped(Chain())
    x = images(1, 20, 30)
    assert room.activation_bytes(model, x) == 4 * 20 * 30 * (3 + 16)
    assert room.activation_bytes(model, images(1, 40, 60)) == 4 * 4 * 20 * 30 * (3 + 16)
    assert hooks(model) == 0 and all(p.grad is None for p in model.parameters())


def test_weights_that_are_made_in_the_first_pass_are_not_counted_either():
    lazy = wrapped(nn.Sequential(nn.LazyConv2d(16, 3, padding=1), nn.LazyConv2d(3, 1)))
    x = images(1, 20, 30)
    assert room.activation_bytes(lazy, x) == room.activation_bytes(wrapped(Chain()), x)
    unused = Chain()
    unused.spare = nn.LazyLinear(4)  # never run, and so never made
    assert room.activation_bytes(wrapped(unused), x) == 4 * 20 * 30 * (3 + 16)


def test_the_batch_is_what_fits_and_never_none(monkeypatch):
    model, x = unet(), images(1)
    each = room.activation_bytes(model, x)
    assert each > x.numel() * 4
    for times, expected in ((0.5, 1), (3.2, 3), (100, 8)):
        monkeypatch.setattr(room, "ROOM", int(times * each))
        assert room.batch_size(model, x) == expected


@pytest.mark.parametrize("free, expected", [(1.0, 1), (10.0, 4), (1e6, 32)])
def test_on_a_device_what_is_free_decides(monkeypatch, free, expected):
    model, x = unet(), images(1)
    each = room.activation_bytes(model, x)
    monkeypatch.setattr(room, "activation_bytes", lambda model, image: each)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (int(free * each), 0))

    class There:
        device = torch.device("cuda")

    assert room.batch_size(model, There()) == expected


def test_an_image_that_would_not_fit_is_refused_before_it_is_run(monkeypatch):
    model, image = wrapped(Chain()), images(1, 40, 60)
    monkeypatch.setattr(room, "LARGE", 1000)
    monkeypatch.setattr(room, "PROBE", 16)
    needed = room.activation_bytes(model, image)
    sizes = []
    model.module.register_forward_hook(lambda module, given, made: sizes.append(made.shape[2:]))
    monkeypatch.setattr(room, "available", lambda: needed)
    room.check_image(model, image)
    monkeypatch.setattr(room, "available", lambda: needed - 1)
    with pytest.raises(InputError, match="an image of 40 x 60 pixels would keep about 0.0 GiB"):
        room.check_image(model, image)
    assert set(sizes) == {(16, 16)}
    room.check_image(wrapped(Chain()), images(1, 20, 30))  # small ones are not asked
    scaled = wrapped(Chain())
    scaled.preprocessing = scaled.preprocessing.model_copy(update={"size": (8, 8)})
    room.check_image(scaled, image)


def test_what_is_free_is_told_by_the_system():
    free = room.available()
    assert free is None or 2**20 < free < 2**50
