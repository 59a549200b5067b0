"""Checkpoints in every form they come in, and those that must not be opened."""

import os
import pickle
import zipfile

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from conceptseg.errors import InputError
from conceptseg.network.checkpoint import fit_state, hash_tensors, load_state, load_weights


def network(seed: int, outputs: int = 2) -> nn.Module:
    torch.manual_seed(seed)
    net = nn.Sequential()
    net.add_module("stem", nn.Conv2d(3, 4, 3))
    net.add_module("norm", nn.BatchNorm2d(4))
    net.add_module("head", nn.Conv2d(4, outputs, 1))
    for buffer in (net.norm.running_mean, net.norm.running_var):
        buffer.uniform_(0.5, 1.0)
    return net


def same(a: nn.Module, b: nn.Module) -> bool:
    left, right = a.state_dict(), b.state_dict()
    return left.keys() == right.keys() and all(torch.equal(left[k], right[k]) for k in left)


def prefixed(prefix: str) -> dict:
    return {prefix + key: value for key, value in network(0).state_dict().items()}


FORMS = {
    "plain": lambda: prefixed(""),
    "data-parallel": lambda: nn.DataParallel(network(0)).state_dict(),
    "model.": lambda: prefixed("model."),
    "net.": lambda: prefixed("net."),
    "compiled": lambda: prefixed("_orig_mod."),
    "stacked": lambda: prefixed("module.model._orig_mod."),
    "compiled-inside": lambda: {
        key.replace("stem.", "stem._orig_mod."): v for key, v in prefixed("model.").items()
    },
    "state_dict": lambda: {"epoch": 3, "state_dict": prefixed("module.")},
    "model": lambda: {"model": prefixed(""), "optimizer": {"state": {0: torch.zeros(2)}}},
    "model_state": lambda: {"model_state": prefixed("")},
    "ema": lambda: {"ema": {"module": prefixed("")}, "step": torch.tensor(4)},
    "same-twice": lambda: {"model": prefixed(""), "ema": prefixed("")},
    "half": lambda: {k: v.half().float() for k, v in prefixed("").items()},
}


@pytest.mark.parametrize("form", FORMS)
def test_round_trip(form, tmp_path):
    path = tmp_path / "net.pt"
    torch.save(FORMS[form](), path)
    net = network(1)
    assert not same(net, network(0))
    load_weights(net, path)
    if form != "half":
        assert same(net, network(0))


def test_safetensors(tmp_path):
    path = tmp_path / "net.safetensors"
    save_file(prefixed("module."), path)
    net = network(1)
    load_weights(net, path)
    assert same(net, network(0))


def test_a_prefix_that_only_the_network_has(tmp_path):
    wrapper = nn.Module()
    wrapper.model = network(1)
    fit_state(wrapper, prefixed(""), "file")
    assert same(wrapper.model, network(0))


def test_a_missing_counter_changes_nothing():
    state = {k: v for k, v in prefixed("").items() if not k.endswith("num_batches_tracked")}
    net = network(1)
    fit_state(net, state, "file")
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
        (broken(extra=torch.zeros(1)), r"1 unexpected \(extra\)"),
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
def test_mismatches_are_named_and_nothing_is_loaded(state, words):
    net = network(1)
    with pytest.raises(InputError, match=words) as raised:
        fit_state(net, state, "some.pt")
    assert str(raised.value).startswith("some.pt: ")
    assert "\n" not in str(raised.value)
    assert same(net, network(1))


def test_lightning_leftovers_are_named(tmp_path):
    state = prefixed("model.") | {"criterion.weight": torch.zeros(2)}
    with pytest.raises(InputError, match=r"1 unexpected \(criterion.weight\)"):
        fit_state(network(1), state, "file")


class Malicious:
    def __init__(self, sentinel):
        self.sentinel = sentinel

    def __reduce__(self):
        return os.mkdir, (str(self.sentinel),)


