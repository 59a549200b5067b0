"""What the user's network or factory raises is told in its words, with the line in his file."""

import importlib.util
import subprocess
import sys
import textwrap

import pytest
import torch
from torch import nn

from conceptseg import catalogue
from conceptseg.config import ModelConfig
from conceptseg.errors import EXIT_DEFECT, EXIT_INPUT, EXIT_MEMORY, InputError
from conceptseg.network.blame import Others, escaped, is_theirs, missing_module
from conceptseg.network.model import SegmentationModel, load_model
from conceptseg.network.record import Recorder, Tail
from conceptseg.study.__main__ import main
from conceptseg.study.command.failure import report_failure
from tests.small_models import LOGITS

NETS = """
import torch
from torch import nn


class Base(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Conv2d(3, 4, 1)
        self.head = nn.Conv2d(4, 2, 1)

    def forward(self, x):
        return self.head(self.work(self.body(x)))


class Plain(Base):
    def work(self, x):
        return x


class NeedsMore(Plain):
    def forward(self, x, task):
        return x


class Wrong(Base):
    def work(self, x):
        return x + "text"  # line WRONG


class Asserts(Base):
    def work(self, x):
        assert x.sum() > 1e9, "more light is needed"  # line ASSERTS


class Package(Base):
    def work(self, x):
        import einops_that_is_not_there.layers


class Known(Base):
    def work(self, x):
        try:
            import mmcv
        except ImportError as error:
            raise RuntimeError("no mmcv") from error


class Cuda(Base):
    def work(self, x):
        raise RuntimeError("Found no NVIDIA driver on your system.")  # line CUDA


class Types(Base):
    def work(self, x):
        return torch.matmul(x.half(), x)  # line TYPES


class Ends(Base):
    def work(self, x):
        raise SystemExit(2)  # line ENDS


class Full(Base):
    def work(self, x):
        raise RuntimeError("CUDA out of memory. Tried to allocate 20 GiB")


class Square(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x * x

    @staticmethod
    def backward(ctx, g):
        raise KeyError("saved")  # line BACKWARD


class Backward(Base):
    def work(self, x):
        return Square.apply(x)


class Overwrites(Base):
    def work(self, x):
        y = x.exp()
        y += 1
        return y


class Hidden(Base):
    def work(self, x):
        return x.missing_thing  # line HIDDEN
"""


@pytest.fixture
def nets(tmp_path, monkeypatch):
    path = tmp_path / "nets_here.py"
    path.write_text(NETS)
    spec = importlib.util.spec_from_file_location("nets_here", path)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "nets_here", module)
    monkeypatch.chdir(tmp_path)
    spec.loader.exec_module(module)
    return module


def line(mark: str) -> str:
    number = next(i for i, text in enumerate(NETS.splitlines(), 1) if f"# line {mark}" in text)
    return rf"\(line {number} of nets_here.py\)"


def images():
    return torch.rand(1, 3, 4, 4)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("NeedsMore", r"TypeError: .*forward\(\) missing .*'task'.*; wrap it in a module"),
        ("Wrong", r"TypeError: .*" + line("WRONG")),
        ("Asserts", r"AssertionError: more light is needed " + line("ASSERTS")),
        ("Package", "needs 'einops_that_is_not_there', which is not installed: install its pack"),
        ("Known", "needs 'mmcv', which is not installed: pip install 'mmcv'"),
        ("Cuda", r"RuntimeError: Found no NVIDIA .* " + line("CUDA") + "; it asks for a CUDA dev"),
        ("Types", r"RuntimeError: .*(dtype|scalar type).* " + line("TYPES")),
        ("Ends", r"it ends the program \(SystemExit: 2\) " + line("ENDS")),
        ("Hidden", r"AttributeError: .*missing_thing.* " + line("HIDDEN")),
    ],
)
def test_a_forward_pass_that_fails(nets, name, words):
    model = SegmentationModel(getattr(nets, name)(), ("a", "b"), name="nets:Net")
    for run in (
        lambda: model(images()),
        lambda: Tail.of(model, images(), "body"),
        lambda: Recorder(model, ["body"]).__enter__()(images()),
    ):
        with pytest.raises(InputError, match=words) as raised:
            run()
        assert str(raised.value).startswith("model 'nets:Net' fails in its forward pass: ")
        assert "\n" not in str(raised.value)


