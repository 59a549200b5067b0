"""Whose fault an error is, and what other people's code raises told in its own words.

A network, its factory and its loader are the user's code or a package's: whatever they raise is for
him to cure, so it becomes an :class:`~conceptseg.errors.InputError` with the exception's own words
and the line in *his* file. Only what this package raises itself is its defect. The innermost
function that belongs to somebody decides: frames of Python, torch and installed packages are passed
over, and so are functions of this package that only hand on a call; these hold a local variable
`__tracebackhide__`, as pytest has it.
"""

import errno
import re
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

from conceptseg.errors import GradientError, InputError
from conceptseg.extras import EXTRAS

OURS = Path(__file__).parents[1]
PYTHON = tuple({Path(sysconfig.get_path(kind)) for kind in ("stdlib", "platstdlib")})
PACKAGES = {"site-packages", "dist-packages"}

ON_PIP = {
    "addict": "addict", "albumentations": "albumentations", "cv2": "opencv-python-headless",
    "easydict": "easydict", "einops": "einops", "fvcore": "fvcore", "hydra": "hydra-core",
    "kornia": "kornia", "lightning": "lightning", "matplotlib": "matplotlib", "mmcv": "mmcv",
    "mmengine": "mmengine", "mmseg": "mmsegmentation",
    "nnunetv2": "nnunetv2", "omegaconf": "omegaconf", "pandas": "pandas",
    "pytorch_lightning": "pytorch-lightning", "thop": "thop", "tqdm": "tqdm",
    "torchmetrics": "torchmetrics", "yacs": "yacs",
    **{module: f"conceptseg[{extra}]" for module, extra in EXTRAS.items()},
}  # fmt: skip
"""Modules that networks often import -> what installs them. Of others no name is guessed."""

_ABSENT = re.compile(r"No module named '([\w.]+)'|required package `([\w.]+)` is not installed")
"""As Python and MONAI say it."""
_CUDA = re.compile(r"\bcuda\b|nvidia driver", re.IGNORECASE)
_BACKWARD = re.compile(
    r"modified by an inplace operation|being modified inplace|derivative for .* is not implemented"
    r"|returned an invalid gradient|no derivative|not differentiable",
    re.IGNORECASE,
)


class Line(NamedTuple):
    """A frame of a traceback: its file, its line there, whether it only hands on a call."""

    file: str
    number: int
    hands_on: bool

    @property
    def ours(self) -> bool:
        return Path(self.file).is_relative_to(OURS)

    @property
    def installed(self) -> bool:
        """Whether it is in Python, an installed package, or code without a file."""
        path = Path(self.file)
        return (
            self.file.startswith("<")
            or bool(PACKAGES.intersection(path.parts))
            or any(path.is_relative_to(root) for root in PYTHON)
        )


class Others:
    """Runs code of others: `with Others("model 'net:Net' cannot be built"): ...`.

    Raises :class:`~conceptseg.errors.InputError` in place of whatever that code raises, with what
    it said and where. Errors of this package, :class:`~conceptseg.errors.InputError`, memory that
    runs out and interrupts go through unchanged.
    """

    def __init__(self, what: str, cure: str = ""):
        self.what = what
        self.cure = cure

    def __enter__(self) -> None:
        pass

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is not None and is_theirs(error, trace):
            raise told(error, self.what, self.cure) from error


class Backward:
    """Runs a network's backward pass: `with Backward(model.name): torch.autograd.grad(...)`.

    Raises :class:`~conceptseg.errors.GradientError` in place of what a derivative of the user's own
    raises, with the line in his file, and of what autograd says of how the network computes.
    Errors of this package and memory that runs out go through unchanged.
    """

    def __init__(self, model: str):
        self.model = model

    def __enter__(self) -> None:
        pass

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is None or isinstance(error, InputError) or out_of_memory(error):
            return
        found = escaped(error, f"model {self.model!r} fails in its backward pass")
        if found is not None:
            raise GradientError(str(found)) from error


def is_theirs(error: BaseException, trace: TracebackType | None) -> bool:
    """Whether the code that was called, below the frame that caught the error, is to blame."""
    if isinstance(error, (InputError, BrokenPipeError)) or out_of_memory(error):
        return False
    if not isinstance(error, (Exception, SystemExit)):
        return False
    owner = _owner(list(_lines(trace))[1:])
    return owner is None or not owner.ours


def told(error: BaseException, what: str, cure: str = "") -> InputError:
    """`what`, the error's kind and first line, where it was raised, and a cure.

    `cure` is what to do unless the error itself tells better.

    For an error that :func:`is_theirs`.
    """
    missing = missing_module(error)
    if missing is not None:
        name = ON_PIP.get(missing.partition(".")[0])
        cure = f"pip install '{name}'" if name else "install its package, or start in its folder"
        # No name is guessed from a module's: anybody may have registered that one.
        return InputError(f"{what}: it needs {missing!r}, which is not installed: {cure}")
    if isinstance(error, SystemExit):
        words = f"it ends the program (SystemExit: {error.code})"
    else:
        text = str(error).strip() or "no message"
        words = f"{type(error).__name__}: {text.splitlines()[0][:200]}"
    return InputError(f"{what}: {words}{where(error)}{_cure(error, cure)}")


