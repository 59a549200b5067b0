"""The audit on the planted networks, whose reliance is measured by drawing each scene twice."""

import pytest

from conceptseg.config import ModelConfig
from conceptseg.network.model import load_model
from conceptseg.planted import generator
from conceptseg.planted.measure import reliance_of
from conceptseg.result.saved import Result
from conceptseg.study import __main__ as command

SHOWN = ("confirmed", "behaviour only")


def truth(name):
    """Each digit's measured effect of the brick, by class."""
    net = load_model(ModelConfig(source="planted", name=name), [], "cpu").eval()
    return {
        f"digit {digit}": reliance_of(
            net, generator.samples("test", 60, 3, digits=(digit,)), digit + 1
        ).effect
        for digit in range(10)
    }


@pytest.mark.slow
@pytest.mark.parametrize("name", ["biased", "weak", "clean"])
def test_verdicts_are_those_of_the_measured_reliance(name, tmp_path):
    out = tmp_path / "out"
    assert command.main(["audit", "--out", str(out), "-q", "--set", f"model.name={name}"]) == 0
    rows, effects = Result.load(out).tables["verdicts"].rows, truth(name)
    assert len(rows) == 10
    for row in rows:
        effect = effects[row["class"]]
        if abs(effect) > 0.1:
            assert row["verdict"] == "confirmed" and row["effect"] * effect > 0
        if abs(effect) < 0.02:
            assert row["verdict"] not in SHOWN
    nothing = [row for row in rows if abs(effects[row["class"]]) < 0.02]
    absent = sum(row["verdict"] == "no reliance shown" for row in nothing)
    assert absent >= 0.6 * len(nothing)
    within = [row["low"] - 0.02 <= effects[row["class"]] <= row["high"] + 0.02 for row in rows]
    assert sum(within) >= 9
