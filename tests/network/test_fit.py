"""Checkpoints in every form they come in, fitted to a network or refused by key."""

import time

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from conceptseg.config import ModelConfig
from conceptseg.errors import InputError
from conceptseg.network.checkpoint import hash_tensors
from conceptseg.network.fit import fit_state, load_weights
from conceptseg.network.leftover import listed
from conceptseg.network.sources._common import finish
from conceptseg.network.weight_norm import renormed
from tests.network.small_states import network, prefixed


def same(a: nn.Module, b: nn.Module) -> bool:
    left, right = a.state_dict(), b.state_dict()
    return left.keys() == right.keys() and all(torch.equal(left[k], right[k]) for k in left)


def pieces() -> dict:
    state = prefixed("")
    return {
        part: {k.removeprefix(part + "."): v for k, v in state.items() if k.startswith(part)}
        for part in ("stem", "norm", "head")
    }


FORMS = {
    "plain": lambda: prefixed(""),
    "data-parallel": lambda: nn.DataParallel(network(0)).state_dict(),
    "model.": lambda: prefixed("model."),
    "net.": lambda: prefixed("net."),
    "any.": lambda: prefixed("segmentor.student_net."),
    "compiled": lambda: prefixed("_orig_mod."),
    "stacked": lambda: prefixed("module.model._orig_mod."),
    "compiled-inside": lambda: {
        key.replace("stem.", "stem._orig_mod."): v for key, v in prefixed("model.").items()
    },
    "state_dict": lambda: {"epoch": 3, "state_dict": prefixed("module.")},
    "model": lambda: {"model": prefixed(""), "optimizer": {"state": {0: torch.zeros(2)}}},
    "model_state": lambda: {"model_state": prefixed("")},
    "network_weights": lambda: {"network_weights": prefixed(""), "optimizer_state": None},
    "any entry": lambda: {"generator": prefixed(""), "discriminator": {"a.b": torch.ones(3)}},
    "pieces": pieces,
    "ema": lambda: {"ema": {"module": prefixed("")}, "step": torch.tensor(4)},
    "averaged": lambda: torch.optim.swa_utils.AveragedModel(network(0)).state_dict(),
    "same-twice": lambda: {"model": prefixed(""), "ema": prefixed("")},
    "counted": lambda: prefixed("") | {"stem.total_ops": torch.zeros(1, dtype=torch.float64)},
    "half": lambda: {k: v.half().float() for k, v in prefixed("").items()},
}


class Holder(nn.Module):
    """How users wrap a network."""

    def __init__(self, net):
        super().__init__()
        self.net = net


@pytest.mark.parametrize("held", [False, True])
@pytest.mark.parametrize("form", FORMS)
def test_round_trip(form, held, tmp_path):
    path = tmp_path / "net.pt"
    torch.save(FORMS[form](), path)
    net = network(1)
    assert not same(net, network(0))
    assert load_weights(Holder(Holder(net)) if held else net, path) == ()
    if form != "half":
        assert same(net, network(0))


def test_steps_before_a_network(tmp_path):
    net = nn.Sequential(nn.Identity(), network(1))
    fit_state(net, {"state_dict": prefixed("module.")}, "f")
    assert same(net[1], network(0))


def test_one_layer_is_not_filled_by_any_other_like_it():
    with pytest.raises(InputError, match=r"2 missing \(net.weight, net.bias\)"):
        fit_state(Holder(nn.Conv2d(3, 2, 1)), {"": {"other.weight": torch.ones(2, 3, 1, 1),
                                                    "other.bias": torch.ones(2)}}, "f")  # fmt: skip


def test_safetensors(tmp_path):
    path = tmp_path / "net.safetensors"
    save_file(prefixed("module."), path)
    net = network(1)
    load_weights(net, path)
    assert same(net, network(0))


def test_a_missing_counter_changes_nothing():
    state = {k: v for k, v in prefixed("").items() if not k.endswith("num_batches_tracked")}
    net = network(1)
    fit_state(net, {"": state}, "file")
    assert torch.equal(net.norm.running_var, network(0).norm.running_var)


def broken(**changes) -> dict:
    state = prefixed("")
    for key, value in changes.items():
        key = key.replace("__", ".")
        if value is None:
            del state[key]
        else:
            state[key] = value
    return state


