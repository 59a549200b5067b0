"""How a report and the method behind it are cited: as text, and as BibTeX."""

from __future__ import annotations

import re
from dataclasses import dataclass

from conceptseg import __version__, catalogue
from conceptseg.result.saved import Result

ARXIV = re.compile(r"(?:arXiv[ :]*)?(\d{4}\.\d{4,5})")
YEAR = re.compile(r"\b(19|20)\d\d\b")
AUTHORS = re.compile(
    r"(?P<names>[A-Z][\w'-]+(?:(?:, | & )[A-Z][\w'-]+)*)(?P<more> et al\.)? (?P<year>(?:19|20)\d\d)"
)
SPECIAL = str.maketrans({c: f"\\{c}" for c in "&%$#_"} | {"{": "", "}": "", "\\": "", "~": " "})


@dataclass(frozen=True)
class Citation:
    """What is cited, as a text and as one BibTeX entry."""

    what: str
    text: str
    bibtex: str


def citations(result: Result, title: str) -> tuple[Citation, ...]:
    """That of the report, and of each source of its study's method as the catalogue names it."""
    return (_report(result, title), *_method(result.study))


def _report(result: Result, title: str) -> Citation:
    digest = "" if result.altered else result.digest
    network = str(result.notes.get("model", "a network"))
    data = str(result.notes.get("manifest", "its data"))
    date = result.finished
    said = f"{title}: {result.study} of {network} on {data}"
    how = f"conceptseg {result.provenance.get('versions', {}).get('conceptseg', __version__)}"
    sealed = f"result sha256 {digest}" if digest else "of an edited result"
    fields = {"title": f"{{{_tex(said)}}}", "howpublished": _tex(how), "note": _tex(sealed)}
    if found := YEAR.search(date):
        fields["year"] = found.group()
    text = ". ".join(filter(None, (said, how, date, sealed))) + "."
    return Citation("This report", text, _entry(f"{result.study}-{digest[:8] or 'edited'}", fields))


def _method(study: str) -> tuple[Citation, ...]:
    if study not in catalogue.names("study"):  # the self tests, or one that is not of the package
        return ()
    source = catalogue.entry("study", study).source
    found: dict[str, Citation] = {}
    for part in filter(None, (one.strip() for one in source.split(";"))):
        fields = {"title": f"{{{_tex(part)}}}"}
        key = study
        if cited := AUTHORS.search(part):
            names = re.split(r", | & ", cited["names"])
            fields["author"] = _tex(" and ".join(names) + (" and others" if cited["more"] else ""))
            fields["year"] = cited["year"]
            key = re.sub(r"[^a-z]", "", names[0].lower()) + cited["year"]
        if arxiv := ARXIV.search(part):
            fields |= {"eprint": arxiv.group(1), "archiveprefix": "arXiv"}
        while key in found:
            key += "b"
        found[key] = Citation("The method", part, _entry(key, fields))
    return tuple(found.values())


def _entry(key: str, fields: dict[str, str]) -> str:
    lines = "".join(f"  {name} = {{{value}}},\n" for name, value in fields.items())
    return f"@misc{{{key},\n{lines}}}"


def _tex(text: str) -> str:
    """A text without what BibTeX or TeX would read as a command."""
    return text.translate(SPECIAL)
