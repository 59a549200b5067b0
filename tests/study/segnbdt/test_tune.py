"""Tuning: its gradient and its steps against plain PyTorch, early stopping by hand."""

import numpy as np
import pytest
import torch
from torch.nn import functional

from conceptseg.config import DataConfig, ModelConfig
from conceptseg.engine.known import Known
from conceptseg.errors import InputError
from conceptseg.network.model import SegmentationModel
from conceptseg.study.segnbdt import tune
from conceptseg.study.segnbdt.config import Segnbdt
from conceptseg.study.segnbdt.grown import GROWN, halves
from conceptseg.study.segnbdt.head import LAST, Head
from conceptseg.study.segnbdt.rules import Rules
from conceptseg.study.segnbdt.tree import Tree
from tests.study.ace.small import batch, context
from tests.study.segnbdt.nets import ThreeGroups
from tests.study.segnbdt.test_judge import grown

TREE = Tree.of(((0, 3), ((1, 4), (2, 5))))


def study(**changes):
    held = {"data": DataConfig(manifest="x"), "model": ModelConfig(source="factory", name="x")}
    return Segnbdt(**{**held, "tune": "head", "tree_weight": 2.0, **changes})


def held(count=12, **changes):
    generator = torch.Generator().manual_seed(6)
    images = torch.rand(count, 3, 6, 5, generator=generator)
    labels = torch.randint(-1, 6, (count, 6, 5), generator=generator)
    model = SegmentationModel(ThreeGroups(), tuple("abcdef"))
    weight = model.module.head.weight.detach().flatten(1).numpy()
    known = GROWN(grown(TREE)) | LAST(Head("head", weight, 8))
    return context(model, images, "body", labels=labels, **changes), images, labels, known


@pytest.mark.parametrize("kind", ["head", "full"])
def test_steps_equal_those_of_torch(kind):
    setting, images, labels, one = held()
    own = study(tune=kind, rate=0.01)
    net = ThreeGroups()
    learnt = net.head if kind == "head" else net
    optimiser = torch.optim.Adam(learnt.parameters(), lr=0.01, eps=tune.SMALL)
    known = one | tune.start_tuning(own, setting, one)
    for number in range(4):
        step = tune.Step(own, number, f"tune-{number}")
        # Two batches merge into what one would be.
        state = step.map(setting, batch(images[:5], labels[:5]), known)
        state = state.merge(step.map(setting, batch(images[5:], labels[5:]), known))
        known |= step.finish(setting, state, known)
        optimiser.zero_grad()
        z = net(images)
        rules = Rules(TREE, z)
        loss = functional.cross_entropy(z, labels, ignore_index=-1)
        loss = loss + 2 * functional.nll_loss(rules.soft(z), labels, ignore_index=-1)
        loss.backward()
        optimiser.step()
        assert known[tune.TUNING].training[-1] == pytest.approx(float(loss.detach()), rel=1e-5)
    for name, value in net.named_parameters():
        found = known[tune.TUNING].weights.get(f"module.{name}")
        if kind == "head" and not name.startswith("head"):
            assert found is None
        else:
            assert found == pytest.approx(value.detach().numpy(), abs=2e-6)
    z = tune.run_with(setting, tune.tensors(known[tune.TUNING].weights, setting), images)
    assert z.detach().numpy() == pytest.approx(net(images).detach().numpy(), abs=1e-4)
    before = ThreeGroups()(images)
    assert torch.equal(setting.model(images), before)  # the given network stays as it is


def test_the_best_weights_are_kept_and_patience_ends():
    start = tune.Tuning(0, {"w": np.array(0.0)}, {}, {}, {})
    at = start
    for step, loss in enumerate([3.0, 2.0, 2.5, 2.1]):
        at = tune.Tuning(**{**at.__dict__, "step": step, "weights": {"w": np.array(float(step))}})
        at = at.checked(loss, patience=2)
    assert at.stopped and at.best["w"] == 1 and at.history[1] == (1, 2.0)


def test_passes_after_the_end_visit_nothing():
    setting, _, _, one = held()
    known = one | tune.TUNING(tune.Tuning(3, {}, {}, {}, {}, stopped=True))
    assert tune.Step(study(), 3, "tune-004").samples(setting, known) == ()
    assert tune.Check(study(), "check-010").samples(setting, known) == ()
    assert tune.Step(study(), 3, "tune-004").finish(setting, Known(), known).items() == {}.items()


def test_trained_checked_and_judged_images_are_apart():
    groups = [f"g{i // 2}" for i in range(12)]
    setting, *_ = held(groups=groups)
    train, check = tune.parts(study(), setting)
    built, judged = halves(study(), setting)
    sets = [{s.group for s in part} for part in (train, check)]
    sets.append({setting.manifest.sample(i).group for i in judged})
    assert all(sets) and len(set.union(*sets)) == sum(map(len, sets)) == 6
    assert built.isdisjoint(judged)
    assert halves(study(tune="none"), setting)[0] == frozenset()


def test_every_image_has_its_turn():
    setting, *_ = held()
    own = study(step_images=2)
    train = {s.id for s in tune.parts(own, setting)[0]}
    steps = len(train) // 2
    start = tune.TUNING(tune.Tuning(0, {}, {}, {}, {}))
    seen = [s.id for n in range(steps) for s in tune.Step(own, n, "t").samples(setting, start)]
    assert len(seen) == len(set(seen)) == steps * 2
    assert [s.id for s in tune.Step(own, 0, "t").samples(setting, start)] == seen[:2]


def test_too_few_groups_to_tune():
    setting, *_ = held(groups=["a"] * 6 + ["b"] * 6)
    with pytest.raises(InputError, match="three groups"):
        tune.parts(study(), setting)
