"""Finds what of plotly.js only charts reach that pages do not draw, and writes `cartesian.json`.

    python -m conceptseg.report.cartesian_parts

The library is a bundle (by esbuild) of modules `name=W((exports,module)=>{...})`, which run when
they are first asked for as `name()`, and of functions beside them; its last module registers the
kinds of traces. Without the kinds that are not kept, what nothing reaches any more is emptied.
Names count as references wherever they stand, also where they are those of local variables, so
that rather too much is kept. Whatever is not as described here is a ValueError; the tests draw
every study's charts with the part.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from conceptseg.report.cartesian import FILE, KINDS, digest

Span = tuple[int, int]
TOKEN = re.compile(
    r"""(?P<space>\s+|//[^\n]*|/\*.*?\*/)|(?P<text>"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*')"""
    r"""|(?P<slash>/)|(?P<template>`)|(?P<opens>[({\[])|(?P<closes>[)}\]])"""
    r"""|(?P<word>[\w$]+)|(?P<other>.)""",
    re.DOTALL,
)
PATTERN = re.compile(r"/(?:[^/\\\[\n]|\\.|\[(?:[^\]\\\n]|\\.)*\])+/[a-z]*")
PIECE = re.compile(r"(?:[^`\\$]|\\.|\$(?!\{))*(?P<end>`|\$\{)", re.DOTALL)
"""Of a template, the text up to its end or to the next value."""
BEFORE_PATTERN = {"return", "typeof", "case", "in", "of", "delete", "void", "throw", "new", "else"}
"""Words after which a slash begins a pattern and does not divide."""
HEADS = {"if", "while", "for", "with"}
CLOSED_BY = {"(": ")", "[": "]", "{": "}"}
NAME = re.compile(r"(?:(?<=\.\.\.)|(?<![\w$.]))([A-Za-z_$][\w$]*)(\(\))?")
START = "var Plotly=(()=>{"
MODULE = re.compile(r"(?<=[ ,;])(?P<name>[A-Za-z_$][\w$]*)=\w+\((?:\([\w$,]*\)|[\w$]+)=>\{")
FUNCTION = re.compile(r"(?<=[};])(?:async )?function\*? ?([A-Za-z_$][\w$]*)\(")
REGISTER = ".register(["
KIND = re.compile(r'moduleType:"trace",name:"(\w+)"')


@dataclass
class _Brackets:
    """Where brackets of a script open and close; not those in texts, patterns and notes."""

    text: str
    pairs: dict[int, int] = field(default_factory=dict)
    _open: list[tuple[str, int, str]] = field(default_factory=list)
    _last: str = ""
    _after_head: bool = False

    def find(self) -> dict[int, int]:
        at = 0
        while at < len(self.text):
            token = TOKEN.match(self.text, at)
            if token is None:
                raise ValueError(f"what stands at {at} is no script")
            at = self._step(str(token.lastgroup), token.group(), token.end())
        if self._open:
            raise ValueError(f"the bracket at {self._open[-1][1]} is not closed")
        return self.pairs

    def _step(self, kind: str, token: str, end: int) -> int:
        """What a token means for brackets; where the next begins."""
        if kind == "space":
            return end
        if kind == "template":
            return self._template(end)
        if kind == "closes" and self._open and self._open[-1][0] == "`":
            self._open.pop()
            return self._template(end)
        if kind == "slash" and not self._divides():
            pattern = PATTERN.match(self.text, end - 1)
            if pattern is None:
                raise ValueError(f"the pattern at {end - 1} has no end")
            self._last = '"'
            return pattern.end()
        if kind == "opens":
            self._open.append((token, end - 1, self._last))
        elif kind == "closes":
            self._close(token, end - 1)
        self._last = token
        return end

    def _close(self, token: str, at: int) -> None:
        opened, place, before = self._open.pop() if self._open else ("", at, "")
        if CLOSED_BY.get(opened) != token:
            raise ValueError(f"the {token!r} at {at} closes nothing")
        self.pairs[place] = at
        self._after_head = token == ")" and before in HEADS

    def _divides(self) -> bool:
        """Whether a slash divides here: after a value, that is, and not where one begins."""
        if self._last == ")":
            return not self._after_head
        return (
            self._last not in BEFORE_PATTERN
            and re.fullmatch(r"[\w$\]}\"'].*", self._last) is not None
        )

    def _template(self, at: int) -> int:
        piece = PIECE.match(self.text, at)
        if piece is None:
            raise ValueError(f"the template at {at} has no end")
        if piece["end"] == "`":
            self._last = '"'
        else:
            self._open.append(("`", piece.end(), ""))
            self._last = "{"
        return piece.end()