def test_a_backward_pass_that_fails(nets, capsys):
    model = SegmentationModel(nets.Backward(), ("a", "b"), reading=LOGITS)
    with pytest.raises(KeyError) as raised:
        model(images().requires_grad_()).sum().backward()
    assert report_failure(raised.value) == EXIT_INPUT
    said = capsys.readouterr().err
    assert "KeyError: 'saved'" in said and "nets_here.py" in said and "Traceback" not in said


def test_a_backward_pass_of_ours_that_fails_says_where(nets):
    """From Python too, whoever asks for the gradient."""
    words = (
        r"^model 'nets:Net' fails in its backward pass: KeyError: 'saved' " + line("BACKWARD") + "$"
    )
    model = SegmentationModel(nets.Backward(), ("a", "b"), name="nets:Net", reading=LOGITS)
    score = lambda logits: logits.sum((1, 2, 3))  # noqa: E731
    tail = Tail.of(model, images(), "body", graph=True)
    with pytest.raises(InputError, match=words) as raised:
        tail.gradient(score)
    assert isinstance(raised.value.__cause__, KeyError)
    with (
        Recorder(model, ["body"], gradients=True) as recorder,
        pytest.raises(InputError, match=words),
    ):
        recorder(images())
        recorder.gradient(score)
    assert model.layer_name("auto", torch.rand(1, 3, 8, 8)) in ("body", "head")


def test_a_mistake_of_ours_in_a_backward_pass_stays_one(nets):
    model = SegmentationModel(nets.Plain(), ("a", "b"), reading=LOGITS)
    tail = Tail.of(model, images(), "body", graph=True)
    with pytest.raises(RuntimeError, match="out of memory"):
        tail.gradient(lambda logits: _raising(logits, "CUDA out of memory").sum((1, 2, 3)))
    tail.gradient(lambda logits: logits.sum((1, 2, 3)), retain=False)
    with pytest.raises(RuntimeError, match="second time"):
        tail.gradient(lambda logits: logits.sum((1, 2, 3)))


def _raising(logits, text):
    def refuse(slope):
        raise RuntimeError(text)

    logits = logits.clone()
    logits.register_hook(refuse)
    return logits


def test_a_gradient_that_the_network_makes_impossible(nets):
    model = SegmentationModel(nets.Overwrites(), ("a", "b"), reading=LOGITS)
    tail = Tail.of(model, images(), "body", graph=True)
    with pytest.raises(InputError, match="fails in its backward pass: RuntimeError: one of the"):
        tail.gradient(lambda logits: logits.sum((1, 2, 3)))


def test_memory_and_interrupts_are_nobodys_fault(nets):
    model = SegmentationModel(nets.Full(), ("a", "b"))
    with pytest.raises(RuntimeError) as raised:
        model(images())
    assert report_failure(raised.value) == EXIT_MEMORY
    with pytest.raises(KeyboardInterrupt), Others("this"):
        raise KeyboardInterrupt


def test_our_own_errors_stay_defects(nets, capsys):
    """A hook of this package that fails within the network's pass is no fault of the network."""
    model = SegmentationModel(nets.Plain(), ("a", "b"))
    mistaken = {"body": lambda activation: None}  # stands for an edit of ours
    with (
        pytest.raises(AttributeError) as raised,
        Recorder(model, ["body"], edit=mistaken) as recorder,
    ):
        recorder(images())
    assert report_failure(raised.value) == EXIT_DEFECT
    assert "defect of conceptseg" in capsys.readouterr().err
    with pytest.raises(AttributeError):
        model.check_images(None)
    assert escaped(ValueError("never raised")) is None


