"""Which preprocessing agrees with the masks: a network that is right for one alone."""

import numpy as np
import pytest
import torch
from PIL import Image

from conceptseg.config import DataConfig, ModelConfig, RunConfig, StudyKeys
from conceptseg.engine.start import prepare
from conceptseg.engine.suited import suited


class Redder(torch.nn.Module):
    """Class 1 where the first channel exceeds the last, of numbers on a scale of its own."""

    def __init__(self, scale: float = 1.0, first: int = 0):
        super().__init__()
        self.layer = torch.nn.Conv2d(3, 2, 1)
        with torch.no_grad():
            self.layer.weight.zero_()
            for output, sign in enumerate((-5.0, 5.0)):
                self.layer.weight[output, first] = sign
                self.layer.weight[output, 2 - first] = -sign
                self.layer.bias[output] = -0.2 * scale * sign

    def forward(self, images):
        return self.layer(images)


@pytest.fixture
def context(tmp_path):
    def made(masks=True, **arguments):
        noise = np.random.default_rng(0)
        for index in range(6):
            on = noise.random((16, 16)) > 0.6
            pixels = np.where(on[..., None], (200, 90, 60), (90, 90, 90)).astype(np.uint8)
            for folder, values in (("images", pixels), ("masks", on.astype(np.uint8))):
                (tmp_path / folder).mkdir(exist_ok=True)
                if folder == "images" or masks:
                    Image.fromarray(values).save(tmp_path / folder / f"i{index}.png")
        entry = "{images: 'images/{id}.png'" + (", masks: 'masks/{id}.png'}" if masks else "}")
        manifest = tmp_path / "set.yaml"
        manifest.write_text(f"labels: {{names: [rest, red]}}\nfolders: [{entry}]\n")
        model = ModelConfig(source="factory", name=f"{__name__}:Redder", arguments=arguments)
        data = DataConfig(manifest=str(manifest))
        run = RunConfig(device="cpu", threads=1)
        return prepare(StudyKeys(data=data, model=model, run=run, layer="layer"), weigh=False)

    return made


def test_what_is_right_stays(context):
    found = suited(context())
    assert (found.changes, found.words, found.images) == ({}, "as they are", 6)
    assert found.mean == found.own == 1.0 and found.ways > 3


def test_another_range_is_found(context):
    found = suited(context(scale=255.0))
    assert found.changes["range"] == (0.0, 255.0) and found.mean == 1.0 and found.own < 0.4


def test_reversed_channels_are_found_where_they_are_clearly_better(context):
    found = suited(context(first=2))
    assert found.changes == {"channels": (2, 1, 0)} and found.mean == 1.0


def test_without_masks_nothing_is_told(context):
    assert suited(context(masks=False)) is None
