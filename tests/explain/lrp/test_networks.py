"""Relevance is conserved on the networks that people have, as they are."""

import pytest
import torch

from conceptseg.explain.lrp.engine import Engine
from conceptseg.explain.lrp.start import relevance_of_logits
from tests.explain.lrp import nets

SLOW = {"fcn_resnet50", "deeplabv3_resnet50", "deeplabv3_mobilenet", "espnetv2"}


def marked(names):
    return [pytest.param(n, marks=[pytest.mark.slow] if n in SLOW else []) for n in names]


def kept(name, composite):
    model, images = nets.model(name, zero_biases=True)
    engine = Engine(model, images, composite)
    run = engine.run(images)
    assert torch.allclose(run.logits, model(images), atol=1e-9)
    whole = torch.ones(run.logits.shape[0], *run.logits.shape[2:], dtype=torch.bool)
    return engine, run.retained(relevance_of_logits(run.logits, whole, 1))


@pytest.mark.parametrize("name", marked(nets.RECTIFIED))
def test_of_a_rectified_network_z_plus_keeps_all(name):
    """Within 1 %: what is lost met a sum without a positive part."""
    engine, told = kept(name, "epsilon_plus")
    assert told.share == pytest.approx(1, abs=0.01), sorted(
        told.modules, key=lambda one: -abs(one.received.signed - one.passed.signed)
    )[:4]
    assert engine.canonical.folded == engine.canonical.norms > 0


@pytest.mark.parametrize("name", marked(nets.SIGNED))
def test_of_a_network_with_both_signs_the_epsilon_rule_keeps_all(name):
    """z+ has no share for a negative sum; gamma and epsilon have. Gates take none."""
    engine, told = kept(name, "epsilon")
    assert told.share == pytest.approx(1, abs=0.01)
    assert engine.canonical.folded > 0.6 * engine.canonical.norms


def test_of_a_transformer_plus_makes_nothing():
    """Epsilon in linear layers, and gamma, magnify what cancels there."""
    _, told = kept("segformer", "plus")
    assert told.growth <= 1.001 * max(1.0, told.inner_growth) and told.inner_growth <= 3
    _, magnified = kept("segformer", "epsilon_plus")
    assert magnified.inner_growth > told.inner_growth


def test_segformer_keeps_what_attention_holds():
    """Experimental: deviations and attention weights are constants."""
    _, told = kept("segformer", "attention")
    assert told.share == pytest.approx(1, abs=0.01)