@pytest.mark.parametrize(
    ("state", "words"),
    [
        (broken(head__weight=None), r"1 missing \(head.weight\)"),
        (broken(stem__gate=torch.zeros(4)), r"1 unexpected \(stem.gate\)"),
        (broken(head__2__weight=torch.zeros(4)), r"1 unexpected \(head.2.weight\)"),
        (
            broken(head__weight=torch.zeros(5, 4, 1, 1)),
            r"1 of another shape \(head.weight is \[5, 4, 1, 1\], the network's \[2, 4, 1, 1\]\)",
        ),
        (broken(norm__running_mean=None, head__bias=None), "norm.running_mean, head.bias"),
        (
            {"other.weight": torch.zeros(2)},
            r"8 missing \(stem.weight, stem.bias, norm.weight, ...\)",
        ),
    ],
)
@pytest.mark.parametrize("held", [False, True])
def test_mismatches_are_named_and_nothing_is_loaded(state, words, held):
    net = network(1)
    with pytest.raises(InputError, match=words) as raised:
        fit_state(Holder(net) if held else net, {"": state}, "some.pt")
    assert str(raised.value).startswith("some.pt: ")
    assert "\n" not in str(raised.value)
    assert same(net, network(1))


def numbered(depth: int) -> nn.Module:
    net = nn.Module()
    for i in range(depth):
        setattr(net, f"layer{i + 1}", nn.Conv2d(3, 3, 1))
    return net


def test_a_deeper_network_is_not_taken_for_a_shallow_one():
    """All keys of the shallow one are there, in the right shape; it would still be another."""
    with pytest.raises(InputError, match=r"2 unexpected \(layer3.weight, layer3.bias\)"):
        fit_state(numbered(2), {"": numbered(3).state_dict()}, "deep.pt")
    blocks = [nn.Sequential(*(nn.Conv2d(3, 3, 1) for _ in range(n))) for n in (2, 3)]
    state = {"body." + key: value for key, value in blocks[1].state_dict().items()}
    net = nn.ModuleDict({"body": blocks[0], "head": nn.Conv2d(3, 2, 1)})
    state |= {"head." + key: value for key, value in net["head"].state_dict().items()}
    with pytest.raises(InputError, match=r"2 unexpected \(body.2.weight, body.2.bias\)"):
        fit_state(net, {"": state}, "deep.pt")


def test_what_lies_outside_of_the_network_is_named_and_left():
    state = prefixed("model.") | {
        "criterion.weight": torch.zeros(2),
        "px_mean": torch.zeros(1, 3, 1, 1),
        "metric.total": torch.zeros(3),
    }
    net = network(1)
    left = fit_state(
        net, {"state_dict": state, "optimizer.state.0": {"exp_avg": torch.ones(2)}}, ""
    )
    assert same(net, network(0))
    assert left == ("criterion.weight", "px_mean", "metric.total")


def test_auxiliary_heads_and_constants_within_are_named_and_left():
    state = broken(aux_head__0__weight=torch.ones(3), stem__fc__weight=torch.ones(2, 4),
                   norm__mean=torch.ones(3))  # fmt: skip
    net = network(1)
    assert fit_state(net, {"": state}, "") == (
        "aux_head.0.weight", "stem.fc.weight", "norm.mean",
    )  # fmt: skip
    assert same(net, network(0))


def test_left_keys_stand_in_the_origin(tmp_path):
    state = prefixed("model.") | {"criterion.weight": torch.zeros(2)}
    torch.save({"state_dict": state}, tmp_path / "last.ckpt")
    config = ModelConfig(source="factory", name="x", weights=str(tmp_path / "last.ckpt"))
    model = finish(config, network(1), ("a", "b"))
    assert model.origin == "last.ckpt; left out of the checkpoint: criterion.weight"
    assert listed(["head.a", "head.b", "c.d", "e"]) == "head (2 tensors), c, e"
    assert listed([f"p{i}.q" for i in range(5)]) == "p0, p1, p2, ... (5)"


class Renames(nn.Module):
    """Its loader knows the names of an older version, and a hook those of the oldest."""

    def __init__(self):
        super().__init__()
        self.body, self.head = nn.Conv2d(3, 4, 1), nn.Conv2d(4, 2, 1)
        self._register_load_state_dict_pre_hook(self._oldest)

    @staticmethod
    def _oldest(state, prefix, *rest):
        for key in list(state):
            state[key.replace("trunk.", "body.")] = state.pop(key)

    def load_state_dict(self, state, strict=True):
        for key in list(state):
            state[key.replace("last.", "head.")] = state.pop(key)
        return super().load_state_dict(state, strict)


@pytest.mark.parametrize("before", ["", "module."])
@pytest.mark.parametrize("held", [False, True])
def test_keys_that_the_own_loader_renames(before, held):
    torch.manual_seed(0)
    saved, net = Renames(), Renames()
    names = {"body.": "trunk.", "head.": "last."}
    state = {}
    for key, value in saved.state_dict().items():
        for new, old in names.items():
            key = key.replace(new, old)
        state[before + key] = value
    assert fit_state(Holder(net) if held else net, {"state_dict": state}, "") == ()
    assert same(net, saved)


class Forgets(nn.Conv2d):
    """Its loader drops what does not fit, without a word, as many people's do."""

    def load_state_dict(self, state, strict=True):
        own = self.state_dict()
        fitting = {k: v for k, v in state.items() if k in own and v.shape == own[k].shape}
        own.update(fitting)
        return super().load_state_dict(own)