def where(error: BaseException) -> str:
    """` (line 3 of nets.py)`: the last line in the user's file, else in a package that is not
    torch; empty when there is none."""
    if isinstance(error, SyntaxError) and error.filename:
        return f" (line {error.lineno} of {_short(error.filename)})"
    lines = [line for line in _lines(error.__traceback__) if not line.ours]
    own = [line for line in lines if not line.installed]
    packages = [
        line
        for line in lines
        if PACKAGES.intersection(Path(line.file).parts) and _package(line.file)[0] != "torch"
    ]
    found = own or packages
    return f" (line {found[-1].number} of {_short(found[-1].file)})" if found else ""


def escaped(error: BaseException, what: str | None = None) -> InputError | None:
    """What to say of an error that nobody caught, when a network's code raised it; else None.

    `what` are its first words, by default those that tell one kind from the other.

    That is code of the user's own which torch called: a module, or the derivative of a function.
    Of errors that autograd raises about how a network computes, the network is to blame, though
    no line of it is on the stack.
    """
    lines = list(_lines(error.__traceback__))
    owner = _owner(lines)
    if owner is None or not isinstance(error, Exception):
        return None
    if not owner.ours:
        called = _called_by_torch(lines, lines.index(owner))
        return told(error, what or "the network's own code fails") if called else None
    gradients = Path(lines[-1].file).parts[-2:] == ("autograd", "graph.py")
    if gradients and _BACKWARD.search(str(error)):
        return told(error, what or "the network's gradient cannot be computed")
    return None


def out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out: Python's, CUDA's, or torch's allocator for the CPU."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    if isinstance(error, OSError) and error.errno == errno.ENOMEM:
        return True
    text = str(error).lower()
    if isinstance(error, (ImportError, OSError)):  # a library that does not fit
        return "cannot allocate memory" in text or "failed to map segment" in text
    return isinstance(error, RuntimeError) and (
        "can't allocate memory" in text or "not enough memory" in text or "out of memory" in text
    )


def missing_module(error: BaseException) -> str | None:
    """Name of the module whose absence an import error, or what it was raised from, tells of."""
    chain: list[BaseException] = []
    link: BaseException | None = error
    while link is not None and link not in chain:
        chain.append(link)
        link = link.__cause__ or link.__context__
    if not any(isinstance(one, ImportError) for one in chain):
        return None
    for one in reversed(chain):
        if isinstance(one, ModuleNotFoundError) and one.name:
            return one.name
        found = _ABSENT.search(str(one))
        if found:
            return str(found[found.lastindex or 0])
    return None


def _cure(error: BaseException, otherwise: str) -> str:
    text = str(error)
    if isinstance(error, TypeError) and re.search(r"forward\(\).*(argument|positional)", text):
        return "; wrap it in a module that takes images alone (source: factory)"
    if _CUDA.search(text) and not isinstance(error, ImportError):
        return (
            "; it asks for a CUDA device by itself: take its .cuda() or .to('cuda') out, or run "
            "where there is one"
        )
    return f"; {otherwise}" if otherwise else ""


def _owner(lines: list[Line]) -> Line | None:
    """The innermost frame that belongs to the user or to this package."""
    for line in reversed(lines):
        if not line.hands_on and (line.ours or not line.installed):
            return line
    return None


def _called_by_torch(lines: list[Line], place: int) -> bool:
    """Whether torch stands between a frame and the innermost one of this package around it."""
    for line in reversed(lines[:place]):
        if line.ours and not line.hands_on:
            return False
        if PACKAGES.intersection(Path(line.file).parts) and _package(line.file)[0] == "torch":
            return True
    return False


def _lines(trace: TracebackType | None) -> Iterator[Line]:
    while trace is not None:
        code = trace.tb_frame.f_code
        hands_on = "__tracebackhide__" in code.co_varnames
        yield Line(code.co_filename, trace.tb_lineno, hands_on)
        trace = trace.tb_next


def _package(file: str) -> tuple[str, ...]:
    """The parts of a path within the folder of installed packages."""
    parts = Path(file).parts
    place = max(i for i, part in enumerate(parts) if part in PACKAGES)
    return parts[place + 1 :]


def _short(file: str) -> str:
    """A path within installed packages or the working folder, or as it is."""
    path = Path(file)
    if PACKAGES.intersection(path.parts):
        return "/".join(_package(file))
    here = Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)
