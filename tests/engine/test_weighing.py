"""What the layer is worth is said before the first pass, the same for every study of the data."""

from types import SimpleNamespace

import pytest
import torch

from conceptseg.config import RunConfig, StudyKeys
from conceptseg.engine import start
from conceptseg.engine.contract import Context
from conceptseg.engine.examine import examine
from conceptseg.engine.weighing import about_worth, images_to_weigh
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
    assert not doubt and "bottleneck is set to its mean over 4 images" in said
    beside = said.partition("(")[2].partition(")")[0]
    shown = [part.split()[-2] for part in beside.split(", ")]
    choice = context.choice
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
    assert torch.equal(
        images_to_weigh(part, run, 3), images_to_weigh(whole, RunConfig(device="cpu"), 3)
    )


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
