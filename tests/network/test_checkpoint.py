"""Checkpoints in every form they come in, and those that must not be opened."""

import os
import pathlib
import pickle
import subprocess
import sys
import zipfile

import pytest
import torch
from safetensors.torch import save_file

from conceptseg.errors import InputError
from conceptseg.network.checkpoint import RECORDS, hash_tensors, load_state
from tests.network.small_states import network, prefixed


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


def test_torchscript_is_refused_with_what_can_be_loaded(tmp_path):
    path = tmp_path / "net.pt"
    torch.jit.save(torch.jit.trace(network(0).eval(), torch.rand(1, 3, 8, 8)), path)
    with pytest.raises(InputError, match=r"is a TorchScript program.*state_dict.*source: exported"):
        load_state(path)


HISTORY = """
import sys, types
import numpy as np, torch
from pathlib import Path
from argparse import Namespace
from collections import defaultdict


def module(name, kind, base=object):
    made = type(kind, (base,), {"__module__": name})
    for part in range(1, name.count(".") + 2):
        path = ".".join(name.split(".")[:part])
        sys.modules.setdefault(path, types.ModuleType(path))
    setattr(sys.modules[name], kind, made)
    return made


buffer = module("mmengine.logging.history_buffer", "HistoryBuffer")()
buffer.values = np.arange(3.0)
given = module("lightning.fabric.utilities.data", "AttributeDict", dict)(width=3)
node = module("omegaconf.dictconfig", "DictConfig")()
node.content = {"lr": 0.1}
torch.save(
    {
        "state_dict": {"head.weight": torch.ones(2, 3)},
        "best": np.float64(0.7),
        "losses": [np.float32(0.1), np.int64(3)],
        "curve": np.zeros((2, 2)),
        "args": Namespace(out=Path("runs"), lr=0.1),
        "counts": defaultdict(list, {"a": [1]}),
        "message_hub": {"loss": buffer},
        "hyper_parameters": given,
        "cfg": node,
    },
    sys.argv[1],
)
"""


def test_records_beside_the_weights_are_passed_over(tmp_path):
    path = tmp_path / "net.pth"
    subprocess.run([sys.executable, "-c", HISTORY, str(path)], check=True)
    before = torch.serialization.get_safe_globals()
    states = load_state(path)
    assert torch.equal(states["state_dict"]["head.weight"], torch.ones(2, 3))
    assert "mmengine" not in sys.modules and "omegaconf" not in sys.modules
    assert set(torch.serialization.get_safe_globals()) == set(before)


def test_stand_ins_run_nothing(tmp_path):
    """A pickle that calls a record with what would do harm calls a stand-in."""
    path = tmp_path / "net.pt"

    class Called:
        def __reduce__(self):
            return pathlib.PosixPath, (str(tmp_path), "x")

    torch.save({"state_dict": prefixed(""), "more": Called()}, path)
    assert load_state(path).keys() == {"state_dict"}
    assert not {"os", "posix", "subprocess", "functools", "operator"} & RECORDS.keys()
    assert not {"eval", "exec", "getattr", "open"} & set(RECORDS["builtins"].split())


def test_every_mapping_of_tensors_is_found_by_its_path(tmp_path):
    torch.save({"ema": {"module": prefixed("")}, "step": torch.tensor(4)}, tmp_path / "net.pt")
    states = load_state(tmp_path / "net.pt")
    assert states.keys() == {"", "ema.module"} and states[""].keys() == {"step"}
    assert states["ema.module"].keys() == prefixed("").keys()


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


@pytest.mark.parametrize(
    "cut",
    [b"\x80\x02\x58\x05", b"\x80\x02\x8a\x05", b"\x80\x02G\0", b"\x80\x02X\x01\0", b"\x80\x02J\0"],
)
def test_a_pickle_that_ends_within_an_instruction(tmp_path, cut):
    path = tmp_path / "net.pt"
    path.write_bytes(cut)
    with pytest.raises(InputError, match="damaged or no torch checkpoint"):
        load_state(path)


def test_mappings_that_hold_themselves_or_far_too_many(tmp_path):
    path = tmp_path / "net.pt"
    endless = {"state_dict": prefixed("")}
    endless["model"] = endless
    torch.save(endless, path)
    assert "state_dict" in load_state(path)
    wide = {"a": torch.zeros(2)}
    for _ in range(6):
        wide = {str(i): wide for i in range(10)}
    torch.save(wide, path)
    with pytest.raises(InputError, match="more than 100000 mappings; save the state_dict"):
        load_state(path)


