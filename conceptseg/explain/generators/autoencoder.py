"""Autoencoder: an image and the latent code of a small network that was fitted to such images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from conceptseg.catalogue import technique
from conceptseg.explain.generate import WHOLE, Code, Generator, Group, Subject
from conceptseg.explain.noise import generator

RATE = 3e-3


@technique(family="learnt", source="OCTET's question (Zemni et al. 2023) without its generator")
class Autoencoder(Generator):
    """The image plus what a change of a latent code makes of it.

        x' = x + D(E(x) + reach s t) - D(E(x)),  |t| <= 1,

    E and D a convolutional encoder and decoder fitted to the images by the squared error of pixels
    and of differences between neighbours, s [z] the deviation of each latent channel over the data.
    Zero parameters give the image bit for bit, but what the decoder cannot draw cannot be edited
    either: `recovered` is D(E(x)), and where the segmenter does not see in it what it sees in the
    image, edits mean nothing. One group, since a latent code has no parts with names.

    A code of 1/8 of the side holds no texture: of textured scenes of 64 px, whose network tells a
    3 from a 9 by the texture beside it, predictions keep a Dice of 0.00 of what it recovers; of
    this one 0.95 (60 scenes apart from the 200 of the fit, which takes 53 s of one core). So the
    code is large, and edits of it are hardly bound to what images look like.

    Not OCTET: no objects, no style, nothing that makes edits realistic.
    """

    halvings: int = Field(2, ge=1, le=6, description="Halvings of the side down to the code.")
    channels: int = Field(12, ge=1, le=256, description="Channels of the latent code.")
    width: int = Field(48, ge=4, le=256, description="Channels of the layers.")
    steps: int = Field(1500, ge=1, description="Steps of the fit.")
    batch: int = Field(16, ge=1, description="Images of a step.")
    reach: float = Field(2.0, gt=0, description="Largest change of a latent value, in deviations.")

    @property
    def fitted(self) -> bool:
        return True

    def fit(self, images: Sequence[Tensor], seed: int) -> dict[str, Tensor]:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            net = _Net(self, images[0].shape[0]).to(images[0])
        every = torch.stack(list(images))
        optimiser = torch.optim.Adam(net.parameters(), lr=RATE)
        fall = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, self.steps)
        with torch.inference_mode(False), torch.enable_grad():
            for step in range(self.steps):
                source = generator(seed, "autoencoder", step)
                rows = torch.randint(len(every), (self.batch,), generator=source)
                x = every[rows].clone()
                cost = _apart(net.decoded(net.encoded(x), x.shape[2:]), x)
                optimiser.zero_grad()
                cost.backward()
                optimiser.step()
                fall.step()
        with torch.no_grad():
            codes = torch.cat([net.encoded(part) for part in every.split(self.batch)])
        spread = codes.transpose(0, 1).flatten(1).std(1)
        return {"spread": spread, **{f"net.{k}": v.detach() for k, v in net.state_dict().items()}}

    def encode(self, subject: Subject, fitted: Mapping[str, Tensor]) -> Code:
        return _Latent(self, subject, fitted)


def _apart(drawn: Tensor, images: Tensor) -> Tensor:
    """Squared error of pixels and of their differences to the next: texture is a small part of the
    former, and much to a network."""
    cost = functional.mse_loss(drawn, images)
    for axis in (2, 3):
        cost = cost + functional.mse_loss(drawn.diff(dim=axis), images.diff(dim=axis))
    return cost


class _Net(nn.Module):
    """Strided convolutions down to the code, and convolutions of enlarged maps back."""

    def __init__(self, own: Autoencoder, channels: int) -> None:
        super().__init__()
        width, latent, self.whole = own.width, own.channels, 2**own.halvings
        down: list[nn.Module] = [nn.Conv2d(channels, width, 4, 2, 1), nn.ReLU()]
        up: list[nn.Module] = [nn.Conv2d(latent, width, 3, 1, 1), nn.ReLU()]
        for _ in range(own.halvings - 1):
            down += [nn.Conv2d(width, width, 4, 2, 1), nn.ReLU()]
            up += [nn.Upsample(scale_factor=2), nn.Conv2d(width, width, 3, 1, 1), nn.ReLU()]
        self.down = nn.Sequential(*down, nn.Conv2d(width, latent, 3, 1, 1))
        # Pixels of the full size come last and at once: convolutions there cost more than all else.
        self.up = nn.Sequential(*up, nn.Conv2d(width, 4 * channels, 3, 1, 1), nn.PixelShuffle(2))

    def encoded(self, images: Tensor) -> Tensor:
        h, w = images.shape[2:]
        padded = functional.pad(images, (0, -w % self.whole, 0, -h % self.whole), mode="replicate")
        return torch.as_tensor(self.down(2 * padded - 1))

    def decoded(self, codes: Tensor, size: Sequence[int]) -> Tensor:
        return torch.as_tensor(self.up(codes))[:, :, : size[0], : size[1]]


class _Latent(Code):
    def __init__(self, own: Autoencoder, subject: Subject, fitted: Mapping[str, Tensor]) -> None:
        self.image = subject.image
        with torch.random.fork_rng(devices=[]):
            self.net = _Net(own, self.image.shape[1]).to(self.image)
        state = {k.removeprefix("net."): v for k, v in fitted.items() if k.startswith("net.")}
        self.net.load_state_dict(state)
        self.net.requires_grad_(False)
        with torch.no_grad():
            self.start = self.net.encoded(self.image)
            self.plain = self.net.decoded(self.start, self.image.shape[2:])
        self.scale = own.reach * fitted["spread"].to(self.image)
        count = self.start[0].numel()
        self.groups = (Group(WHOLE, "latent code", tuple(range(count))),)
        self.high = self.image.new_ones(count)
        self.low = -self.high

    def render(self, theta: Tensor) -> Tensor:
        change = theta.unflatten(1, self.start.shape[1:]) * self.scale[:, None, None]
        # Decoded in equal batches, so that no change is no change to the last bit.
        start = self.start.expand(len(theta), -1, -1, -1)
        size = self.image.shape[2:]
        edited = self.net.decoded(start + change, size) - self.net.decoded(start, size)
        return (self.image + edited).clamp(0, 1)

    def recovered(self) -> Tensor:
        return self.plain.clamp(0, 1)

    def describe(self, theta: Tensor, group: Group) -> str:
        return (
            f"{int((theta.abs() > 0.01).sum())} latent values, by {float(theta.abs().mean()):.3f}"
        )
