"""The page's templates, scripts and content security policy."""

import base64
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from conceptseg.report import cartesian
from conceptseg.report.tabled import squeezed
from conceptseg.result.wording import number, p_value

TEMPLATES = Path(__file__).parent / "templates"


def script_text(text: str) -> str:
    """A script as the browser will hash it: its line ends are normalised on parsing."""
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    if re.search(r"</script|<!--", text, re.IGNORECASE):
        raise ValueError("a script would end its own element")
    return text


@dataclass(frozen=True)
class Library:
    """A script that the page unpacks itself: its text, and the same compressed as base64."""

    text: str
    packed: str


def plotly_script(kinds: Iterable[str]) -> Library:
    """plotly.js for a page with traces of these kinds; compressed it is a third as large.

    Its hash is that of the text that is run. Where all charts lie on two axes it is the part that
    draws these, if the installed version is known (`cartesian`); without any chart it is empty.
    """
    kinds = set(kinds)
    return _plotly(cartesian.serves(kinds)) if kinds else Library("", squeezed(""))


@cache
def _plotly(on_two_axes: bool) -> Library:
    from plotly.offline import get_plotlyjs

    whole = get_plotlyjs()
    text = script_text((cartesian.part(whole) if on_two_axes else None) or whole)
    return Library(text, squeezed(text))


def policy(scripts: Sequence[str]) -> str:
    """Nothing from the network, no script but these; styles and pictures only within the page."""
    hashes = [base64.b64encode(sha256(text.encode()).digest()).decode() for text in scripts]
    allowed = " ".join(f"'sha256-{digest}'" for digest in hashes)
    return (
        f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; "
        "img-src data: blob:; base-uri 'none'; form-action 'none'"
    )


def coded(text: str) -> Markup:
    """Text in which what stands between backticks is code."""
    parts = [escape(part) for part in text.split("`")]
    if len(parts) % 2 == 0:  # a backtick without its partner is a character
        return escape(text)
    marked = (f"<code>{part}</code>" if n % 2 else str(part) for n, part in enumerate(parts))
    return Markup("".join(marked))


@cache
def asset(name: str) -> str:
    return (TEMPLATES / name).read_text(encoding="utf-8")


@cache
def environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(number=number, p_value=p_value, coded=coded)
    return environment
