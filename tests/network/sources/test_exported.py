"""Files of torch.export: a toy network, and what else such a file could hold."""

import json
import os
import zipfile

import pytest
import torch
from torch import Tensor, nn
from torch.export import Dim, export

from conceptseg.config import ModelConfig, Preprocessing
from conceptseg.errors import InputError
from conceptseg.network.model import load_model

CLASSES = ("a", "b", "c")


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder = nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1), nn.BatchNorm2d(4), nn.ReLU())
        self.head = nn.Conv2d(4, 3, 1)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return {"out": self.head(self.encoder(x))}


def net() -> Net:
    torch.manual_seed(0)
    return Net().eval()


def expected(images: Tensor) -> Tensor:
    maps = net()(images)["out"]
    return nn.functional.interpolate(maps, images.shape[2:], mode="bilinear").detach()


def load(path, **options):
    return load_model(ModelConfig(source="exported", name=str(path), **options), CLASSES)


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    path = tmp_path_factory.mktemp("exported") / "net.pt2"
    sides = {0: Dim("n"), 2: Dim("h", min=8), 3: Dim("w", min=8)}
    torch.export.save(export(net(), (torch.rand(2, 3, 16, 16),), dynamic_shapes=(sides,)), path)
    return path


def test_exported_runs_and_keeps_its_layers(exported):
    model = load(exported)
    images = torch.rand(3, 3, 16, 20, requires_grad=True)
    logits = model(images)
    torch.testing.assert_close(logits, expected(images))
    assert torch.autograd.grad(logits.sum(), images)[0].abs().sum() > 0
    infos = {info.name: info for info in model.layers(images)}
    assert infos["encoder.0"].shape == (4, 8, 10)
    assert [info.name for info in infos.values() if info.recommended] == ["encoder"]
    assert model.fingerprint() == load(exported).fingerprint()


def test_exported_layers_can_be_recorded(exported):
    from conceptseg.network.record import encode

    images = torch.rand(2, 3, 16, 16)
    found = encode(load(exported), images, "encoder")
    torch.testing.assert_close(found, net().encoder(images).detach())


def test_fixed_sides_become_the_size(tmp_path):
    path = tmp_path / "net.pt2"
    dynamic = ({0: Dim("n")},)
    torch.export.save(export(net(), (torch.rand(2, 3, 16, 24),), dynamic_shapes=dynamic), path)
    model = load(path)
    assert model.preprocessing == Preprocessing(size=(16, 24))
    assert model(torch.rand(1, 3, 30, 30)).shape == (1, 3, 30, 30)
    with pytest.raises(InputError, match="takes images with 3 channels"):
        model(torch.rand(1, 1, 16, 24))


def test_fixed_batch_is_refused(tmp_path):
    path = tmp_path / "net.pt2"
    torch.export.save(export(net(), (torch.rand(2, 3, 16, 24),)), path)
    with pytest.raises(InputError, match=r"batches of exactly 2.*dynamic_shapes"):
        load(path)


class Malicious:
    def __init__(self, sentinel):
        self.sentinel = sentinel

    def __reduce__(self):
        return os.mkdir, (str(self.sentinel),)


def pickled(sentinel, folder) -> bytes:
    torch.save((Malicious(sentinel), {}), folder / "code.pt")
    return (folder / "code.pt").read_bytes()


def rewritten(source, target, changes=(), added=(), compression=zipfile.ZIP_STORED):
    """A copy in which `changes` (end of a name -> function of its bytes) are made."""
    changes = dict(changes)
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w", compression) as new:
        for entry in old.infolist():
            data = old.read(entry.filename)
            for end, change in changes.items():
                data = change(data) if entry.filename.endswith(end) else data
            new.writestr(entry.filename, data)
        for name, data in dict(added).items():
            new.writestr(name, data)
    return target


def program(change):
    """A change of the program's JSON."""

    def changed(data: bytes) -> bytes:
        content = json.loads(data)
        change(content)
        return json.dumps(content).encode()

    return {"models/model.json": changed}


def first_size(content, text):
    graph = content["graph_module"]["graph"]
    graph["tensor_values"]["x"]["sizes"][0]["as_expr"]["expr_str"] = text