def test_a_loader_that_drops_weights_silently_is_found_out():
    net = Forgets(3, 2, 1)
    before = {key: value.clone() for key, value in net.state_dict().items()}
    state = {"weight": torch.ones(5, 3, 1, 1), "bias": torch.ones(2)}
    with pytest.raises(InputError, match=r"1 of another shape \(weight"):
        fit_state(net, {"": state}, "f")
    assert all(torch.equal(net.state_dict()[key], before[key]) for key in before)


class Fails(nn.Conv2d):
    def load_state_dict(self, state, strict=True):
        raise KeyError("no_such_key")


def test_a_loader_that_fails_is_quoted_with_its_line():
    state = nn.Conv2d(3, 2, 1).state_dict()
    with pytest.raises(InputError, match=r"says KeyError: 'no_such_key' \(line \d+ of .*test_fit"):
        fit_state(Fails(3, 2, 1), {"": state}, "f")


@pytest.mark.parametrize(
    "states",
    [
        {"model": prefixed(""), "ema": prefixed("", 5)},
        {"state_dict": prefixed("model.") | prefixed("ema.", 5)},
    ],
)
def test_several_networks_are_told_apart_by_a_key(states):
    with pytest.raises(InputError, match=r"several networks \(.*ema, .*model\).*weights_key"):
        fit_state(network(1), states, "f")
    for part, seed in (("ema", 5), ("model", 0)):
        net = network(1)
        assert fit_state(net, states, "f", next(iter(states)) + "." + part
                         if "state_dict" in states else part) == ()  # fmt: skip
        assert same(net, network(seed))
    with pytest.raises(InputError, match="weights_key: it has no 'emma'; did you mean"):
        fit_state(network(1), {"ema": prefixed(""), "model": prefixed("")}, "f", "emma")


OLD, NEW = nn.utils.weight_norm, nn.utils.parametrizations.weight_norm
NONE = staticmethod(lambda module, dim=0: module)


@pytest.mark.filterwarnings("ignore:.*weight_norm.*:FutureWarning")
@pytest.mark.parametrize("dim", [0, None])
@pytest.mark.parametrize("saved", [OLD, NEW])
@pytest.mark.parametrize("wanted", [OLD, NEW, NONE])
def test_weight_norm_in_all_forms(saved, wanted, dim):
    def net(norm, seed):
        torch.manual_seed(seed)
        wrap = norm.__func__ if isinstance(norm, staticmethod) else norm
        return nn.Sequential(wrap(nn.Conv2d(3, 4, 3), dim=dim), nn.Conv2d(4, 2, 1))

    source, target = net(saved, 0), net(wanted, 1)
    with torch.no_grad():  # a length that is not that of the direction
        for key, value in source.state_dict().items():
            if key.endswith(("weight_g", "original0")):
                value.mul_(torch.rand_like(value) + 0.5)
    images = torch.rand(1, 3, 6, 6)
    assert fit_state(target, {"": source.state_dict()}, "f") == ()
    torch.testing.assert_close(target(images), source(images))


def test_keys_of_any_length_are_read_in_their_length():
    """A million letters: their square would take days."""
    state = {one * 1_000_000: torch.ones(1) for one in ("a", "_g", "parametrizations.", "a.")}
    began = time.process_time()
    assert renormed(state, {"a.weight": torch.ones(2)}).keys() == state.keys()
    assert time.process_time() - began < 20


def test_names_that_only_look_like_weight_norm_stay():
    state = {"a.weight_g": torch.ones(2), "b.mean_v": torch.ones(2), "c": torch.ones(1)}
    assert renormed(state, {"a.weight": torch.ones(2)}).keys() == state.keys()


@pytest.mark.parametrize(
    "dtype", [torch.bool, torch.uint8, torch.int64, torch.float8_e4m3fn, torch.complex64]
)
def test_numbers_of_another_kind_are_not_taken_for_weights(dtype):
    """A cast would drop what lies behind the point, a scale, or half of each number."""
    net, state = network(0), dict(network(1).state_dict())
    key = next(iter(state))
    before = hash_tensors(net.state_dict().items())
    state[key] = state[key].to(dtype)
    name = str(dtype).removeprefix("torch.")
    with pytest.raises(InputError, match=rf"{key} holds {name}, the network's float32"):
        fit_state(net, {"": state}, "net.pt")
    assert hash_tensors(net.state_dict().items()) == before


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_real_numbers_of_another_precision_are(dtype):
    net, state = network(0), network(1).state_dict()
    fit_state(net, {"": {key: value.to(dtype) for key, value in state.items()}}, "net.pt")
    found = net.state_dict()
    assert all(torch.allclose(found[key], state[key].to(found[key]), atol=0.02) for key in state)
