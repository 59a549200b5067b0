"""Documentation: Sphinx with MyST; the tutorials are run each time that it is built."""

import os
import re
import sys
from importlib.metadata import version as installed
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

import generate  # noqa: E402

generate.write(HERE)

project = "conceptseg"
author = "the conceptseg developers"
copyright = author
release = installed("conceptseg")

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
]
exclude_patterns = ["_build", "jupyter_execute", "runs", "tutorials/out"]
html_theme = "furo"
html_title = "conceptseg"
html_extra_path = ["runs"] if (HERE / "runs").is_dir() else []

# A tutorial that fails, fails the build.
nb_execution_mode = "force" if os.environ.get("CONCEPTSEG_DOCS_RUN", "1") == "1" else "off"
nb_execution_raise_on_error = True
nb_execution_timeout = 900
nb_merge_streams = True
nb_render_text_lexer = "none"
myst_heading_anchors = 3
myst_enable_extensions = ["colon_fence"]

default_role = "code"
autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_class_signature = "separated"
autodoc_preserve_defaults = True
autodoc_mock_imports = ["monai", "dynamic_network_architectures"]


def plain(app, what, name, obj, options, lines):
    """Formulas stand in docstrings as one writes them: `|x|` is no substitution, `A_` no link."""
    for number, line in enumerate(lines):
        parts = re.split(r"(`+[^`]*`+)", line)
        for at in range(0, len(parts), 2):
            parts[at] = re.sub(r"(?<!\\)\||(?<=\w)_(?!\w)", r"\\\g<0>", parts[at])
        lines[number] = "".join(parts)


def setup(app):
    app.connect("autodoc-process-docstring", plain)