def ragged(layout):
    return torch.nested.nested_tensor([torch.zeros(4), torch.zeros(2)], layout=layout)


UNUSUAL = {
    "sparse": lambda: torch.ones(4).to_sparse(),
    "sparse rows": lambda: torch.ones(4, 4).to_sparse_csr(),
    "quantised": lambda: torch.quantize_per_tensor(torch.ones(4), 0.1, 0, torch.qint8),
    "without values": lambda: torch.ones(4, device="meta"),
    "nested": lambda: ragged(torch.strided),
    "nested ": lambda: ragged(torch.jagged),
}


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("kind", UNUSUAL)
def test_tensors_that_are_no_plain_numbers_are_named(tmp_path, kind):
    path = tmp_path / "net.pt"
    torch.save({**prefixed(""), "odd.weight": UNUSUAL[kind]()}, path)
    with pytest.raises(InputError, match=rf"odd\.weight is {kind.split()[0]}.*; save plain"):
        load_state(path)


@pytest.mark.parametrize("name", ["net.pt", "net.safetensors"])
def test_a_key_that_is_no_name(tmp_path, name):
    state = {"k" * 100_000: torch.zeros(2)}
    torch.save(state, tmp_path / name) if name.endswith(".pt") else save_file(
        state, tmp_path / name
    )
    with pytest.raises(InputError, match="a key of more than 1000 characters") as caught:
        load_state(tmp_path / name)
    assert len(str(caught.value)) < 500


def test_a_packed_checkpoint_is_refused_unread(tmp_path):
    """A megabyte that unpacks to gigabytes would else be unpacked before it is looked at."""
    plain, packed = tmp_path / "plain.pt", tmp_path / "packed.pt"
    torch.save({"weight": torch.zeros(2**20)}, plain)
    with zipfile.ZipFile(plain) as source, zipfile.ZipFile(packed, "w") as target:
        for entry in source.infolist():
            way = zipfile.ZIP_DEFLATED if "/data/" in entry.filename else zipfile.ZIP_STORED
            target.writestr(entry.filename, source.read(entry.filename), way)
    assert packed.stat().st_size < 2**16
    assert load_state(plain)[""]["weight"].numel() == 2**20
    with pytest.raises(InputError, match=r"is packed, 41\d+ bytes in \d{4}, which torch's"):
        load_state(packed)


def test_weights_that_do_not_fit_their_checksum(tmp_path):
    path = tmp_path / "net.pt"
    torch.save({"weight": torch.arange(1000.0)}, path)
    data = bytearray(path.read_bytes())
    data[data.index(torch.arange(1000.0).numpy().tobytes()) + 402] ^= 1
    path.write_bytes(data)
    with pytest.raises(InputError, match="net.pt: damaged .Bad CRC-32") as raised:
        load_state(path)
    assert "\n" not in str(raised.value)
    torch.serialization.set_crc32_options(False)
    try:
        torch.save({"weight": torch.arange(1000.0)}, path)
    finally:
        torch.serialization.set_crc32_options(True)
    assert load_state(path)[""]["weight"][-1] == 999


def test_views_and_buffers_that_a_small_file_only_announces(tmp_path):
    path = tmp_path / "net.pt"
    torch.save({"weight": torch.zeros(1).expand(2**40)}, path)
    with pytest.raises(InputError, match="more memory than the file has bytes"):
        load_state(path)
    torch.save({"weight": torch.zeros(3).expand(5, 3)}, path)
    assert load_state(path)[""]["weight"].shape == (5, 3)
    torch.save({"weight": torch.zeros(3)}, path, _use_new_zipfile_serialization=False)
    data = path.read_bytes()
    announced = data.replace(b"cpuq\x06K\x03N", b"cpuq\x06\x8a\x05\0\0\0\0\x01N")
    assert announced != data
    path.write_bytes(announced)
    with pytest.raises(InputError, match="damaged|more memory"):
        load_state(path)


def test_a_pipe_is_no_checkpoint(tmp_path):
    os.mkfifo(tmp_path / "net.pt")
    with pytest.raises(InputError, match=r"net\.pt: a device or a pipe"):
        load_state(tmp_path / "net.pt")
