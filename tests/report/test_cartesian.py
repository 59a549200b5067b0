"""plotly.js without other charts: a bundle written by hand, and which part a page holds."""

import json

import plotly.graph_objects as go
import pytest

from conceptseg.report import cartesian, cartesian_parts, scripts
from conceptseg.report.blocks import FigureBlock, Report, Section
from conceptseg.report.page import render
from conceptseg.result.saved import Result
from conceptseg.result.table import Table

HEAD = '/* "(" */ "use strict";var Plotly=(()=>{var W=(e,t)=>()=>(t||e(t={},t),t.exports);'
SHARED = r"""var aa=W((x,y)=>{y.exports=[/[/})]{/.test("({["),`)${"}"+`]${1}`}{`,6/2/1]});"""
ONE_BAR = 'var bb=W(y=>{y.is={moduleType:"trace",name:"bar",of:aa()}}),'
ONE_GLOBE = 'cc=W((y,z)=>{z.exports={moduleType:"trace",name:"globe",of:[aa(),round(),dd()]}}),'
OF_GLOBE = 'dd=W(()=>{if(aa)/}/.test("")});'
ROUND = "function round(bb){return bb/2}"
KEPT_FUNCTION = "function flat(){return{name:'moduleType'}}"
FLAT = 'var ee=W(()=>{return flat()}),ff=W((y)=>{y.is={moduleType:"trace",name:"bar2",of:ee()}});'
BY_LIST = (
    "var gg=W((y,z)=>{z.exports=bb()}),hh=W((y,z)=>{var s=ff();s.register([gg(),cc(),ff()]);"
    "z.exports=s});return hh()})();"
)
BUNDLE = HEAD + SHARED + ONE_BAR + ONE_GLOBE + OF_GLOBE + ROUND + KEPT_FUNCTION + FLAT + BY_LIST


def without(text, kinds):
    """A bundle without what the charts of `kinds` do without, and how that is written down."""
    steps = cartesian_parts.steps(cartesian_parts.Bundle.read(text).left_out(kinds))
    return steps, {cartesian.digest(text): {"version": "0", "steps": steps}}


def test_what_only_other_charts_reach_is_left_out(monkeypatch):
    _, known = without(BUNDLE, ["bar", "bar2"])
    monkeypatch.setattr(cartesian, "_known", lambda: known)
    emptied = [(ONE_GLOBE, "cc=W((y,z)=>{}),"), (OF_GLOBE, "dd=W(()=>{});"), (ROUND, "")]
    wanted = BUNDLE.replace("gg(),cc(),ff()", "gg(),ff()")
    for whole, left in emptied:
        assert wanted.count(whole) == 1
        wanted = wanted.replace(whole, left)
    assert cartesian.part(BUNDLE) == wanted


def test_all_stays_where_all_is_drawn(monkeypatch):
    steps, known = without(BUNDLE, ["bar", "globe", "bar2"])
    monkeypatch.setattr(cartesian, "_known", lambda: known)
    assert steps == [] and cartesian.part(BUNDLE) == BUNDLE


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (BUNDLE.replace("hh()})();", "hh()})("), "is not closed"),
        (BUNDLE.replace("{return flat()}", "{return flat(]}"), "closes nothing"),
        (BUNDLE.replace('name:"bar"', 'name:"column"'), "the library has no bar"),
    ],
)
def test_what_is_no_such_bundle_is_an_error(text, said):
    with pytest.raises(ValueError, match=said):
        without(text, ["bar", "bar2"])


def page_of(*kinds):
    """A page with a chart of each kind, and plotly.js as it holds it."""
    table = Table([{"x": 1}])
    blocks = [
        FigureBlock(go.Figure({"data": [{"type": kind}]}), kind, "alt", "caption", table)
        for kind in kinds
    ]
    html = render(Report("t", sections=[Section("s", "S", blocks=blocks)]), Result("ace"))
    return html, scripts.plotly_script(kinds)


def known_version():
    from plotly.offline import get_plotlyjs

    if cartesian.part(get_plotlyjs()) is None:
        pytest.skip(
            "this version of plotly.js is not known: try the charts with "
            "`python -m conceptseg.report.cartesian_parts`, which adds it"
        )


@pytest.mark.parametrize("kinds", [(), ("scatter", "heatmap"), ("bar", "scatter3d")])
def test_a_page_holds_what_its_charts_need(kinds):
    html, library = page_of(*kinds)
    assert f'id="plotly">{library.packed}</script>' in html
    drawn = [name for name in ("scatter", "bar", "scatter3d") if f'name:"{name}"' in library.text]
    if "scatter3d" in kinds:
        assert drawn == ["scatter", "bar", "scatter3d"]
    elif not kinds:
        assert library.text == "" and len(html) < 100_000
    else:
        known_version()
        assert drawn == ["scatter", "bar"]
        assert 500_000 < len(html) < 900_000  # what all reports hold; the bound is 3 MB


@pytest.mark.slow
def test_what_is_left_out_is_what_the_bundle_says():
    """The file is that of the rule, for the version that is installed."""
    from plotly.offline import get_plotlyjs

    known_version()
    text = get_plotlyjs()
    steps = cartesian_parts.steps(cartesian_parts.Bundle.read(text).left_out())
    assert json.loads(cartesian.FILE.read_text())[cartesian.digest(text)]["steps"] == steps
