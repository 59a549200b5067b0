"""A segment as a vector: where it stands in its image, or cut out and shown alone."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from conceptseg.concepts.segments import Segments
from conceptseg.engine.contract import Context
from conceptseg.network.levels import Levels
from conceptseg.network.model import SegmentationModel
from conceptseg.network.record import encode
from conceptseg.study.ace.config import Ace

GREY = 117 / 255
"""What surrounds a segment that is shown to the network alone, as in ACE's published code."""


def embedded(
    study: Ace,
    context: Context,
    model: SegmentationModel,
    image: Tensor,
    segments: Segments,
    activation: Tensor,
) -> dict[str, np.ndarray]:
    """What segments of an image [c, h, w] are clustered by, float32: `embedding` [s, u].

    `pooled`: mean of the layer's activation [u, y, x] of the whole image over each segment.
    `crops`: :func:`crop_embeddings`; the pooled ones are then kept beside as `place` [s, u].
    """
    place = segments.pooled(activation)
    if study.embedding == "pooled":
        return {"embedding": place}
    everyone, size = np.arange(len(segments)), context.run.batch_size
    alone = crop_embeddings(model, image, segments, everyone, context.levels, size)
    return {"embedding": alone, "place": place}


def crop_embeddings(
    model: SegmentationModel,
    image: Tensor,
    segments: Segments,
    numbers: np.ndarray,
    layer: str | Levels,
    batch_size: int,
) -> np.ndarray:
    """Embeddings of segments shown alone, as ACE published it, float32 [s, u].

    Each segment is cut out to its box, the rest of the box is grey, the crop is resized to the
    image's size, and the layer's activation is averaged over all positions.

    Source: Ghorbani et al. 2019, section 3, and the published code.
    """
    size = (int(image.shape[-2]), int(image.shape[-1]))
    means = []
    for start in range(0, len(numbers), batch_size):
        crops = []
        for number in numbers[start : start + batch_size].tolist():
            top, left, bottom, right = segments.box[number].tolist()
            mask = torch.from_numpy(segments.mask(number)[top:bottom, left:right])
            cut = image[:, top:bottom, left:right]
            crop = torch.where(mask.to(image.device), cut, torch.full_like(cut, GREY))
            crops.append(F.interpolate(crop[None], size, mode="bicubic", align_corners=False))
        maps = encode(model, torch.cat(crops).clamp(0, 1), layer)
        means.append(maps.float().mean((-2, -1)).cpu().numpy())
    return np.concatenate(means)
