"""Rows that are sums of known atoms."""

import numpy as np


def sums(
    count: int = 8, d: int = 32, m: int = 3000, *, signed: bool, noise: float = 0.0, seed: int = 0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows [m, d], their codes [m, count] of which three in four are 0, and the atoms [count, d].

    `noise` is its standard deviation as a share of the rows'; it is signed where atoms are.
    """
    rng = np.random.default_rng(seed)
    atoms = rng.exponential(size=(count, d)) * (rng.random((count, d)) < 0.3) + 1e-3
    if signed:
        atoms = rng.normal(size=(count, d))
    codes = rng.exponential(size=(m, count)) * (rng.random((m, count)) < 0.25)
    rows = codes @ atoms
    drawn = rng.normal(size=rows.shape)
    rows = rows + noise * rows.std() * (drawn if signed else np.abs(drawn))
    return rows, codes, atoms
