"""A report in a notebook's output cell."""

from dataclasses import dataclass, field
from html import escape


@dataclass(frozen=True)
class Shown:
    """The report of a run, which a notebook shows in the output cell, in a frame of its own.

    `html` is the whole page. In the frame its script runs, and reaches neither the notebook nor the
    network.
    """

    name: str
    html: str = field(repr=False)
    height: int = 800

    def _repr_html_(self) -> str:
        title = escape(f"Report of {self.name}", quote=True)
        return (
            f'<iframe title="{title}" sandbox="allow-scripts allow-downloads" '
            f'style="width:100%;height:{self.height}px;border:1px solid" '
            f'srcdoc="{escape(self.html, quote=True)}"></iframe>'
        )
