"""What may stand in a file of `torch.export`, and a copy of it that holds nothing else.

torch opens such a file as if it were its author's: it unpickles entries, evaluates sizes as Python,
calls whatever function a step names and writes names into code that it compiles. So nothing but
the layout below is read, every text in it is of an allow-list, and torch is given a copy that was
written from what was checked, so that both read the same. What is left are tensors and steps that
compute with them.
"""

import ast
import io
import json
import math
import re
import zipfile
from collections.abc import Iterator
from typing import IO, Any

import torch

from conceptseg.errors import InputError

PLAIN = {"archive_version", "byteorder", ".format_version", ".storage_alignment",
         ".data/version", ".data/serialization_id"}  # fmt: skip
FORMAT = "archive_format"
PROGRAM = "models/model.json"
PAYLOADS = ("data/weights/model_weights_config.json", "data/constants/model_constants_config.json")
TENSOR = re.compile(r"data/(weights/weight|constants/tensor)_\d+")
PICKLED = {"data/weights/model.pt", "data/constants/model.pt", "data/sample_inputs/model.pt"}
IGNORED = "extra/"

OPERATORS = re.compile(
    r"torch\.ops\.(aten|prims|torchvision|quantized_decomposed)\.([a-z]\w*|_[a-z]\w*)\.\w+"
    r"|torch\.ops\.higher_order\.(cond|wrap_with_set_grad_enabled|wrap_with_autocast)"
    r"|_operator\.(eq|ne|le|ge|lt|gt|neg|pos|mul|add|sub|floordiv|mod|pow|truediv|and_|or_|getitem)"
    r"|math\.(trunc|floor|ceil|sqrt)|torch\.sym_(not|int|float|ite|max|min|sqrt|sum)"
)
FILES = {"from_file", "save"}
"""Operators of aten that open files."""
CONTAINERS = {None, "builtins.tuple", "builtins.list", "builtins.dict", "collections.OrderedDict"}
"""What a program takes and returns is built of; classes of outputs of transformers besides."""

FUNCTIONS = {
    *("Symbol", "Integer", "Float", "Rational", "Add", "Mul", "Pow", "Max", "Min", "Abs"),
    *("Equality", "Unequality", "StrictLessThan", "StrictGreaterThan", "LessThan", "GreaterThan"),
    *("Eq", "Ne", "Lt", "Le", "Gt", "Ge", "And", "Or", "Not", "floor", "ceiling", "FloorDiv"),
    *("ModularIndexing", "Where", "PythonMod", "Mod", "CleanDiv", "CeilToInt", "FloorToInt"),
    *("CeilDiv", "PowByNatural", "FloatPow", "FloatTrueDiv", "IntTrueDiv", "TruncToFloat"),
    *("TruncToInt", "RoundToInt", "RoundDecimal", "ToFloat", "Identity"),
    *("IsNonOverlappingAndDenseIndicator",),
}
POWERS = {"Pow", "PowByNatural", "FloatPow"}
SYMBOL = re.compile(r"[a-z]{1,8}\d{1,4}")
LARGEST = 64
"""Of exponents, and of what stands in one expression as a power: a power of a power has no end."""
LONGEST = 20_000
"""Characters of an expression."""

_NAME = re.compile(r"\w*")
_PATH = re.compile(r"[\w.+\- ]*")
_STACK = re.compile(r"[^\"\\\n\r]*")


def copy_checked(source: Any, target: IO[bytes]) -> None:
    """Write to `target` what torch may read of the file `source`.

    Raises :class:`~conceptseg.errors.InputError` for what is not of the layout, and almost any
    exception for a file that is damaged.
    """
    with zipfile.ZipFile(source) as archive, zipfile.ZipFile(target, "w") as copy:
        entries = _entries(archive)
        sizes = {name: info.file_size for name, info in entries.items()}
        for name, info in entries.items():
            if name.startswith(IGNORED):
                continue
            content: bytes | None = None
            if name == FORMAT and archive.read(info).strip() != b"pt2":
                raise InputError(f"{FORMAT} is not pt2")
            if name == PROGRAM:
                content = json.dumps(_checked(json.loads(archive.read(info)))).encode()
            elif name in PAYLOADS:
                content = json.dumps(_payload(json.loads(archive.read(info)), name, sizes)).encode()
            elif name in PICKLED:
                content = _tensors(archive.read(info), name)
            with copy.open(f"archive/{name}", "w", force_zip64=True) as written:
                if content is not None:
                    written.write(content)
                    continue
                with archive.open(info) as stored:
                    while block := stored.read(1 << 20):
                        written.write(block)