def first_step(content, **entries):
    content["graph_module"]["graph"]["nodes"][0].update(entries)


def renamed(content, name):
    """The image's name in all places, as torch would write it into code."""
    text = json.dumps(content).replace('"x"', json.dumps(name))
    content.update(json.loads(text))


def shell(sentinel):
    words = {"as_string": f"mkdir {sentinel}"}
    return {"inputs": [{"name": "", "arg": words, "kind": 1}], "outputs": []}


def spec(content, kind, context):
    entry = content["graph_module"]["module_call_graph"][0]["signature"]
    children = [{"type": None, "context": None, "children_spec": []}]
    told = {"type": kind, "context": context, "children_spec": children}
    entry["out_spec"] = json.dumps([1, told])


HOLDS_CODE = {
    "a size that is Python": lambda c, s: first_size(c, f"__import__('os').mkdir('{s}')"),
    "a size that is a method": lambda c, s: first_size(c, "Integer(3).__class__"),
    "a size that never ends": lambda c, s: first_size(c, "9**9**9**9"),
    "a size of text": lambda c, s: first_size(c, "Symbol('x y')"),
    "a step that calls the shell": lambda c, s: first_step(c, target="torch.os.mkdir", **shell(s)),
    "a step that loads a library": lambda c, s: first_step(c, target="torch.ops.load_library"),
    "a step that writes a file": lambda c, s: first_step(c, target="torch.ops.aten.save.default"),
    "a step that maps a file": lambda c, s: first_step(
        c, target="torch.ops.aten.from_file.default"
    ),
    "a step that gets attributes": lambda c, s: first_step(c, target="_operator.attrgetter"),
    "a name that is code": lambda c, s: renamed(c, f"x):\n  import os; os.mkdir('{s}')\ndef f("),
    "an output to be imported": lambda c, s: spec(
        c, "builtins.dict", json.dumps([{"__enum__": True, "fqn": "antigravity:A", "name": "B"}])
    ),
    "an output with a maker": lambda c, s: spec(
        c,
        "collections.defaultdict",
        {
            "default_factory_module": "antigravity",
            "default_factory_name": "x",
            "dict_context": [],
        },
    ),
}


@pytest.mark.parametrize("what", HOLDS_CODE)
def test_a_program_that_holds_code_is_refused_unrun(what, exported, tmp_path):
    sentinel = tmp_path / "ran"
    change = program(lambda content: HOLDS_CODE[what](content, sentinel))
    with pytest.raises(InputError, match=r"net.pt2: (a size|a step|a text|it takes)") as raised:
        load(rewritten(exported, tmp_path / "net.pt2", change))
    assert "\n" not in str(raised.value)
    assert not sentinel.exists()


@pytest.mark.parametrize("name", ["sample_inputs/model.pt", "weights/weight_0"])
def test_a_pickle_with_code_is_not_opened(name, exported, tmp_path):
    sentinel, code = tmp_path / "ran", pickled(tmp_path / "ran", tmp_path)
    changes = {name: lambda data: code}
    if name.endswith("weight_0"):
        table = lambda data: data.replace(b'"use_pickle": false', b'"use_pickle": true')  # noqa: E731
        changes["weights_config.json"] = table
    with pytest.raises(InputError, match="more than tensors|a way that is not opened"):
        load(rewritten(exported, tmp_path / "net.pt2", changes))
    assert not sentinel.exists()


