"""What a run says while it works: which pass of how many, when, and how long it will be."""

import io

import pytest

from conceptseg.engine import progress
from conceptseg.engine.progress import Bars, Lines, choose


@pytest.fixture
def clock(monkeypatch):
    """Seconds that pass only when told."""
    now = [1000.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(progress.time, "strftime", lambda form: "12:34:56")
    return now


def test_lines_name_the_pass_the_time_and_what_is_left(clock):
    stream = io.StringIO()
    lines = Lines(stream)
    lines.expect(["survey", "erase"])
    lines.begin("erase", 40, 4)
    for number, seconds in ((1, 60), (2, 60)):
        clock[0] += seconds
        lines.advance(10)
        lines.shard(number, False)
    lines.advance(10)
    lines.shard(3, True)
    clock[0] += 1
    lines.advance(10)
    lines.shard(4, False)
    lines.end()
    lines.begin("lay_out", None, 0)
    lines.end()
    assert stream.getvalue().splitlines() == [
        "erase: 40 images in 4 shards, pass 2 of 2, at 12:34:56",
        "erase: shard 1/4 done, 10 of 40 images, about 3 min left",
        "erase: shard 2/4 done, 20 of 40 images, about 2 min left",
        "erase: shard 3/4 found saved, 30 of 40 images",
        "erase: shard 4/4 done, 40 of 40 images",
        "erase: finished in 121.0 s, 0.3 images/s, at 12:34:56",
        "lay_out: finished in 0.0 s, at 12:34:56",
    ]


def test_a_short_rest_is_in_seconds_and_none_is_told_of_a_start(clock):
    lines = Lines(io.StringIO())
    lines.begin("a", 10, 1)
    assert lines.left() == "" and lines.place == ""
    clock[0] += 5
    lines.advance(2)
    assert lines.left() == ", about 20 s left"


def test_bars_name_the_pass():
    stream = io.StringIO()
    with Bars(stream) as bars:
        bars.expect(["survey", "erase"])
        bars.begin("erase", 4, 1)
        bars.advance(4)
        bars.end()
        assert bars._bars.tasks[0].description == "2/2 erase"
    assert type(choose(True)) is progress.Quiet and type(choose(False, stream)) is Lines
