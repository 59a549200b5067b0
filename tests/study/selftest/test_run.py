"""Counts of draws become rates; a run is kept, refused and resumed as those of studies are."""

import json

import numpy as np
import pytest

from conceptseg.engine import fits
from conceptseg.engine.progress import Quiet
from conceptseg.errors import EXIT_INPUT, InputError
from conceptseg.study import __main__ as command
from conceptseg.study.selftest import conclude, run
from conceptseg.study.selftest.conclude import Rate, Share
from conceptseg.study.selftest.run import Options
from conceptseg.study.shared.nulls import Claim, Power, Selftest

CLAIM = Claim("a coin that is thrown", "nothing is there", "one throw")
SHARES = (0.05, 0.6)


def coins(bench, count, seed):
    rng = np.random.default_rng(seed)
    for _ in range(count):
        yield tuple(rng.random() < share for share in SHARES)


COINS = Selftest(
    claims=(CLAIM, Claim("a loaded coin", "nothing is there", "one throw", "published")),
    draws=coins,
    power=Power("the context", {}, lambda result: True),
)


@pytest.fixture
def coined(monkeypatch):
    """All studies throw coins, and whole runs name the context from a weight of one half on."""
    tried = []

    def named(study, seed, w, number):
        tried.append((study, w, number))
        return w >= 0.5

    for module in (run, conclude):
        monkeypatch.setattr(module, "selftest_of", lambda name: COINS)
    monkeypatch.setattr(run, "named", named)
    return tried


def options(**keys):
    return Options(**{"draws": 400, "sets": 2, "studies": ("ace",), "processes": 1, **keys})


def test_a_rate_has_the_interval_at_whose_ends_it_is_barely_likely():
    """Wilson's: a share p belongs to it where the rate is within 1.96 of its standard errors."""
    rate = Rate.of("ace", CLAIM, 300, 24)
    for p in (rate.low, rate.high):
        assert abs(rate.rate - p) == pytest.approx(1.96 * np.sqrt(p * (1 - p) / 300), rel=1e-3)
    assert rate.bound == pytest.approx(0.05 + 2 * np.sqrt(0.05 * 0.95 / 300))
    assert not rate.keeps and Rate.of("ace", CLAIM, 300, 22).keeps


def test_networks_that_draws_share_are_what_counts():
    few = Claim("a", "b", "c", behind=20)
    assert Rate.of("lcrp", few, 1000, 50).high > Rate.of("lcrp", CLAIM, 1000, 50).high + 0.1
    assert Rate.of("lcrp", few, 10, 1).high == Rate.of("lcrp", CLAIM, 10, 1).high


def test_what_is_wrong_too_often_is_found_and_told(tmp_path, coined):
    path = run.run(options(), tmp_path / "out", Quiet())
    result = json.loads((tmp_path / "out" / "result.json").read_text())
    fair, loaded = result["tables"]["rates"]["rows"]
    assert fair["false"] < 40 and fair["kind"] == "ours"
    assert 200 < loaded["false"] < 280 and loaded["kind"] == "published"
    (finding,) = result["findings"]
    assert finding["claim"].startswith("ace, by the published rule: a loaded coin")
    power = {row["w"]: row["power"] for row in result["tables"]["power"]["rows"]}
    assert power == {0.0: 0.0, 0.25: 0.0, 0.5: 1.0, 0.75: 1.0, 1.0: 1.0}
    assert "Published rules on the same draws: a loaded coin" in path.read_text()


def test_another_seed_throws_otherwise_and_the_same_alike(coined):
    counts = [run.false_claims(400, seed, "ace").tolist() for seed in (1, 1, 2)]
    assert counts[0] == counts[1] != counts[2]


def test_a_run_that_broke_off_goes_on_and_ends_alike(tmp_path, coined, monkeypatch):
    monkeypatch.setattr(fits, "LONG", 0.0)
    given = options(studies=("ace", "audit"))
    whole = run.run(given, tmp_path / "whole", Quiet()).parent
    del coined[:]
    original, calls = run.named, []

    def broken(*arguments):
        calls.append(arguments)
        if len(calls) == 13:
            raise KeyboardInterrupt
        return original(*arguments)

    broken.__qualname__ = original.__qualname__
    monkeypatch.setattr(run, "named", broken)
    with pytest.raises(KeyboardInterrupt):
        run.run(given, tmp_path / "out", Quiet())
    monkeypatch.setattr(run, "named", original)
    done = len(coined)
    out = run.run(given, tmp_path / "out", Quiet()).parent
    texts = [json.loads((each / "result.json").read_text()) for each in (whole, out)]
    assert texts[0]["tables"] == texts[1]["tables"]
    assert texts[1]["timings"]["resumed_fits"]["selftest"] >= 2
    assert len(coined) - done < 20, "what was finished is not made again"


def test_another_result_is_not_replaced(tmp_path, coined):
    run.run(options(), tmp_path / "out", Quiet())
    with pytest.raises(InputError, match="of another configuration"):
        run.run(options(draws=500), tmp_path / "out", Quiet())


def test_it_is_rendered_again_and_written_for_the_package(tmp_path, coined, capsys):
    out, file = tmp_path / "out", tmp_path / "rates.json"
    flags = ["--study", "ace", "--draws", "50", "--sets", "1", "--processes", "1", "-q"]
    assert command.main(["selftest", *flags, "--out", str(out), "--write", str(file)]) == 0
    held = json.loads(file.read_text())
    assert held["draws"] == 50 and len(held["rates"]) == 2 and held["version"]
    again = ["--study", "audit", "--draws", "60", "--sets", "0", "--processes", "1", "-q"]
    further = [*again, "--out", str(tmp_path / "b"), "--write", str(file)]
    assert command.main(["selftest", *further]) == 0
    both = json.loads(file.read_text())
    assert [row["study"] for row in both["rates"]] == ["ace", "ace", "audit", "audit"]
    assert both["draws"] == 50 and both["rates"][:2] == held["rates"]
    unmeasured = ["--study", "ace", "--draws", "70", "--sets", "0", "--processes", "1", "-q"]
    last = [*unmeasured, "--out", str(tmp_path / "d"), "--write", str(file)]
    assert held["power"] and command.main(["selftest", *last]) == 0
    kept = json.loads(file.read_text())
    assert kept["power"] == held["power"] and kept["rates"][0]["draws"] == 70
    (tmp_path / "other.json").write_text("[]")
    refused = [*again, "--out", str(tmp_path / "c"), "--write", str(tmp_path / "other.json")]
    assert command.main(["selftest", *refused]) == EXIT_INPUT
    assert "holds something else" in capsys.readouterr().err and not (tmp_path / "c").exists()
    before = (out / "report.html").read_text()
    assert command.main(["report", str(out)]) == 0
    assert (out / "report.html").read_text() == before


def test_shares_of_a_power_have_intervals():
    share = Share.of("ace", "the context", 0.5, 4, 3)
    assert share.power == 0.75 and share.low < 0.4 < 0.9 < share.high
