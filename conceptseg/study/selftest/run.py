"""Runs all self tests: draws where nothing is there, and data sets of the constructed networks.

Each study's draws are one call, and so is each data set; the run's processes make them at once, and
what is finished is kept until the result is saved, so that a run that broke off repeats none of it.
"""

from __future__ import annotations

import dataclasses
import json
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from conceptseg import catalogue
from conceptseg.engine import provenance
from conceptseg.engine.fits import Fits, all_of, made_by
from conceptseg.engine.local import LocalEngine
from conceptseg.engine.out import taken
from conceptseg.engine.pool import ProcessEngine, cores
from conceptseg.engine.progress import Progress
from conceptseg.engine.run import in_order, run_study
from conceptseg.engine.store import CarryStore, state_of
from conceptseg.errors import InputError, nearest
from conceptseg.report.page import render
from conceptseg.result.saved import Result
from conceptseg.settings import digest
from conceptseg.study.selftest.bench import EXACT, Planted, selftest_of
from conceptseg.study.selftest.conclude import NAME, Rate, Share, conclude
from conceptseg.study.selftest.report import compose
from conceptseg.study.shared.nulls import Power

WEIGHTS = (0.0, 0.25, 0.5, 0.75, 1.0)
LEAST, MOST = 20, 1_000_000


@dataclass(frozen=True)
class Options:
    """`draws` of each study, `sets` of scenes for each weight of its power (0: none is measured),
    by so many `processes`."""

    draws: int = 300
    sets: int = 4
    studies: tuple[str, ...] = ()
    seed: int = 0
    processes: int | None = None

    def checked(self) -> Options:
        """Raises InputError."""
        for name, least in (("draws", LEAST), ("sets", 0), ("seed", 0)):
            if not least <= getattr(self, name) <= MOST:
                raise InputError(f"--{name} {getattr(self, name)}: give {least} to {MOST}")
        known = catalogue.names("study")
        for one in self.studies:
            if one not in known:
                raise InputError(f"--study {one}: {nearest(one, known)}")
        chosen = tuple(dict.fromkeys(self.studies)) or known
        return dataclasses.replace(self, studies=chosen)

    @property
    def recorded(self) -> dict[str, Any]:
        """All that can change a result."""
        return {name: getattr(self, name) for name in ("draws", "sets", "studies", "seed")}


def run(options: Options, out: Path, progress: Progress, *, fresh: bool = False) -> Path:
    """Run them and save result and report; returns the report's path.

    Raises :class:`~conceptseg.errors.InputError` for options or a folder that cannot be used.
    """
    options = options.checked()
    recorded = {**options.recorded, "studies": list(options.studies)}
    started = time.monotonic()
    shelf = state_of(out, None)
    with taken(out, NAME, recorded, fresh=fresh) as said:
        for line in said:
            progress.note(line)
        if fresh:
            shelf.remove("")
        count = options.processes or cores()
        engine = ProcessEngine(count) if count > 1 else LocalEngine()
        key = digest([provenance.code_digest(), provenance.versions(), recorded])
        fits = Fits(engine, CarryStore(shelf, frozenset({"conceptseg"})), key)
        try:
            with made_by(fits):
                rates = _rates(options, progress)
                power = _power(options, progress)
        finally:
            if isinstance(engine, ProcessEngine):
                engine.close()
        result = conclude(options.studies, rates, power)
        result = dataclasses.replace(
            result,
            config=in_order(recorded),
            provenance=in_order(
                {
                    "command": provenance.tidy_command(sys.argv[1:]),
                    "versions": provenance.versions(),
                    "code": provenance.code_digest(),
                    "configuration": digest(recorded),
                    "seed": options.seed,
                    "machine": provenance.machine("cpu"),
                }
            ),
            timings=in_order(
                {
                    "total_seconds": round(time.monotonic() - started, 3),
                    "fits": {NAME: fits.counts[0]},
                    "resumed_fits": {NAME: fits.counts[1]},
                }
            ),
        )
        result.save(out, render(compose(result), result))
        shelf.remove("")
    return out / "report.html"


