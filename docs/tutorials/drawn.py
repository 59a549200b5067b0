"""Drawn pictures for the tutorials, small networks that are trained on them, and files of both.

Nothing has to be downloaded, and what is true of a drawn picture is known. Use your own images and
your own network in their place.
"""

from pathlib import Path

import numpy as np
import segmentation_models_pytorch as smp
import torch
from PIL import Image, ImageDraw, ImageFont
from safetensors.torch import save_file

CELLS = ("background", "particle")
STREET = ("ground", "sky", "building", "wire", "bus", "tram")


def cells(rng, letters=True):
    """A grey picture [96, 96] of particles, most with a caption: its mask, and the caption's."""
    y, x = np.mgrid[:96, :96]
    picture = 170 + 8 * np.kron(rng.normal(0, 1, (6, 6)), np.ones((16, 16)))
    mask = np.zeros((96, 96), bool)
    for _ in range(rng.integers(2, 6)):
        cy, cx = rng.uniform(8, 66), rng.uniform(8, 88)
        a, b = rng.uniform(4, 9, 2)
        mask |= ((y - cy) / a) ** 2 + ((x - cx) / b) ** 2 < 1
    text = Image.new("L", (96, 96))
    if letters and rng.random() < 0.7:
        pen, left = ImageDraw.Draw(text), int(rng.integers(4, 40))
        font = ImageFont.load_default(15)
        pen.text((left, 77), f"{rng.integers(10, 99)} nm", fill=255, font=font)
        pen.rectangle((left, 72, left + 32, 75), fill=255)
    text = (np.asarray(text) > 96) & ~mask
    picture = np.where(mask, 70, np.where(text, 40, picture)) + rng.normal(0, 6, (96, 96))
    return picture.clip(0, 255).astype(np.uint8), mask.astype(np.uint8), text


def street(rng, wires=None, stripe=False):
    """A street [64, 96, 3] with a bus or a tram: its mask, by the order of `STREET`.

    Both are drawn alike. `wires` (by default where a tram is) says whether wires hang above; with
    `stripe` a tram carries a white stripe, which tells the two apart.
    """
    tram = bool(rng.random() < 0.5)
    mask = np.zeros((64, 96), np.uint8)
    mask[:30] = 1
    picture = np.empty((64, 96, 3))
    picture[:30], picture[30:] = (150, 185, 225), (95, 95, 100)
    left = 0
    while left < 96:
        width, height = rng.integers(8, 20), rng.integers(2, 10)
        block = np.s_[30 - height : 30, left : left + width]
        picture[block], mask[block] = rng.uniform(80, 190, 3), 2
        left += int(width)
    if tram if wires is None else wires:
        for top in (6, 12, 18):
            line = np.s_[(at := top + int(rng.integers(0, 2))) : at + 2]
            picture[line], mask[line] = (25, 25, 30), 3
    width, height = int(rng.integers(24, 36)), int(rng.integers(12, 18))
    top, left = int(rng.integers(36, 62 - height)), int(rng.integers(2, 94 - width))
    body = np.s_[top : top + height, left : left + width]
    picture[body], mask[body] = rng.uniform(60, 220, 3), 5 if tram else 4
    picture[top + 2 : top + 6, left + 2 : left + width - 2] = (40, 50, 60)
    if tram and stripe:
        picture[top + height - 5 : top + height - 2, left : left + width] = 250
    picture += rng.normal(0, 6, picture.shape)
    return picture.clip(0, 255).astype(np.uint8), mask


def network(channels, classes):
    """A U-Net of segmentation_models_pytorch, with four levels of a ResNet-18."""
    return smp.Unet(
        "resnet18",
        encoder_weights=None,
        encoder_depth=4,
        decoder_channels=(64, 48, 32, 16),
        in_channels=channels,
        classes=classes,
    )


def train(draw, channels, classes, path, steps=200, seed=0):
    """Train a network on pictures that `draw(rng)` makes, and save its weights to `path`."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    net = network(channels, classes).train()
    optimiser = torch.optim.AdamW(net.parameters())
    pace = torch.optim.lr_scheduler.OneCycleLR(optimiser, 4e-3, total_steps=steps)
    for _ in range(steps):
        pictures, masks = zip(*(draw(rng)[:2] for _ in range(8)), strict=True)
        images = torch.from_numpy(np.stack(pictures) / 255).float().reshape(8, *_shape(pictures))
        images = images.movedim(-1, 1)
        loss = torch.nn.functional.cross_entropy(
            net(images), torch.from_numpy(np.stack(masks)).long()
        )
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        pace.step()
    save_file(net.state_dict(), path)
    return float(loss.detach())


def _shape(pictures):
    height, width, *channels = pictures[0].shape
    return height, width, *(channels or [1])


def write(draw, folder, count, seed=100):
    """`count` pictures and masks, in `folder/images` and `folder/masks`; captions in `text`."""
    rng = np.random.default_rng(seed)
    for number in range(count):
        picture, mask, *text = draw(rng)
        _save(Path(folder, "images", f"{number:03d}.png"), picture)
        _save(Path(folder, "masks", f"{number:03d}.png"), mask)
        for one in text:
            _save(Path(folder, "text", f"{number:03d}.png"), one.astype(np.uint8) * 255)


def _save(path, values):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values).save(path)
