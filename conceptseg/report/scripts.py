"""The page's templates, scripts and content security policy."""

import base64
import re
from collections.abc import Sequence
from functools import cache
from hashlib import sha256
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from conceptseg.result.wording import number, p_value

TEMPLATES = Path(__file__).parent / "templates"


def in_script(text: str) -> Markup:
    """JSON that may stand in a script element, whatever strings it holds."""
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)


def script_text(text: str) -> str:
    """A script as the browser will hash it: its line ends are normalised on parsing."""
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    if re.search(r"</script|<!--", text, re.IGNORECASE):
        raise ValueError("a script would end its own element")
    return text


def policy(scripts: Sequence[str]) -> str:
    """Nothing from the network, no script but these; styles and pictures only within the page."""
    hashes = [base64.b64encode(sha256(text.encode()).digest()).decode() for text in scripts]
    allowed = " ".join(f"'sha256-{digest}'" for digest in hashes)
    return (
        f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; "
        "img-src data: blob:; base-uri 'none'; form-action 'none'"
    )


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
    environment.filters.update(number=number, p_value=p_value)
    return environment
