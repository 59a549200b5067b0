"""Embedding the superpixels of an image: in place in one pass, against one crop after another.

    python benchmarks/pooled_embedding.py [--size 256] [--rounds 3]

torchvision's DeepLabv3-ResNet50 (random weights, the cost is the same) on scikit-image's photos.
Pooled: one encoder pass, and the mean of the layer under each segment, which is conceptseg's
default. Cropped: each segment cut out, the rest grey, resized to the network's input and encoded,
as ACE was published. They are different quantities (a pooled segment keeps its surroundings); the
ratio says what the choice costs.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from common import in_turn, median, median_ratio  # noqa: E402


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--batch-size", type=int, default=8)
    arguments = parser.parse_args()

    import numpy as np
    import torch
    from skimage import data, transform
    from torchvision.models.segmentation import deeplabv3_resnet50

    from conceptseg.concepts.segments import segment
    from conceptseg.config import Preprocessing
    from conceptseg.network.model import SegmentationModel
    from conceptseg.network.record import encode
    from conceptseg.study.ace.embed import crop_embeddings

    torch.manual_seed(0)
    network = deeplabv3_resnet50(weights=None, weights_backbone=None, num_classes=21)
    names = tuple(f"class {k}" for k in range(21))
    model = SegmentationModel(network, names, Preprocessing(), name="deeplab", channels=3)
    model = model.to(memory_format=torch.channels_last)
    photo = transform.resize(data.chelsea(), (arguments.size,) * 2, anti_aliasing=True)
    image = torch.from_numpy(photo.astype(np.float32)).permute(2, 0, 1)
    found = segment(image.numpy())
    layer = "backbone.layer4"
    weights = torch.from_numpy(found.weights((arguments.size // 8,) * 2))

    def pooled() -> torch.Tensor:
        return weights @ encode(model, image[None], layer)[0].flatten(1).T

    def cropped() -> np.ndarray:
        numbers = np.arange(len(found))
        return crop_embeddings(model, image, found, numbers, layer, arguments.batch_size)

    times = in_turn({"pooled": pooled, "cropped": cropped}, arguments.rounds)
    print(f"{len(found)} segments at {arguments.size} px, batches of {arguments.batch_size}")
    print({name: f"{median(values):.3f} s" for name, values in times.items()})
    print(f"cropped / pooled = {median_ratio(times['cropped'], times['pooled']):.0f}")


if __name__ == "__main__":
    main()
