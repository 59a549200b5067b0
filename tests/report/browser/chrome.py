"""Chromium, headless and with the network off, and what is asked of every report in it."""

import os
import shutil
from contextlib import contextmanager

import pytest

FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")


@contextmanager
def chromium():
    """The browser; the test is skipped with the reason where it is missing."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    given = os.environ.get("CONCEPTSEG_CHROMIUM")
    program = given or next(filter(None, map(shutil.which, NAMES)), None)
    if program is None:
        pytest.skip("Chromium is not installed and CONCEPTSEG_CHROMIUM does not name one")
    with playwright.sync_playwright() as running:
        opened = running.chromium.launch(executable_path=program, args=FLAGS)
        yield opened
        opened.close()


@contextmanager
def visits(browser, address):
    """Opens a report in a fresh profile; afterwards nothing may have been said or asked for."""
    contexts, complaints, requests = [], [], []

    def open_page(width, height=900, **options):
        context = browser.new_context(
            viewport={"width": width, "height": height}, offline=True, **options
        )
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("dialog", lambda dialog: complaints.append(dialog.message))
        page.on("request", lambda request: requests.append(request.url))
        page.goto(address)
        page.wait_for_function("() => document.documentElement.dataset.charts === 'ready'")
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert not complaints, complaints[:3]
    own = ("data:", "blob:")
    assert [url for url in requests if url != address and not url.startswith(own)] == []


def scroll_through(page):
    """Pages down as a reader does, until every chart that is shown has been near the window."""
    page.evaluate("""async () => {
        for (let y = 0; y < document.documentElement.scrollHeight; y += 400) {
            window.scrollTo(0, y);
            await new Promise(resolve => setTimeout(resolve, 15));
        }
    }""")
    page.wait_for_function("""() => [...document.querySelectorAll('.plot')].every(
        p => !p.offsetParent || p.querySelector('.main-svg'))""")


def overflow(page):
    """How many pixels the page is wider than the window."""
    return page.evaluate("document.documentElement.scrollWidth - window.innerWidth")


def open_all(page):
    """Unfolds whatever is folded, and shows each of those of which one is shown."""
    page.evaluate("""() => {
        document.querySelectorAll('details').forEach(one => { one.open = true; });
        document.querySelectorAll('.put-away').forEach(one => one.classList.remove('put-away'));
    }""")


VERDICT = """() => {
    const box = document.querySelector('.verdict');
    const area = box.getBoundingClientRect();
    return {status: box.dataset.status, bottom: area.bottom + window.scrollY,
            word: box.querySelector('h2').textContent, icon: box.querySelectorAll('svg').length};
}"""
FINDINGS = """() => [...document.querySelectorAll('[id^="finding-"]')].map(one => {
    const item = one.closest('.finding');
    const link = one.querySelector('a[href^="#evidence-"]');
    const target = link && document.getElementById(link.getAttribute('href').slice(1));
    return {id: one.id, pictures: item.querySelectorAll('.picture use').length,
            target: link && link.getAttribute('href'),
            back: target && target.getAttribute('href')};
})"""
TICKS = """() => [...document.querySelectorAll('.plot')].flatMap(plot => {
    if (!plot._fullLayout) return [];
    return ['xaxis', 'yaxis'].flatMap(name => {
        const axis = plot._fullLayout[name];
        if (!axis || !axis.visible || axis.tickmode !== 'array' || !axis.showticklabels) return [];
        const seen = [...plot.querySelectorAll('.' + name[0] + 'tick text')].filter(one =>
            getComputedStyle(one).display !== 'none' && getComputedStyle(one).opacity !== '0');
        const [a, b] = [Math.min(...axis.range), Math.max(...axis.range)];
        const given = axis.tickvals.filter(value => value >= a && value <= b);
        return seen.length === given.length ? [] :
            [[plot.closest('.block').id, name, seen.length, given.length]];
    });
})"""
"""Axes whose names are not all drawn."""
MEETINGS = """() => {
    const found = [];
    document.querySelectorAll('.plot').forEach(plot => {
        if (!plot.offsetParent) return;
        const own = plot.getBoundingClientRect();
        const bar = plot.querySelector('.modebar, .updatemenu-container');
        if (bar) found.push([plot.dataset.figure, 'bar']);
        const figure = plot.closest('figure');
        figure.querySelectorAll('.tools, .controls').forEach(row => {
            const area = row.getBoundingClientRect();
            const meet = area.top < own.bottom - 1 && area.bottom > own.top + 1;
            if (meet) found.push([plot.dataset.figure, 'row']);
        });
    });
    return found;
}"""
"""Rows of tools that lie over a chart."""
WIDE = """() => [...document.querySelectorAll('main *')].filter(one => {
    if (one.closest('svg') || !one.offsetParent) return false;
    if (one.closest('.tabled .scroll, .bibtex') && !one.matches('.scroll, .bibtex')) return false;
    return one.getBoundingClientRect().right > window.innerWidth + 1;
}).map(one => one.tagName + '.' + one.className).slice(0, 5)"""
"""What reaches beyond the page; only tables of numbers scroll within their own box."""
UNREACHED = """() => {
    const every = document.querySelectorAll('button, a[href], input, select, summary');
    return [...every].filter(one => one.checkVisibility() && one.tabIndex < 0).length;
}"""