def check_expression(text: str) -> None:
    """Refuse a size that is more than arithmetic of symbols and numbers: torch evaluates it.

    Raises :class:`~conceptseg.errors.InputError` with what is not allowed.
    """
    try:
        if len(text) > LONGEST:
            raise InputError(f"a size of {len(text)} characters")
        tree = ast.parse(text, mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise InputError(f"a size that is no expression: {text[:60]!r}") from None
    powers = 0
    allowed: set[int] = set()
    for node in ast.walk(tree):  # parents come first, and say which of their parts are harmless
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            powers += node.func.id in POWERS and _exponent(node.args[1:])
            fine = node.func.id in FUNCTIONS and _arguments(node)
            allowed.update(map(id, (node.func, *_texts(node))))
        elif isinstance(node, ast.BinOp):
            powers += isinstance(node.op, ast.Pow) and _exponent([node.right])
            fine = True
        elif isinstance(node, ast.Constant):
            value = node.value
            fine = id(node) in allowed or (isinstance(value, (int, float)) and abs(value) < 2**63)
        elif isinstance(node, ast.Name):
            fine = bool(SYMBOL.fullmatch(node.id)) or id(node) in allowed
            fine = fine or node.id in ("oo", "int_oo", "true", "false")
        else:
            fine = isinstance(node, _ARITHMETIC)
        if not fine or powers > LARGEST:
            raise InputError(f"a size that is no plain arithmetic: {text[:60]!r}")


_ARITHMETIC = (
    *(ast.Expression, ast.UnaryOp, ast.Compare, ast.BoolOp, ast.keyword, ast.Load, ast.And, ast.Or),
    *(ast.Not, ast.USub, ast.UAdd, ast.Add, ast.Sub, ast.Mult, ast.Div, ast.FloorDiv, ast.Mod),
    *(ast.Pow, ast.Eq, ast.NotEq, ast.Lt, ast.LtE, ast.Gt, ast.GtE),
)


def _texts(call: ast.Call) -> list[ast.expr]:
    """The name in `Symbol('s0')`, the digits in `Float('0.5', precision=53)`."""
    first = call.args[0] if call.args else None
    text = first.value if isinstance(first, ast.Constant) else None
    assert isinstance(call.func, ast.Name)
    known = {"Symbol": SYMBOL, "Float": re.compile(r"[\d.e+\-]{1,40}")}.get(call.func.id)
    return [first] if first and known and isinstance(text, str) and known.fullmatch(text) else []


def _arguments(call: ast.Call) -> bool:
    """Whether what is given by name are facts, such as positive=True, or a precision."""
    values = [one.value.value for one in call.keywords if isinstance(one.value, ast.Constant)]
    facts = [one for one in values if isinstance(one, int) and abs(one) <= 1000]
    return len(facts) == len(call.keywords) and all(one.arg for one in call.keywords)


def _exponent(nodes: list[ast.expr]) -> int:
    """How high a power is; more than is allowed unless its exponent is a small number."""
    node = nodes[0] if len(nodes) == 1 else None
    if isinstance(node, ast.Call) and len(node.args) == 1:
        node = node.args[0]
    sign = isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub)
    value = node.operand if sign and isinstance(node, ast.UnaryOp) else node
    number = value.value if isinstance(value, ast.Constant) else None
    if isinstance(number, (int, float)) and abs(number) <= LARGEST:
        return max(1, math.ceil(abs(number)))
    return LARGEST + 1