@dataclass(frozen=True)
class Bundle:
    """A bundle's text, and by name the bodies of its modules and its functions, whole."""

    text: str
    modules: Mapping[str, Span]
    functions: Mapping[str, Span]
    listed: Span
    """Where the list of what is registered lies."""

    @classmethod
    def read(cls, text: str) -> Bundle:
        pairs = _Brackets(text).find()
        outer = text.index(START) + len(START) - 1
        modules: dict[str, Span] = {}
        at = outer
        for module in MODULE.finditer(text, outer, pairs[outer]):
            if module.start() >= at:  # else it lies within another
                at = pairs[module.end() - 1]
                modules[module["name"]] = (module.end(), at)
        functions = {
            name: span
            for gap in _between((outer, pairs[outer]), modules.values())
            for name, span in _functions(text, pairs, gap)
        }
        first = text.index(REGISTER) + len(REGISTER)
        return cls(text, modules, functions, (first, pairs[first - 1]))

    @cached_property
    def spans(self) -> dict[str, Span]:
        return {**self.modules, **self.functions}

    def names(self, span: Span) -> set[str]:
        """Which modules are asked for and functions named within a span."""
        return {
            name
            for name, asked in NAME.findall(self.text, *span)
            if name in self.functions or (asked and name in self.modules)
        }

    def registered(self) -> dict[str, str]:
        """Modules that are registered, and the kind of trace that each brings; "" for others."""
        told = {}
        for entry in self.text[slice(*self.listed)].split(","):
            name = entry.removesuffix("()")
            near = [self.spans[one] for one in {name, *self.names(self.spans[name])}]
            kinds = {kind for span in near for kind in KIND.findall(self.text, *span)}
            told[name] = kinds.pop() if len(kinds) == 1 else ""
        return told

    def unreached(self, kept: Iterable[str]) -> list[Span]:
        """What nothing reaches if, of all that is registered, only the modules `kept` are."""
        outside: set[str] = set()
        for gap in _between((self.text.index(START), len(self.text)), self.spans.values()):
            outside |= self.names(gap)
        seen: set[str] = set()
        due = [*kept, *outside]
        while due:
            name = due.pop()
            if name not in seen:
                seen.add(name)
                due += self.names_but_listed(self.spans[name])
        return sorted(span for name, span in self.spans.items() if name not in seen)

    def names_but_listed(self, span: Span) -> set[str]:
        """What a body names, without the list of what is registered."""
        first, last = self.listed
        if span[0] <= first < span[1]:
            return self.names((span[0], first)) | self.names((last, span[1]))
        return self.names(span)

    def left_out(self, kinds: Sequence[str] = KINDS) -> list[Span]:
        """What a page does without that draws charts of `kinds` alone, in order."""
        registered = self.registered()
        if missing := set(kinds) - set(registered.values()):
            raise ValueError(f"the library has no {', '.join(sorted(missing))}")
        kept = [name for name, kind in registered.items() if kind in kinds]
        first, last = self.listed
        others = [name for name in registered if name not in kept]
        entries = [
            (first + entry.start(), first + entry.end())
            for entry in re.finditer(r"([\w$]+)\(\),?", self.text[first:last])
            if entry[1] in others
        ]
        return sorted([*self.unreached(kept), *entries])


def _between(whole: Span, spans: Iterable[Span]) -> Iterator[Span]:
    """What of the whole lies in none of the spans, which do not overlap."""
    at = whole[0]
    for first, last in sorted(spans):
        yield at, first
        at = last
    yield at, whole[1]


def _functions(text: str, pairs: Mapping[int, int], gap: Span) -> Iterator[tuple[str, Span]]:
    """Functions that are declared between modules."""
    at = gap[0]
    while found := FUNCTION.search(text, at, gap[1]):
        body = pairs[found.end() - 1] + 1
        if text[body] != "{":
            raise ValueError(f"the function at {found.start()} has no body")
        at = pairs[body] + 1
        yield found[1], (found.start(), at)


def steps(spans: Iterable[Span]) -> list[int]:
    """What `cartesian.part` adds up: lengths, kept and left out in turns."""
    taken: list[int] = []
    at = 0
    for first, last in spans:
        taken += [first - at, last - first]
        at = last
    return taken


def main() -> None:
    """Adds the installed version to the file."""
    from plotly.offline import get_plotlyjs

    text = get_plotlyjs()
    known = json.loads(FILE.read_text(encoding="utf-8")) if FILE.exists() else {}
    version = re.search(r"plotly\.js v([\d.]+)", text)
    name = version[1] if version else ""
    known[digest(text)] = {"version": name, "steps": steps(Bundle.read(text).left_out())}
    lines = (f"{json.dumps(key)}: {json.dumps(one)}" for key, one in sorted(known.items()))
    FILE.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")
    print(f"{FILE}: plotly.js {name} added")


if __name__ == "__main__":
    main()
