"""A counterfactual study tests nothing."""

from conceptseg.study.shared.nulls import Selftest

SELFTEST = Selftest(
    untested="it reports edits that were found, each of which turns the prediction and holds in 8 "
    "bits and under noise: facts of these images, with intervals and no test",
    power="it searches edits, and tests nothing",
)
