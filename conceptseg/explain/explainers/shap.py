"""SHAP: each cell's Shapley value in the game of showing cells of the image."""

from collections.abc import Sequence
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from conceptseg.catalogue import technique
from conceptseg.explain.contract import Explainer, resized
from conceptseg.explain.explainers._coalitions import Coalitions, check_passes, design
from conceptseg.explain.explainers._masking import reader, respond
from conceptseg.explain.explainers._partition import hexagons, superpixels
from conceptseg.explain.fill import Fill
from conceptseg.explain.scene import Scene
from conceptseg.explain.target import Target
from conceptseg.network.record import undisturbed


@technique(family="perturbation", source="Dardouillet et al. 2022, hal-03719597")
class Shap(Explainer):
    """Shapley value of each hexagon (or superpixel), painted on its pixels, by KernelSHAP.

    v(S) is the target's score of the image with all cells outside of S filled; phi_j is the mean,
    over all orders in which K cells can be shown, of what showing cell j adds. In units of the
    score, signed; over cells the values sum to v(all) - v(none) exactly. Exact for up to 12 cells,
    in 2^K passes; otherwise estimated by weighted least squares from pairs of complementary
    coalitions (:mod:`conceptseg.explain.explainers._coalitions`), one clean forward pass and
    `samples` of masked images, and :meth:`with_error` tells how far that may be off.

    A cell's value is spread over its neighbours where they tell the network the same, and any fill
    is an image that the network was not trained on. Cells at the frame are smaller than others.

    Departures: hexagons are an exact partition, each pixel in the cell of the nearest centre,
    where the authors' painted polygons overlap and leave gaps; complementary pairs; all targets
    from one regression. The authors take 15 000 samples, zones of about 1/200 of the image, black
    and class probabilities: `samples=15000` and `Target(c, score="probability")`.

    Source: Dardouillet et al., "Explainability of image semantic segmentation through SHAP
    values", 2022, hal-03719597; Lundberg and Lee, NeurIPS 2017, arXiv:1705.07874, theorem 2;
    Covert and Lee, AISTATS 2021, arXiv:2012.01536.
    """

    cells: int = Field(
        200,
        ge=1,
        description="Cells that the image is cut into, K: so many (or 12) at most, whatever its "
        "shape.",
    )
    partition: Literal["hexagons", "slic"] = Field(
        "hexagons", description="Regular cells, or superpixels that follow the image."
    )
    samples: int | None = Field(
        None, ge=1, description="Coalitions for more than 12 cells; 2 K + 2048 when absent."
    )
    fill: Fill = Field("black", description="What hidden cells are filled with.")
    seed: int = Field(0, ge=0, description="Seed of the coalitions.")

    def passes(self, scene: Scene) -> float:
        return 1.0 + max(self._game(one).variants for one in self._cells(scene))

    def attribute(self, scene: Scene, targets: Sequence[Target]) -> Tensor:
        return self._values(scene, targets)[0]

    def with_error(self, scene: Scene, targets: Sequence[Target]) -> tuple[Tensor, Tensor]:
        """Attributions and their standard errors, both float32 [t, n, h, w].

        The error is that of having drawn these coalitions and no others; 0 where all were played
        and where the target's region is empty.
        """
        if not len(scene) or not targets:
            nothing = scene.images.new_zeros((len(targets), len(scene), *scene.size))
            return nothing.float(), nothing.float()
        with undisturbed(scene.model):
            values, errors = self._values(scene, targets)
        return resized(values, scene.size), resized(errors, scene.size)

    def _values(self, scene: Scene, targets: Sequence[Target]) -> tuple[Tensor, Tensor]:
        """Shapley values and standard errors, painted, float64 [t, n, h, w]."""
        labels = self._cells(scene)
        games = [self._game(one) for one in labels]
        read = reader(scene, targets, "score")

        def masks(start: int, stop: int) -> Tensor:
            played = (game.played(start, stop).to(scene.images.dtype) for game in games)
            flat = zip(played, labels.flatten(1), strict=True)
            kept = torch.stack([cells.index_select(1, label) for cells, label in flat])
            return kept.unflatten(2, scene.size)

        count = max(game.variants for game in games)
        values = respond(scene, self.fill, count, masks, read)
        whole = read(scene.logits)
        painted = []
        for i, (game, label) in enumerate(zip(games, labels, strict=True)):
            own = slice(None) if len(games) == 1 else slice(i, i + 1)
            mine = values[:, own, : game.variants]
            found = game.shapley(mine.flatten(0, 1), whole[:, own].flatten())
            shape = mine.shape[:2]
            painted.append(torch.stack([part.T[:, label].unflatten(0, shape) for part in found]))
        both = torch.cat(painted, 2)
        return both[0], both[1]

    def check(self, scene: Scene) -> None:
        if self.partition == "hexagons":  # superpixels differ from image to image
            cells = int(self._cells(scene).max()) + 1
            check_passes(cells, self._passes(cells))

    def _cells(self, scene: Scene) -> Tensor:
        """The cell of each pixel, [1, h, w] where all images are cut alike, else [n, h, w]."""
        if self.partition == "hexagons":
            found = hexagons(scene.size, self.cells)[None]
        else:
            pictures = scene.images.float().cpu().numpy()
            found = torch.stack([superpixels(picture, self.cells) for picture in pictures])
        return found.to(scene.images.device)

    def _game(self, labels: Tensor) -> Coalitions:
        cells = int(labels.max()) + 1
        return design(cells, self._passes(cells), self.seed).to(labels.device)

    def _passes(self, cells: int) -> int:
        return 2 * cells + 2048 if self.samples is None else self.samples
