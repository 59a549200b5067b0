import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint, checkpoint_sequential

from conceptseg import notebook
from conceptseg.catalogue import load
from conceptseg.config import ModelConfig
from conceptseg.errors import InputError
from conceptseg.explain.target import Target
from conceptseg.network.model import SegmentationModel, load_model
from conceptseg.network.plain import as_written, plain
from conceptseg.network.record import Recorder, Tail
from conceptseg.network.sources._common import finish

CLASSES = ("a", "b")
LAYER = "down.0"


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.up = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(True))
        self.down = nn.Sequential(nn.Conv2d(4, 4, 2, 2), nn.ReLU())
        self.head = nn.Conv2d(4, 2, 1)

    def run(self, part, x):
        return part(x)

    def forward(self, x):
        return self.head(self.run(self.down, self.run(self.up, x)))


class Saving(Net):
    reentrant = True

    def run(self, part, x):
        return checkpoint(part, x, use_reentrant=self.reentrant)


class SavingNew(Saving):
    reentrant = False


class InSegments(Net):
    def run(self, part, x):
        return checkpoint_sequential(part, 2, x, use_reentrant=False)


def compiled(net):
    return torch.compile(net, backend="eager")


def partly(net):
    net.down = compiled(net.down)
    net.head = nn.DataParallel(net.head)
    return net


def in_place(net):
    net.compile(backend="eager")
    return net


def function(net):
    part = compiled(net.down.forward)
    net.run = lambda module, x: part(x) if module is net.down else module(x)
    return net


def warm(net):
    net = compiled(net.eval())
    with torch.no_grad():
        net(torch.rand(1, 3, 8, 8))
    return net


def self_made(kind, seed=0):
    torch.manual_seed(seed)
    return kind()


WAYS = {
    "reentrant": lambda: self_made(Saving),
    "not reentrant": lambda: self_made(SavingNew),
    "sequential": lambda: self_made(InSegments),
    "compiled": lambda: compiled(self_made(Net)),
    "compiled twice": lambda: compiled(nn.DataParallel(compiled(self_made(Net)))),
    "a part compiled": lambda: partly(self_made(Net)),
    "compiled in place": lambda: in_place(self_made(Net)),
    "a function compiled": lambda: function(self_made(Net)),
    "compiled and run": lambda: warm(self_made(Net)),
    "parallel": lambda: nn.DataParallel(self_made(Net)),
    "averaged": lambda: torch.optim.swa_utils.AveragedModel(self_made(Net)),
}


def images():
    return torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("method", ["seg_grad_cam", "vanilla_saliency", "lrp", "seg_ablation_cam"])
def test_explained_as_the_plain_network(way, method):
    explained = []
    for net in (self_made(Net), WAYS[way]()):
        model = SegmentationModel(net, CLASSES)
        known = load("explainers", method)
        made = known(layer=LAYER) if "layer" in known.model_fields else known()
        explained.append((model(images()), made(model, images(), Target(1))))
        assert [name for name, _ in model.module.named_modules()][1:3] == ["up", "up.0"]
    for ours, theirs in zip(*explained, strict=True):
        torch.testing.assert_close(ours, theirs)
    assert explained[0][1].abs().sum() > 0


def test_nothing_is_compiled():
    """A compiler that would be asked is not."""
    asked = []

    def backend(graph, inputs):
        asked.append(graph)
        return graph.forward

    net = self_made(Net)
    part = torch.compile(net.down.forward, backend=backend)
    net.run = lambda module, x: part(x) if module is net.down else module(x)
    SegmentationModel(torch.compile(net, backend=backend), CLASSES)(images())
    assert asked == []
    with torch.no_grad():
        net(images())
    assert asked


def test_checkpoints_work_again_afterwards():
    net = self_made(SavingNew)
    calls = []
    net.down.register_forward_pre_hook(lambda *_: calls.append(1))
    with as_written():
        net(images()).sum().backward()
    assert len(calls) == 1
    with pytest.raises(ZeroDivisionError), as_written():
        raise ZeroDivisionError
    net(images()).sum().backward()
    assert len(calls) == 3  # once forward, once again for the backward pass


class Frozen(Net):
    def forward(self, x):
        with torch.no_grad():
            x = self.down(self.up(x))
        return self.head(x)


def test_a_layer_without_gradients_is_named():
    model = SegmentationModel(self_made(Frozen), CLASSES)
    with pytest.raises(InputError, match="'down.0': the network's code runs it without gradients"):
        Tail.of(model, images(), LAYER, graph=True)
    with (
        pytest.raises(InputError, match="'down.0': the network's code runs it without gradients"),
        Recorder(model, [LAYER], gradients=True) as recorder,
    ):
        recorder(images())
    assert Tail.of(model, images(), LAYER).logits.shape == (2, 2, 8, 8)


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float64])
def test_other_types_run_in_float32(kind):
    config = ModelConfig(source="factory", name="x")
    model = finish(config, self_made(Net).to(kind), CLASSES, origin="w.pt")
    assert model(images()).dtype == torch.float32
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    name = str(kind).removeprefix("torch.")
    assert model.origin == f"w.pt; weights of {name} run in float32"


def test_one_part_in_half():
    net = self_made(Net)
    net.down.half()
    model = notebook.own(net, CLASSES)
    assert model.origin == "random; weights of float16 run in float32"
    assert torch.isfinite(model(images())).all()


def of_a_compiled_one():
    return compiled(self_made(Net, 1))


def test_a_compiled_network_takes_its_own_checkpoint(tmp_path):
    saved = compiled(self_made(Net))
    torch.save(saved.state_dict(), tmp_path / "w.pt")
    config = ModelConfig(source="factory", name=f"{__name__}:of_a_compiled_one",
                         weights=str(tmp_path / "w.pt"))  # fmt: skip
    model = load_model(config, CLASSES)
    assert torch.equal(model.module.head.weight, saved.head.weight)
    assert type(model.module) is Net


class HidesModules(Net):
    """Its own attribute hides a method of torch's, which never minds."""

    def __init__(self):
        super().__init__()
        self.modules = []
        self.down.modules = []


@pytest.mark.parametrize("method", ["seg_grad_cam", "lrp", "guided_backpropagation", "deep_lift"])
def test_a_network_that_hides_modules(method):
    maps = []
    for kind in (Net, HidesModules):
        model = SegmentationModel(self_made(kind), CLASSES)
        layer = model.layer_name("auto", images())
        known = load("explainers", method)
        made = known(layer=layer) if "layer" in known.model_fields else known()
        maps.append(made(model, images(), Target(1)))
    assert torch.equal(*maps)


def test_plain_leaves_others_alone():
    class OptimizedModule(Net):
        """Of the user's own."""

    net = self_made(OptimizedModule)
    assert plain(net) is net