def _rates(options: Options, progress: Progress) -> list[Rate]:
    """How often each claim of each study was made where nothing is there."""
    tested = [name for name in options.studies if selftest_of(name).claims]
    progress.note(f"{options.draws} draws each of {len(tested)} studies where nothing is there")
    if not tested:
        return []
    # The first is made before it is known that the others are worth a process of their own.
    lightest, *others = sorted(tested, key=lambda name: selftest_of(name).seconds)
    order = [lightest, *reversed(others)]
    made = all_of(false_claims, [(name,) for name in order], options.draws, options.seed)
    counts = dict(zip(order, made, strict=True))
    return [
        Rate.of(name, claim, options.draws, int(false))
        for name in tested
        for claim, false in zip(selftest_of(name).claims, counts[name], strict=True)
    ]


def _power(options: Options, progress: Progress) -> list[Share]:
    """How often each study names what digit 3 of the constructed networks relies on."""
    shares = []
    for name in options.studies:
        power = selftest_of(name).power
        if not isinstance(power, Power) or not options.sets:
            continue
        progress.note(f"{name}: {options.sets} data sets at each of {len(WEIGHTS)} weights")
        items = [(w, number) for w in WEIGHTS for number in range(options.sets)]
        found = np.array(all_of(named, items, name, options.seed)).reshape(len(WEIGHTS), -1)
        shares += [
            Share.of(name, power.what, w, len(own), int(own.sum()))
            for w, own in zip(WEIGHTS, found, strict=True)
        ]
    return shares


def false_claims(draws: int, seed: int, study: str) -> np.ndarray:
    """In how many draws each claim of a study is made, [claims]."""
    own = selftest_of(study)
    assert own.draws is not None
    made = np.array([tuple(one) for one in own.draws(Planted(), draws, seed)], bool)
    return np.asarray(made.sum(0))


def named(study: str, seed: int, w: float, number: int) -> bool:
    """Whether a whole run of a study names the stripes, of a network of weight `w`."""
    power = selftest_of(study).power
    assert isinstance(power, Power)
    keys = {"layer": power.layer, **power.keys}
    own, context = Planted().ready(
        study,
        keys,
        network="constructed",
        arguments={"w": w},
        scenes=EXACT,
        n=power.scenes,
        seed=1000 * seed + number,
        classes=power.classes,
    )
    with tempfile.TemporaryDirectory() as folder:
        return power.found(run_study(own, context, Path(folder), engine=LocalEngine()))


def shipped(result: Result, version: str, before: Mapping[str, Any]) -> dict[str, Any]:
    """What is shipped with the package: of the studies that were run what the result says, of all
    others what was there `before`, if that is of the same version; of power that was not measured
    (`sets: 0`) what was there of any."""
    kept = before if before.get("version") == version else {}
    tables: dict[str, list[dict[str, Any]]] = {}
    for name in ("rates", "power", "untested"):
        rows = [dict(row) for row in result.tables[name].rows]
        again = () if name == "power" and not result.config["sets"] else result.config["studies"]
        rows += [row for row in kept.get(name, ()) if row["study"] not in again]
        tables[name] = sorted(rows, key=lambda row: str(row["study"]))
    draws = min((row["draws"] for row in tables["rates"]), default=0)
    return {"version": version, "draws": draws, **tables}


def read(file: Path) -> dict[str, Any]:
    """What such a file holds; nothing if there is none. Raises InputError for another file."""
    if not file.exists():
        return {}
    try:
        held = json.loads(file.read_text(encoding="utf-8"))
        if isinstance(held, dict) and "rates" in held:
            return held
    except ValueError:
        pass
    raise InputError(f"--write {file}: it holds something else; give another file")
