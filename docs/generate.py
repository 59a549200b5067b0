"""Pages that follow from the package: the catalogue of techniques, and the reference."""

import html
import json
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from conceptseg import catalogue
from conceptseg.errors import InputError
from conceptseg.report import browser, held

KINDS = {
    "study": ("Studies", "Each is a verb of the command: `conceptseg NAME --config FILE`."),
    "explainers": (
        "Local methods",
        "Any of them stands beside a study's own result (`compare: [NAME]`), in the `saliency` "
        "study, and in `conceptseg.notebook.explain`.",
    ),
    "metrics": ("Metrics of maps", "What the `saliency` study measures."),
    "generators": ("Generators", "How `counterfactual` changes an image (`generator`)."),
    "concepts": ("Concept finders", "How a layer's embeddings become concepts (`concepts`)."),
    "cavs": ("Concept vectors", "How a concept becomes a direction of a layer (`cav`)."),
    "models": ("Networks", "Where a network comes from (`model.source`)."),
    "readers": ("Data sets", "How a data set lies on disk (`format` of a manifest)."),
    "trackers": ("Trackers", "Where `conceptseg track RUN --to NAME` logs a finished run."),
}
MODULES = {
    "Notebook": ("notebook",),
    "What an explainer is": ("explain.contract", "explain.target", "explain.scene"),
    "Networks": ("network.model", "config"),
    "Results": ("result.finding", "result.table", "result.saved"),
    "Statistics": ("stats.estimate", "stats.crossed", "stats.intervals", "stats.family"),
    "Errors": ("errors",),
}


def write(folder: Path) -> None:
    """Write `folder/gallery.md` and the pages of `folder/reference`, in place of earlier ones."""
    (folder / "gallery.md").write_text(_gallery(folder / "runs"), encoding="utf-8")
    target = folder / "reference"
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir()
    parts = []
    for kind, (title, text) in KINDS.items():
        parts.append(kind)
        rows = "".join(_technique(kind, name) for name in catalogue.names(kind))
        page = f"# {title}\n\n{text}\n\n{catalogue.full(kind)}\n{rows}"
        (target / f"{kind}.md").write_text(page, encoding="utf-8")
    for title, modules in MODULES.items():
        name = title.lower().replace(" ", "_")
        parts.append(name + "_api")
        page = f"# {title}\n" + "".join(map(_module, modules))
        (target / f"{name}_api.md").write_text(page, encoding="utf-8")
    parts.append("intervals")
    (target / "intervals.md").write_text(_intervals(), encoding="utf-8")
    tree = "```{toctree}\n" + "\n".join(parts) + "\n```\n"
    (target / "index.md").write_text(f"# Reference\n\n{tree}", encoding="utf-8")


def _intervals() -> str:
    """How often each interval of each study's tables was measured to hold the truth."""
    text = (
        "# How often intervals hold\n\nWhole runs on fresh data sets of the embedded example, at "
        "the study's default size (lcrp with eight concepts, without comparisons, and of its runs "
        "those that chose the same layer); the truth of a number is its mean over the data sets, "
        "of which each is one: an interval has to hold what is further off by as much as that "
        "makes it nearer. What is learnt anew on each data set (concepts, atoms, prototypes) has "
        "no common truth and is left out. Intervals "
        "should hold it in 95 %. Behind each share stands twice its standard error, with data sets "
        "as clusters. `benchmarks/coverage.py runs STUDY` measures it again. A study's reports "
        "name among their limits what is beyond 92 to 98 %.\n\n"
        "| study | interval of | data sets | intervals | hold the truth |\n"
        "| --- | --- | --- | --- | --- |\n"
    )
    for row in held.measured()["rows"]:
        share = f"{row['share']:.1%} +- {196 * row['error']:.1f}"
        share = share if held.near(row) else f"**{share}**"
        cells = (row["study"], row["label"], row["sets"], row["intervals"], share)
        text += "| " + " | ".join(str(cell).replace("|", "\\|") for cell in cells) + " |\n"
    return text


def pictures(runs: Path) -> None:
    """The first screen of each report, `first.png` beside it; none where there is no Chromium."""
    for report in sorted(runs.glob("*/report.html")):
        try:
            data = browser.first_screen(report.read_text(encoding="utf-8"))
        except InputError as error:
            print(f"no pictures in the gallery: {error}")
            return
        report.with_name("first.png").write_bytes(data)


def _gallery(runs: Path) -> str:
    """A line for each study, with its report where `docs/build --gallery` has made one."""
    text = (
        "# Reports of the embedded example\n\nEach study on the planted network `biased`: one file "
        "each, which works without a network connection. `conceptseg NAME` makes the same.\n\n"
    )
    rows = "| study | what |\n| --- | --- |\n"
    for name in catalogue.names("study"):
        file, summary = runs / name / "result.json", catalogue.entry("study", name).summary
        link = f"`{name}`"
        if file.is_file():
            link = f'<a href="{name}/report.html">{name}</a>'
            text += _card(name, summary, json.loads(file.read_text(encoding="utf-8")), runs)
        rows += f"| {link} | {summary} |\n"
    return f"{text}\n## All studies\n\n{rows}"


def _card(name: str, summary: str, result: Mapping[str, Any], runs: Path) -> str:
    """A study's picture, if there is one, and verdict, which lead to its report."""
    said = f"{result['verdict']['status']}: {result['verdict']['sentence']}"
    picture = ""
    if (runs / name / "first.png").is_file():
        alt = html.escape(f"First screen of the report of {name}. {said}")
        picture = f'<img src="{name}/first.png" alt="{alt}" width="640">'
    body = f'<a href="{name}/report.html">{picture or "Report"}</a>'
    return f"## `{name}`\n\n{summary}\n\n{body}\n\n{html.escape(said)}\n\n"


def _technique(kind: str, name: str) -> str:
    module = f"conceptseg.{catalogue.FOLDERS[kind].replace('/', '.')}.{name}"
    module += ".config" if kind == "study" else ""
    function = catalogue.FUNCTIONS.get(kind)
    what = f"autofunction:: {module}.{function}" if function else _class(kind, name)
    return f"\n## `{name}`\n\n```{{eval-rst}}\n.. {what}\n```\n"


def _class(kind: str, name: str) -> str:
    found = catalogue.load(kind, name)
    return f"autoclass:: {found.__module__}.{found.__name__}\n   :no-members:"


def _module(name: str) -> str:
    path = f"conceptseg.{name}"
    return f"\n## `{path}`\n\n```{{eval-rst}}\n.. automodule:: {path}\n   :members:\n```\n"


if __name__ == "__main__":
    pictures(Path(sys.argv[1]))
