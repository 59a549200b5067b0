"""A report in a browser without a window: as PDF, its first screen and its charts as pictures.

Needs playwright (the extra `browser`), which drives an installed Chromium, that of
`CONCEPTSEG_CHROMIUM` or one on the path. The page is rendered from the result into a file of its
own: a `report.html` that lies in a folder may be anybody's. It is opened with the network off.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from conceptseg.errors import InputError
from conceptseg.extras import missing
from conceptseg.result.saved import safe_key

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
OPENED = """() => {
  for (const one of document.querySelectorAll("details")) one.open = true;
  for (const one of document.querySelectorAll(".put-away")) one.classList.remove("put-away");
  return document.querySelectorAll("[data-save]").length;
}"""
"""Unfolds the page, so that each chart has a size, and counts the buttons that save one."""
WAIT_MS = 60_000


def chromium() -> str:
    """The path of a Chromium. Raises InputError where none is installed."""
    named = os.environ.get("CONCEPTSEG_CHROMIUM")
    found = named if named and Path(named).is_file() else None
    found = found or next((path for name in NAMES if (path := shutil.which(name))), None)
    if found is None:
        raise InputError(
            "no Chromium is found, which makes PDF and pictures of charts; install one (apt-get "
            "install chromium), or name it by the environment's CONCEPTSEG_CHROMIUM"
        )
    return found


def pdf(html: str) -> bytes:
    """A page of HTML, printed as PDF on A4."""
    with _opened(html) as page:
        data: bytes = page.pdf(format="A4", print_background=True, prefer_css_page_size=True)
        return data


def first_screen(html: str, width_px: int = 1280, height_px: int = 900) -> bytes:
    """What a reader sees of a page before scrolling, as PNG."""
    with _opened(html) as page:
        page.set_viewport_size({"width": width_px, "height": height_px})
        data: bytes = page.screenshot()
        return data


def charts(html: str) -> dict[str, bytes]:
    """File name -> SVG or PNG of each chart of a report, as its own buttons save them."""
    found: dict[str, bytes] = {}
    with _opened(html) as page:
        for place in range(page.evaluate(OPENED)):
            with page.expect_download(timeout=WAIT_MS) as waiting:
                page.evaluate(
                    "place => document.querySelectorAll('[data-save]')[place].click()", place
                )
            download = waiting.value
            name = download.suggested_filename
            stem, _, suffix = name.rpartition(".")
            key = f"{stem}-{place}.{suffix}" if name in found else name
            found[safe_key(key)] = Path(download.path()).read_bytes()
    return found


@contextmanager
def _opened(html: str) -> Iterator[Any]:
    """A page in a browser that reaches no network."""
    try:
        from playwright.sync_api import Error, sync_playwright
    except ImportError:
        raise InputError(missing("A PDF or picture of a chart", "playwright")) from None
    program = chromium()
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as driver:
        path = Path(folder) / "report.html"
        path.write_text(html, encoding="utf-8")
        try:
            browser = driver.chromium.launch(
                executable_path=program, args=["--no-sandbox", "--disable-gpu"]
            )
            context = browser.new_context(offline=True, accept_downloads=True)
            page = context.new_page()
            page.goto(path.as_uri(), timeout=WAIT_MS)
            yield page
            browser.close()
        except Error as error:
            told = str(error).strip().partition("\n")[0]
            raise InputError(f"{program}: the browser failed ({told[:200]})") from None
