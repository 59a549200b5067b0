"""Planted scenes as files, with masks of what is where: concepts that a user has drawn."""

import numpy as np
import yaml
from PIL import Image

from conceptseg.planted import generator


def write_planted(folder, recipes):
    """Images, labels and the manifest `set.yaml` in a folder, and three concepts' masks as
    `NAME/{id}.png`: the context `tile` where the bias texture is in it, the `other` half where it
    is, and the `ink`."""
    for name in ("images", "masks", "tile", "other", "ink"):
        (folder / name).mkdir(parents=True)
    for recipe in recipes:
        levels, labels = generator.render_levels(recipe)
        name = f"{recipe.sample_id.replace('/', '_')}.png"
        Image.fromarray(levels).save(folder / "images" / name)
        Image.fromarray(labels).save(folder / "masks" / name)
        tile = generator.half_mask(recipe, recipe.context_half)
        ink = generator.ink_mask(recipe)
        shown = {"tile": tile & ~ink, "other": ~tile & ~ink, "ink": ink}
        for concept, mask in shown.items():
            mask = mask & (recipe.bias_present or concept == "ink")
            Image.fromarray(mask.astype(np.uint8)).save(folder / concept / name)
    content = {
        "name": "planted files",
        "channels": 1,
        "folders": [{"images": "images/{id}.png", "masks": "masks/{id}.png"}],
        "labels": {"names": list(generator.CLASSES), "background": generator.CLASSES[0]},
    }
    (folder / "set.yaml").write_text(yaml.safe_dump(content))
    return folder / "set.yaml"


MASKS = {name: f"{name}/{{id}}.png" for name in ("tile", "other", "ink")}