def test_a_study_of_others_that_fails_is_no_network():
    """Only what torch has called is a network; a study outside of the package has its traceback."""
    with pytest.raises(ZeroDivisionError) as raised:
        catalogue.names({}.__getitem__(1 // 0))
    assert escaped(raised.value) is None


def test_what_is_passed_on_as_it_is():
    with pytest.raises(InputError, match="^mine$"), Others("this fails"):
        raise InputError("mine")
    words = r"^this fails: ValueError: no message \(line .*; mend it"
    with pytest.raises(InputError, match=words), Others("this fails", "mend it"):
        exec(compile("raise ValueError", "<made>", "exec"))  # code without a file
    assert not is_theirs(BrokenPipeError(), None)


def test_packages_that_are_missing_are_found_in_what_an_error_was_raised_from():
    def chained():
        try:
            raise ImportError("import einops (No module named 'einops.layers').")
        except ImportError as error:
            raise ValueError("optional") from error

    with pytest.raises(ValueError) as raised:
        chained()
    assert missing_module(raised.value) == "einops.layers"
    for words in (
        "required package `itk` is not installed or the version doesn't match requirement.",
        "from itk import imread (No module named 'itk').\n\nFor details visit: https://...",
    ):
        assert missing_module(ImportError(words)) == "itk"
        assert missing_module(ValueError(words)) is None
    assert missing_module(ValueError("No module named 'x'")) is None


FACTORIES = """
    import sys
    from torch import nn

    class Net(nn.Conv2d):
        def __init__(self, width=3):
            print("building", width)
            if width == 4:
                raise RuntimeError("by design\\nand more")
            if width == 5:
                import nibabel_or_so
            if width == 6:
                sys.exit("no GPU here")
            super().__init__(3, 2, 1)

        def load_state_dict(self, state, strict=True):
            raise TypeError("not so")
"""


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"arguments": {"width": 4}}, r"RuntimeError: by design \(line 9 of .*; check model.arg"),
        ({"arguments": {"width": 5}}, r"needs 'nibabel_or_so', which is not installed"),
        ({"arguments": {"width": 6}}, r"ends the program \(SystemExit: no GPU here\) \(line 13"),
        ({"weights": "w.pt"}, r"its own loader says TypeError: not so \(line 17 of facts_here.py"),
    ],
)
def test_a_factory_that_fails(tmp_path, monkeypatch, capsys, options, words):
    (tmp_path / "facts_here.py").write_text(textwrap.dedent(FACTORIES))
    torch.save(nn.Conv2d(3, 2, 1).state_dict(), tmp_path / "w.pt")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "facts_here", raising=False)
    with pytest.raises(InputError, match=words):
        load_model(ModelConfig(source="factory", name="facts_here:Net", **options), ("a", "b"))
    assert capsys.readouterr().out == ""
    sys.modules.pop("facts_here", None)


def test_a_file_that_does_not_compile(tmp_path, monkeypatch):
    (tmp_path / "bad_here.py").write_text("x = 1\ndef f(:\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(InputError, match=r"SyntaxError: .*\(line 2 of bad_here.py\)"):
        load_model(ModelConfig(source="factory", name="bad_here:Net"), ("a", "b"))


def test_blame_imports_nothing_heavy():
    program = (
        "import sys, conceptseg.network.blame as b; print({'torch', 'numpy'} & {*sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.strip() == "set()", done.stderr


def test_the_command_tells_it_in_one_line(tmp_path, monkeypatch, capsys):
    (tmp_path / "ends_here.py").write_text(textwrap.dedent(FACTORIES))
    monkeypatch.chdir(tmp_path)
    words = ["layers", "--model", "factory:ends_here:Net", "--classes", "2"]
    assert main([*words, "--set", "model.arguments={width: 6}"]) == EXIT_INPUT
    said = capsys.readouterr()
    assert said.out == "" and "line 13 of ends_here.py" in said.err and "Traceback" not in said.err
    assert main([*words, "--channels", "4", "--set", "model.arguments={width: 3}"]) == EXIT_INPUT
    assert "building 3" in capsys.readouterr().err
    sys.modules.pop("ends_here", None)
