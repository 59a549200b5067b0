"""TCAV's share of positive derivatives, counted by captum on the same CAVs."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader

from conceptseg.explain.regions import Predicted
from conceptseg.explain.target import Target
from conceptseg.study.ace import tcav
from conceptseg.study.ace.pool import Pool, random_concepts
from conceptseg.study.ace.survey import SEGMENTS, Survey
from tests.small_models import images, unet
from tests.study.ace.small import activations, batch, context, study, swept

LAYER, UNITS, CELLS = "mid", 16, 64


class Score(nn.Module):
    """A class's target as a network with one output per image, its region fixed by the image."""

    def __init__(self, model, class_id: int):
        super().__init__()
        self.model, self.class_id = model, class_id

    def forward(self, x):
        logits = self.model(x)
        target = Target(self.class_id, Predicted(self.class_id)).on(logits.detach())
        return target(logits)[:, None]


def captum_counts(model, pictures, class_id, directions, folder) -> list[float]:
    """Captum flattens a layer's maps: a direction repeated over positions moves all of them."""
    concept = pytest.importorskip("captum.concept")
    classifier_base = concept.Classifier

    class Given(classifier_base):
        """Hands out a CAV instead of learning one."""

        def __init__(self, direction):
            super().__init__()
            flat = torch.as_tensor(direction, dtype=torch.float32).repeat_interleave(CELLS)
            self.both = torch.stack((flat, -flat))

        def train_and_eval(self, dataloader, **kwargs):
            return None

        def weights(self):
            return self.both

        def classes(self):
            return [0, 1]

    sets = [
        concept.Concept(i, name, DataLoader(list(images(2, 32, 32, seed=20 + i)), batch_size=2))
        for i, name in enumerate(("concept", "random"))
    ]
    counts = []
    for number, direction in enumerate(directions):
        peer = concept.TCAV(
            Score(model, class_id).eval(),
            [f"model.module.{LAYER}"],
            model_id=f"m{class_id}-{number}",
            classifier=Given(direction),
            save_path=str(folder),
        )
        scores = peer.interpret(pictures, [sets])
        counts.append(scores["0-1"][f"model.module.{LAYER}"]["sign_count"][0].item())
    return counts


@pytest.mark.filterwarnings("ignore")
def test_sign_counts_equal_captums(tmp_path):
    model, pictures = unet(), images(12, 32, 32, seed=4)
    table = swept(Survey(study()), context(model, pictures, LAYER), batch(pictures))[SEGMENTS]
    embedding, image = table.column("embedding"), table.owner("embedding")
    pool = Pool.of(embedding, image, np.full(len(image), 2))
    rng, seen = np.random.default_rng(0), set()
    concepts = [rng.choice(len(pool), 6, replace=False) for _ in range(4)]
    assert activations(model, LAYER, pictures[:1]).shape == (1, UNITS, 8, 8)
    for class_id in range(3):
        here = table.column("class") == class_id
        inside, outside = table.column("local")[here].swapaxes(0, 1)
        holders = table.owner("class")[here]
        assert len(holders) >= 3
        tester = tcav.Tester(pool, inside, outside)
        ours = [
            tester.against(rows, random_concepts(pool, rows, 19, rng)).tcav for rows in concepts
        ]
        directions = [pool.residuals(rows).mean(0) for rows in concepts]
        theirs = captum_counts(model, pictures[holders], class_id, directions, tmp_path)
        count = len(holders)
        assert [round(share * count) for share in ours] == [round(s * count) for s in theirs]
        assert ours == pytest.approx(theirs, abs=1e-6)
        seen.update(ours)
    assert len(seen) > 3, "shares that differ, or the comparison says little"
