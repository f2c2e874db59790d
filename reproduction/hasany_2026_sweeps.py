"""MiSuRe (Hasany et al. 2026), tables 2 to 6: learning rate against lambda, and the size of the mask."""

from __future__ import annotations

import itertools

from common import Case, Row, cases, dice_by_chance
from hasany_2026_table1 import as_row, misure_plan
from kept import Store
from settings import Settings

from napari_segxai.analyses.explain.run import explanations_steps
from napari_segxai.core.progress import finish

NAME = "hasany_2026_sweeps"
RATES = (0.001, 0.01, 0.1)
LAMBDAS = (0.001, 0.01, 0.1)
SHARES = (0.25, 0.5, 1.0)
"""Sides of the mask as shares of the network's grid; 56, 112 and 224 of 224 in the paper."""


def run(settings: Settings, store: Store) -> list[Row]:
    """Return the rows of all cases that are swept."""
    asked = {"iterations": settings.iterations}
    return [
        row
        for case in cases(settings)
        if case.sweep
        for row in store.rows(NAME, case, asked, lambda c=case: _measure(c, settings.iterations))
    ]


def _measure(case: Case, iterations: int) -> list[Row]:
    grid = [(lr, lam, 1.0) for lam, lr in itertools.product(LAMBDAS, RATES)]
    grid += [(0.1, 0.01, share) for share in SHARES if share < 1]
    asked = [
        {"lr": lr, "lam": lam, "share": share, "mask_size": max(4, round(case.mask_size * share))}
        for lr, lam, share in grid
    ]
    # Side by side: their steps go through the network in one batch, so their times are not their own.
    plans = [misure_plan(case, iterations, one["lr"], one["lam"], one["mask_size"]) for one in asked]
    found = finish(explanations_steps(plans))
    levels = dice_by_chance(case, {k: explanation.map for k, explanation in enumerate(found)})
    rows = [{**one, **as_row(found[k]), **levels[k]} for k, one in enumerate(asked)]
    for row in rows:
        del row["seconds"]
    return rows