def _entries(archive: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    """Entries by their names within the one folder at the top."""
    found: dict[str, zipfile.ZipInfo] = {}
    tops = set()
    for info in archive.infolist():
        top, _, name = info.filename.partition("/")
        tops.add(top)
        if name in found:
            raise InputError(f"two entries are called {name}")
        if info.compress_type != zipfile.ZIP_STORED or info.flag_bits & 1:
            raise InputError(f"{name or top} is compressed or encrypted, as torch saves none")
        known = name in PLAIN or name in (FORMAT, PROGRAM, *PAYLOADS) or name in PICKLED
        if not (known or TENSOR.fullmatch(name) or name.startswith(IGNORED)):
            raise InputError(f"it holds {name or top}, which is not opened")
        found[name] = info
    if len(tops) != 1 or FORMAT not in found or PROGRAM not in found:
        raise InputError("it is not of the layout that torch saves since 2.8")
    return found


def _tensors(data: bytes, name: str) -> bytes:
    """The tensors of a pickle, saved anew: torch would open the first one with all it holds."""
    try:
        content = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except Exception:
        raise InputError(
            f"its {name} is a pickle with more than tensors, which could run code, so it was not "
            "opened"
        ) from None
    saved = io.BytesIO()
    torch.save(content, saved)
    return saved.getvalue()


def _payload(content: Any, table: str, sizes: dict[str, int]) -> Any:
    """A table of tensors, none pickled and none of more numbers than are stored for it."""
    folder = table.rpartition("/")[0]
    for name, entry in content["config"].items():
        path = f"{folder}/{entry['path_name']}"
        if entry["use_pickle"] or not TENSOR.fullmatch(path) or path not in sizes:
            raise InputError(f"{name[:60]!r} is stored in a way that is not opened")
        numbers = math.prod(size["as_int"] for size in entry["tensor_meta"]["sizes"])
        if not _PATH.fullmatch(name) or not 0 <= numbers <= sizes[path]:
            raise InputError(f"{name[:60]!r} has more numbers than are stored")
    return content


def _checked(content: Any, key: str = "") -> Any:
    """The program, checked and without what only debuggers read."""
    if isinstance(content, list):
        return [_checked(one, key) for one in content]
    if isinstance(content, dict):
        return {name: _entry(name, value, key) for name, value in content.items()}
    if isinstance(content, str):
        known = _NAME if key in ("name", "as_name") else _PATH
        if not known.fullmatch(content):
            raise InputError(f"a text that is no name: {content[:60]!r}")
    return content


def _entry(name: str, value: Any, within: str) -> Any:
    if not (_NAME if within.endswith("_values") else _PATH).fullmatch(name):
        raise InputError(f"a text that is no name: {name[:60]!r}")
    if name == "metadata" and isinstance(value, dict):
        stack = value.get("nn_module_stack")
        if stack is not None and not _STACK.fullmatch(stack):
            raise InputError(f"a text that is no name: {stack[:60]!r}")
        return {} if stack is None else {"nn_module_stack": stack}
    if name == "guards_code":
        return []
    if name == "range_constraints":
        for symbol in value:
            if not SYMBOL.fullmatch(symbol):
                raise InputError(f"a size that is no symbol: {symbol[:60]!r}")
    if name in ("in_spec", "out_spec") and isinstance(value, str):
        _check_containers(json.loads(value)[1])
        return value
    if name == "expr_str":
        check_expression(value)
        return value
    if name in ("target", "as_operator"):
        _check_operator(value)
        return value
    if name in ("as_string", "as_strings"):
        return value  # torch hands it to an operator as it is
    return _checked(value, name)


def _check_operator(name: str) -> None:
    """Refuse what is no operator on tensors or sizes: torch would call any function of its own."""
    found = OPERATORS.fullmatch(name)
    if found is None or found[2] in FILES:
        raise InputError(f"a step calls {name[:60]!r}, which is none of torch's operators")


def _check_containers(spec: Any) -> None:
    """Refuse containers for which torch would import something."""
    for one in _containers(spec):
        known = one["type"] in CONTAINERS or str(one["type"]).startswith("transformers.")
        if not known or "__enum__" in str(one["context"]):
            raise InputError(f"it takes or returns a {str(one['type'])[:60]}, which is not opened")


def _containers(spec: Any) -> Iterator[Any]:
    yield spec
    for child in spec["children_spec"]:
        yield from _containers(child)