@pytest.mark.parametrize("protocol", [2, 4])
@pytest.mark.parametrize("writer", ["torch", "pickle", "legacy"])
@pytest.mark.parametrize("name", ["net.pt", "net.safetensors"])
def test_a_pickle_with_code_does_not_run(tmp_path, writer, protocol, name):
    sentinel, path = tmp_path / "ran", tmp_path / name
    content = {"state_dict": prefixed(""), "more": Malicious(sentinel)}
    if writer == "pickle":
        path.write_bytes(pickle.dumps(content, protocol=protocol))
    else:
        torch.save(content, path, pickle_protocol=protocol,
                   _use_new_zipfile_serialization=writer == "torch")  # fmt: skip
    with pytest.raises(InputError, match=str(path)):
        load_state(path)
    assert not sentinel.exists()
    if name.endswith(".pt"):
        with pytest.raises(InputError, match=r"could run code.*state_dict\(\) alone"):
            load_state(path)
    if writer == "pickle":  # the bait is live
        pickle.loads(path.read_bytes())
        assert sentinel.exists()


def test_a_whole_saved_module_is_refused(tmp_path):
    path = tmp_path / "net.pt"
    torch.save(network(0), path)
    with pytest.raises(InputError, match="torch.nn.modules"):
        load_state(path)


def damaged(path, kind):
    torch.save(prefixed(""), path)
    whole = path.read_bytes()
    content = {
        "text": b"hello, no checkpoint\n",
        "empty": b"",
        "truncated": whole[: len(whole) // 2],
        "zip": None,
    }[kind]
    if content is None:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("a/b", "c")
    else:
        path.write_bytes(content)


@pytest.mark.parametrize("kind", ["text", "empty", "truncated", "zip"])
@pytest.mark.parametrize("name", ["net.pt", "net.safetensors"])
def test_damaged(tmp_path, name, kind):
    path = tmp_path / name
    damaged(path, kind)
    with pytest.raises(InputError, match=rf"{path}: ") as raised:
        load_state(path)
    assert "\n" not in str(raised.value)


def test_missing(tmp_path):
    with pytest.raises(InputError, match=r"gone.pt: no such checkpoint"):
        load_state(tmp_path / "gone.pt")


@pytest.mark.parametrize("content", [[1, 2], {"epoch": 3}, {"model": {"epoch": 3}}, torch.zeros(2)])
def test_no_weights(tmp_path, content):
    torch.save(content, tmp_path / "net.pt")
    with pytest.raises(InputError, match="holds no weights by name"):
        load_state(tmp_path / "net.pt")


def test_several_networks(tmp_path):
    torch.save({"model": prefixed(""), "ema": broken(head__bias=torch.ones(2))}, tmp_path / "n.pt")
    with pytest.raises(InputError, match=r"several networks \(model, ema\)"):
        load_state(tmp_path / "n.pt")


def test_torchscript_is_sent_to_its_source(tmp_path):
    path = tmp_path / "net.pt"
    torch.jit.save(torch.jit.trace(network(0).eval(), torch.rand(1, 3, 8, 8)), path)
    with pytest.raises(InputError, match="model.source torchscript"):
        load_state(path)


def test_hash_sees_every_bit_and_nothing_else():
    named = list(network(0).state_dict().items())
    clean = hash_tensors(named)
    assert clean == hash_tensors(reversed(named))
    laid_out = [
        (k, v.to(memory_format=torch.channels_last) if v.ndim == 4 else v) for k, v in named
    ]
    assert clean == hash_tensors(laid_out)
    for index, (name, tensor) in enumerate(named):
        changed = tensor.clone()
        changed.view(-1)[-1] += 1
        others = [*named[:index], (name, changed), *named[index + 1 :]]
        assert hash_tensors(others) != clean, name
    assert hash_tensors([("a", torch.zeros(2, 3))]) != hash_tensors([("a", torch.zeros(3, 2))])
    assert hash_tensors([("a", torch.zeros(2))]) != hash_tensors([("b", torch.zeros(2))])
    assert hash_tensors([("a", torch.tensor(1.0, dtype=torch.bfloat16))])
