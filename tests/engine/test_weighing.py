"""What the layer is worth is said before the first pass, the same for every study of the data."""

from types import SimpleNamespace

import pytest
import torch

from conceptseg.config import RunConfig, StudyKeys
from conceptseg.engine import start
from conceptseg.engine.contract import Context
from conceptseg.engine.examine import examine
from conceptseg.engine.weighing import about_layer, about_worth, images_to_weigh
from conceptseg.network.choice import chosen
from conceptseg.report import examined
from tests.network.test_choice import Certain, Deaf, Shared, blocks
from tests.small_models import wrapped


def planted(**keys):
    content = {
        "data": {"manifest": "builtin:planted", "split": "test"},
        "model": {"source": "planted", "name": "biased"},
        "run": {"device": "cpu"},
        **keys,
    }
    return StudyKeys.model_validate(content)


def context_of(model, layer=None, images=None):
    choice = chosen(model, blocks(4) if images is None else images, layer=layer)
    name = layer or choice.layer
    return Context(model, SimpleNamespace(), RunConfig(device="cpu"), name, 0, choice=choice)


@pytest.mark.parametrize("name", ["biased", "weak", "clean"])
def test_the_planted_networks_keep_their_bottleneck_and_say_its_worth(name):
    context = start.prepare(planted(model={"source": "planted", "name": name}))
    assert context.layer == context.choice.layer == "bottleneck"
    said, doubt = about_worth(context)
    choice = context.choice
    assert not doubt and "bottleneck is set to its mean over 8 images" in said
    low, high = choice.interval("bottleneck")
    assert 0 < low <= choice.worth("bottleneck") <= high < 1
    assert said.startswith(
        f"{choice.worth('bottleneck'):.2f} ({low:.2f} to {high:.2f}) of the pred"
    )
    assert choice.told and choice.share("bottleneck") >= 0.9
    assert said.endswith(f"it took {choice.passed} passes of one image to say")
    beside = said.partition("images (")[2].partition(")")[0]
    shown = [part.split()[-2] for part in beside.split(", ")]
    assert shown == [
        *dict.fromkeys(n for n in (choice.best, choice.runner_up) if n != "bottleneck")
    ]
    kept = examine(context).recorded()
    assert kept["verdicts"]["layer's worth"] == said


@pytest.mark.parametrize("limit", [4, 6])
def test_the_images_are_the_same_for_all_limits_and_batch_sizes(limit):
    whole = start.read_manifest(planted())
    part = whole.select(limit=limit, seed=3)
    run = RunConfig(device="cpu", batch_size=1)
    own, all_of_them = (
        images_to_weigh(part, run, 3),
        images_to_weigh(whole, RunConfig(device="cpu"), 3),
    )
    assert torch.equal(own[:limit], all_of_them[:limit])
    assert torch.equal(all_of_them[:2], own[:4][:2]), "of any number the first"
    assert len(own[:64]) == limit == own.shape[0] and all_of_them.shape == (64, 1, 64, 64)


def test_images_of_another_size_are_left_out():
    from dataclasses import replace

    whole = start.read_manifest(planted()).select(limit=5, seed=3)

    class Odd(type(whole)):
        def image(self, sample):
            found = super().image(sample)
            return found[:, :32] if sample.id == self.samples[2].id else found

    odd = Odd(**{name: getattr(whole, name) for name in whole.__dataclass_fields__})
    found = images_to_weigh(replace(odd), RunConfig(device="cpu"), 3)
    assert len({one.shape for one in found[:64]}) == 1 and len(found[:64]) in (1, 4)


def test_a_named_layer_that_carries_little_is_doubted():
    said, doubt = about_worth(context_of(wrapped(Shared(0.0), 2, 1), "deep"))
    assert doubt and "auto takes last" in said and "0.00 of the prediction" in said
    assert said.count("last ") == 2, (
        "the best is what auto takes: in brackets once, and in the advice"
    )
    said, doubt = about_worth(context_of(wrapped(Shared(1.0), 2, 1), "last"))
    assert not doubt and "auto takes deep" in said


def test_where_skips_carry_it_the_coarser_levels_are_told():
    said, doubt = about_worth(context_of(wrapped(Shared(0.3), 2, 1)))
    assert not doubt
    assert "no layer on a coarser grid carries the decision alone (deep " in said


def test_what_cannot_be_measured_is_said():
    said, _ = about_worth(context_of(wrapped(Certain(), 3, 1), images=torch.rand(2, 1, 32, 32)))
    assert "of the logits' variation is lost" in said and "no layer's loss" in said
    model = wrapped(Deaf(), 3, 1)
    context = Context(model, SimpleNamespace(), RunConfig(device="cpu"), "body", 0)
    assert chosen(model, torch.rand(2, 1, 32, 32)) is None
    assert about_worth(context)[0].startswith("not measured: ")


def test_the_report_s_head_names_it():
    choice = chosen(wrapped(Shared(0.3), 2, 1), blocks(4))
    result = SimpleNamespace(provenance={"worth": choice.recorded()})
    assert examined.layer(result, choice.layer).startswith(f"{choice.layer}, worth ")
    assert "; runner-up " in examined.layer(result, choice.layer)
    assert "; auto takes " in examined.layer(result, choice.runner_up)
    assert examined.layer(result, "elsewhere") == "elsewhere"
    assert examined.layer(SimpleNamespace(provenance={}), "mid") == "mid", "of earlier versions"


class Halves(torch.nn.Module):
    """Looks at the upper half, then at the lower one."""

    def __init__(self):
        super().__init__()
        self.body = torch.nn.Conv2d(3, 4, 3, padding=1)
        self.head = torch.nn.Conv2d(4, 3, 1)

    def forward(self, x):
        return self.head(torch.cat([self.body(part) for part in x.chunk(2, 2)], 2))


@pytest.mark.parametrize(("layer", "doubted"), [("body", True), ("body#1", False), ("head", False)])
def test_a_layer_that_runs_several_times_is_doubted_unless_one_of_these_is_named(layer, doubted):
    model = wrapped(Halves())
    context = Context(model, SimpleNamespace(), RunConfig(device="cpu"), layer, 0)
    said, doubt = about_layer(context, torch.rand(1, 3, 8, 8))
    assert ("body runs 2 times in a pass" in said) == doubt == doubted
