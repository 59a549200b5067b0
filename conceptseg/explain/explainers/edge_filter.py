"""The image's edges, which many saliency maps resemble."""

import torch
from pydantic import Field
from torch import Tensor

from conceptseg.catalogue import technique
from conceptseg.explain.explainers._baseline import Baseline, correlated, extended, gaussian
from conceptseg.explain.noise import channels_read
from conceptseg.explain.scene import Scene
from conceptseg.explain.target import Target


@technique(family="baseline", source="Sobel operator; control of Adebayo et al. 2018")
class EdgeFilter(Baseline):
    """Steepness of the image's intensity by the Sobel operator: a map blind to the network.

    L = sqrt(g_y^2 + g_x^2) with g the slopes of the intensity, which is the mean of the channels
    that the network reads, by Sobel's 3 x 3 kernels / 8. In units of intensity per pixel, >= 0:
    a ramp has its slope everywhere. The border is repeated beyond the image. The same for
    all targets; no pass of its own.

    A method whose maps rank pixels as this one does may be an edge detector. Channels count
    alike, because their order and meaning are the network's: of a colour image this is not the
    luminance, and an edge between colours of equal mean is not seen.

    Source: as a control, Adebayo et al. 2018, "Sanity Checks for Saliency Maps",
    arXiv:1810.03292.
    """

    blur_px: float = Field(
        0.0, ge=0, le=100, description="Deviation of the Gaussian that comes first; 0: none."
    )

    def map(self, scene: Scene, target: Target) -> Tensor:
        intensity = scene.images[:, channels_read(scene)].mean(1)
        if self.blur_px:
            kernel = gaussian(self.blur_px)
            intensity = correlated(extended(intensity, len(kernel) // 2), kernel, kernel)
        around = extended(intensity, 1)
        slope, smooth = torch.tensor([-0.5, 0.0, 0.5]), torch.tensor([0.25, 0.5, 0.25])
        down, across = correlated(around, slope, smooth), correlated(around, smooth, slope)
        return torch.hypot(down, across)