@pytest.mark.parametrize("name", ["state_dict", "constants", "example_inputs"])
def test_the_layout_of_older_torch_is_refused_unopened(name, exported, tmp_path):
    """There, any of three pickles would be opened with all it holds."""
    import torch._export.serde.schema as schema

    old = tmp_path / "old.pt2"
    with zipfile.ZipFile(exported) as source, zipfile.ZipFile(old, "w") as target:
        target.writestr("version", ".".join(map(str, schema.SCHEMA_VERSION)))
        graph = next(n for n in source.namelist() if n.endswith("models/model.json"))
        target.writestr("serialized_exported_program.json", source.read(graph))
        plain = source.read(next(n for n in source.namelist() if n.endswith("inputs/model.pt")))
        for part in ("state_dict", "constants", "example_inputs"):
            code = pickled(tmp_path / "ran", tmp_path) if part == name else plain
            target.writestr(f"serialized_{part}.pt", code)
    with pytest.raises(InputError, match="not opened|not of the layout"):
        load(old)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    "name", ["data/aotinductor/model/net.so", "data/constants/opaque_obj_0", "models/other.json"]
)
def test_compiled_opaque_and_further_parts_are_refused(name, exported, tmp_path):
    bad = rewritten(exported, tmp_path / "net.pt2", added={f"net/{name}": b"x"})
    with pytest.raises(InputError, match="is not opened"):
        load(bad)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"models/model.json": lambda data: data[:100]}, "damaged"),
        ({"models/model.json": lambda data: b"\xff\xfe" + data}, "damaged"),
        ({"models/model.json": lambda data: b"[1, 2]"}, "damaged"),
        ({"models/model.json": lambda data: b"[" * 100_000}, "damaged"),
        ({"weights_config.json": lambda data: b'{"config": {"a": 3}}'}, "damaged"),
        (
            {"weights_config.json": lambda data: data.replace(b'"as_int": 4}', b'"as_int": 4e9}')},
            "more numbers than are stored",
        ),
        ({"archive_format": lambda data: b"pt3"}, "not pt2"),
        ({"archive_version": lambda data: b"99"}, "damaged"),
    ],
)
def test_damaged_files_are_told_in_one_line(change, words, exported, tmp_path):
    with pytest.raises(InputError, match=rf"net.pt2: .*{words}") as raised:
        load(rewritten(exported, tmp_path / "net.pt2", change))
    assert "\n" not in str(raised.value)


def test_a_compressed_file_is_refused_before_it_grows(exported, tmp_path):
    bad = rewritten(exported, tmp_path / "net.pt2", compression=zipfile.ZIP_DEFLATED)
    with pytest.raises(InputError, match="is compressed"):
        load(bad)


class Sized(nn.Module):
    """Steps on sizes, constants, a part without gradients: what networks are made of."""

    def __init__(self):
        super().__init__()
        self.a = nn.Conv2d(3, 4, 3, padding=1)
        self.b = nn.Conv2d(4, 3, 1)

    def forward(self, x):
        with torch.no_grad():
            mean = self.a(x).mean((2, 3), keepdim=True)
        y = nn.functional.gelu(self.a(x) - mean, approximate="tanh") * torch.tensor([2.0])
        y = nn.functional.max_pool2d(y, 2)
        size = (x.shape[2], x.shape[3])
        return nn.functional.interpolate(self.b(y), size=size, mode="bilinear")


def test_programs_of_networks_are_read(tmp_path):
    network, path = Sized().eval(), tmp_path / "net.pt2"
    sides = {0: Dim.DYNAMIC, 2: Dim.DYNAMIC, 3: Dim.DYNAMIC}
    torch.export.save(export(network, (torch.rand(2, 3, 16, 16),), dynamic_shapes=(sides,)), path)
    images = torch.rand(1, 3, 22, 18)
    torch.testing.assert_close(load(path)(images), network(images))


def test_other_files_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"gone.pt2: no such"):
        load(tmp_path / "gone.pt2")
    text = tmp_path / "text.pt2"
    text.write_text("hello")
    with pytest.raises(InputError, match=r"text.pt2: damaged"):
        load(text)
    torch.save(net().state_dict(), tmp_path / "state.pt2")
    with pytest.raises(InputError, match="not of the layout|not opened"):
        load(tmp_path / "state.pt2")
    zipfile.ZipFile(tmp_path / "empty.pt2", "w").close()
    with pytest.raises(InputError, match="not of the layout"):
        load(tmp_path / "empty.pt2")
    with pytest.raises(InputError, match="carries its weights"):
        load(text, weights="x.pt")
    with pytest.raises(InputError, match="takes none"):
        load(text, arguments={"a": 1})


def test_torchscript_is_no_source():
    with pytest.raises(InputError, match="torchscript"):
        load_model(ModelConfig(source="torchscript", name="net.pt"), CLASSES)
