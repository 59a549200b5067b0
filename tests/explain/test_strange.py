"""What explanations promise, asked of networks that do what a plain one does not."""

import re

import pytest
import torch

from conceptseg.catalogue import load, names
from conceptseg.config import RunConfig
from conceptseg.data.manifest import load_manifest
from conceptseg.engine.contract import Context
from conceptseg.engine.examine import examine
from conceptseg.errors import InputError
from conceptseg.explain.regions import Predicted
from conceptseg.explain.target import Target
from conceptseg.network.model import SegmentationModel
from tests.explain.explainers.small import SMALL
from tests.small_models import hooks
from tests.strange_models import HEIGHT, NETWORKS, STRANGE, WIDTH, images, model_of, write_scenes

REFUSED = {
    # Rules for a gate hand nothing on, so a network that ends in one has no relevance.
    ("lrp", "probabilities"): "the network ends in a softmax or another gate",
    ("lrp", "sigmoid"): "the network ends in a softmax or another gate",
}
LATER: set[str] = set()
"""Read as they were written, in float32, by what is not here yet."""
FAST = {"probabilities", "cropped", "independent", "unfinished"}
CRIMSON = Target(1, Predicted(1))
"""Predicted in the first scene and not in the second."""


def explainer(name):
    return load("explainers", name)(**SMALL.get(name, {}))


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(name, marks=() if name in FAST else pytest.mark.slow)
        for name in STRANGE
        if not NETWORKS[name].refused
    ],
)
def strange(request):
    """A network's name, and the network."""
    if request.param in LATER:
        pytest.skip("not taken out of its wrapper yet")
    return request.param, model_of(request.param)


@pytest.fixture(scope="module")
def plain_maps():
    """Maps by the networks that the strange ones are like, each made once."""
    known = {}

    def maps(like, name):
        if (like, name) not in known:
            known[like, name] = explainer(name)(model_of(like), images(), CRIMSON)
        return known[like, name]

    return maps


@pytest.mark.parametrize("name", [n for n in names("explainers") if not explainer(n).fitted])
def test_every_explainer_keeps_its_promises(strange, name, plain_maps):
    kind, model = strange
    x, method = images(), explainer(name)
    if (name, kind) in REFUSED:
        with pytest.raises(InputError, match=REFUSED[name, kind]):
            method(model, x, CRIMSON)
        return
    before = state(model)
    try:
        both = method(model, x, CRIMSON)
    except InputError as error:  # what needs a gradient that the network has not
        assert state(model) == before and hooks(model) == 0
        said = re.escape(NETWORKS[kind].gradient) + r"[0-9]+ of .*strange_models\.py\)$"
        assert NETWORKS[kind].gradient and re.search(said, str(error))
        return
    assert state(model) == before and hooks(model) == 0
    assert both.shape == (2, HEIGHT, WIDTH) and both.dtype == torch.float32
    assert both.isfinite().all() and not both.requires_grad
    held = (model(x).argmax(1) == 1).flatten(1).any(1)
    assert both[0].abs().max() > 0 and (both[~held] == 0).all()
    ones = torch.cat([method(model, x[i : i + 1], CRIMSON) for i in range(2)])
    close(ones, both)
    if NETWORKS[kind].like:
        close(both, plain_maps(NETWORKS[kind].like, name))


def state(model: SegmentationModel):
    """Modes, what takes gradients, which gradients there are, and a hash of all weights."""
    parameters = list(model.parameters())
    return (
        [module.training for module in model.modules()],
        [parameter.requires_grad for parameter in parameters],
        [parameter.grad is None for parameter in parameters],
        model.fingerprint(),
    )


def close(one, other):
    assert torch.allclose(one, other, rtol=1e-3, atol=1e-4 * float(other.abs().max()))


@pytest.mark.parametrize("name", sorted(NETWORKS))
def test_logits_are_those_of_the_network_it_is_like(name):
    if name in LATER:
        pytest.skip("not taken out of its wrapper yet")
    like = NETWORKS[name].like
    if like:
        margins = [(z := model_of(one)(images())) - z[:, :1] for one in (name, like)]
        torch.testing.assert_close(*margins, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", [name for name in NETWORKS if name not in LATER])
def test_only_what_has_no_one_answer_is_refused(name, tmp_path):
    model = model_of(name)
    layer = model.layer_name("auto", images(1))
    run = RunConfig(device="cpu", batch_size=4)
    scenes = load_manifest(write_scenes(tmp_path / "scenes", 6, NETWORKS[name].classes))
    context = Context(model, scenes, run, layer, 0)
    if NETWORKS[name].refused:
        with pytest.raises(InputError, match=NETWORKS[name].refused):
            examine(context)
    else:
        assert not examine(context).doubts
