"""Pictures as of a microscope, with letters and scale bars, and small networks that segment them.

One network was taught that letters and bars are particles, another that they are not; the masks
say that they are not.
"""

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import nn

from tests.files import indexed, manifest

SIDE = 96


def scene(rng):
    """A grey picture uint8 [h, w], and bool [h, w] where particles and where text and bars lie."""
    ground = np.kron(rng.normal(0, 1, (7, 7)), np.ones((14, 14)))[:SIDE, :SIDE]
    picture = 170 + 8 * ground + rng.normal(0, 6, (SIDE, SIDE))
    particles = np.zeros((SIDE, SIDE), bool)
    y, x = np.mgrid[:SIDE, :SIDE]
    for _ in range(rng.integers(2, 6)):
        cy, cx = rng.uniform(10, 70), rng.uniform(10, SIDE - 10)
        a, b = rng.uniform(4, 9, 2)
        particles |= ((y - cy) / a) ** 2 + ((x - cx) / b) ** 2 < 1
    text = Image.new("L", (SIDE, SIDE))
    if rng.random() < 0.7:
        pen = ImageDraw.Draw(text)
        left = int(rng.integers(4, 40))
        words = f"{rng.integers(10, 99)} nm"
        pen.text((left, 76), words, fill=255, font=ImageFont.load_default(15))
        pen.rectangle((left, 71, left + 30, 74), fill=255)
    text = (np.asarray(text) > 96) & ~particles
    shade = rng.normal(0, 6, (SIDE, SIDE))
    picture = np.where(particles, 70 + 2 * shade, picture)
    picture = np.where(text, 40 + 0.5 * shade, picture)
    return picture.clip(0, 255).astype(np.uint8), particles, text


def block(inputs, outputs):
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, padding=1), nn.BatchNorm2d(outputs), nn.ReLU()
    )


class Net(nn.Module):
    """A U-Net of three levels: background and particle."""

    def __init__(self):
        super().__init__()
        self.down1, self.down2 = block(1, 12), block(12, 24)
        self.bottleneck = nn.Sequential(block(24, 48), block(48, 48))
        self.up2, self.up1 = block(72, 24), block(36, 12)
        self.head = nn.Conv2d(12, 2, 1)

    def forward(self, x):
        pool = nn.functional.max_pool2d
        grow = lambda y: nn.functional.interpolate(y, scale_factor=2)  # noqa: E731
        one = self.down1(x)
        two = self.down2(pool(one, 2))
        y = self.up2(torch.cat([grow(self.bottleneck(pool(two, 2))), two], 1))
        return self.head(self.up1(torch.cat([grow(y), one], 1)))


def trained(fooled, steps=160, seed=0):
    """A network that was taught on other scenes; `fooled`: with text and bars as particles."""
    rng = np.random.default_rng(seed + 1)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        net = Net().train()
    optimiser = torch.optim.Adam(net.parameters(), 0.01)
    for _ in range(steps):
        shown = [scene(rng) for _ in range(6)]
        pictures = torch.from_numpy(np.stack([one[0] for one in shown])[:, None] / 255).float()
        labels = np.stack(
            [particles | text if fooled else particles for _, particles, text in shown]
        )
        loss = nn.functional.cross_entropy(net(pictures), torch.from_numpy(labels).long())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return net.eval()


def write(folder, images, seed=5):
    """A manifest of so many pictures with masks, and masks of text in `text/`."""
    rng = np.random.default_rng(seed)
    for i in range(images):
        picture, particles, text = scene(rng)
        for kind in ("images", "text"):
            (folder / kind).mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).save(folder / "images" / f"m{i:02d}.png")
        Image.fromarray(text.astype(np.uint8) * 255).save(folder / "text" / f"m{i:02d}.png")
        indexed(folder / "masks" / f"m{i:02d}.png", particles)
    return manifest(
        folder,
        name="microscope.yaml",
        format="native",
        channels=1,
        labels={"names": ["background", "particle"], "background": "background"},
        folders=[{"images": "images/{id}.png", "masks": "masks/{id}.png"}],
    )
