"""How often ACE and dissection claim a use where there is none, and how often they find one.

    python benchmarks/null.py [--sets 1000] [--groups 6 8 10 20] [--studies ace dissect]

Losses of IoU are made without a network (`tests/study/nulls.py`) and go through the studies' own
tests, verdicts and findings. Printed is the share of data sets with any false finding, for each
kind of effect that may be missing (of concepts that are one more random direction, the share of
pairs), and the share in which one use of fifty pairs is found: with the studies' own correction,
and with Holm's alone.
"""

import argparse
import sys
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from conceptseg.stats.family import by_holm, judge  # noqa: E402
from conceptseg.study.shared import edits  # noqa: E402
from tests.study.nulls import Shape, false_share, found_share  # noqa: E402

CASES = (
    ("direction", "normal", "normal"),
    ("direction", "heavy", "skewed"),
    ("signs", "heavy", "skewed"),
    ("signs", "few", "skewed"),
    ("score", "heavy", "skewed"),
    ("any", "heavy", "skewed"),
)
RANDOM = {"ace": 20, "dissect": 10}
"""Random edits, by default."""
SHARES = (0.95, 0.5)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--sets", type=int, default=1000)
    parser.add_argument("--groups", type=int, nargs="+", default=[6, 8, 10, 20])
    parser.add_argument("--studies", nargs="+", default=["ace", "dissect"])
    arguments = parser.parse_args()
    for study in arguments.studies:
        for one, tail, spread in CASES[: None if study == "ace" else -2]:
            row = [
                false_share(study, shape(study, groups, one, tail, spread), arguments.sets)
                for groups in arguments.groups
            ]
            print(study, "no", one, tail, spread, *(f"{share:.3f}" for share in row), flush=True)
        for share in SHARES:
            for name, policy in (("own", None), ("Holm", by_holm)):
                edits.judge = partial(judge, policy=policy)
                row = [
                    found_share(
                        study, shape(study, groups, "signs"), share, max(1, arguments.sets // 5)
                    )
                    for groups in arguments.groups
                ]
                told = " ".join(f"{found:.2f}" for found in row)
                print(f"{study} finds a loss of {share:.0%} by {name}: {told}", flush=True)
            edits.judge = judge


def shape(study: str, groups: int, *words: str) -> Shape:
    names = ("lacks", "tail", "spread")
    return Shape(groups, random=RANDOM[study], **dict(zip(names, words, strict=False)))


if __name__ == "__main__":
    main()
