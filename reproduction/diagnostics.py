"""Measurements that were made to find out why a trend is not seen; the page's reasons cite them."""

from __future__ import annotations

import numpy as np
from common import Case, Row, cases, dice_by_chance, masked
from hasany_2026_table1 import as_row, misure_plan
from kept import Store
from settings import Settings

from napari_segxai.analyses.explain.run import explanation_steps
from napari_segxai.core.progress import finish

NAME = "diagnostics"
STRONG = (1.0, 10.0)
"""Values of lambda beyond those of the paper."""


def run(settings: Settings, store: Store) -> list[Row]:
    """Return one row per case, and one more per Triangle image of the sweeps."""
    rows = []
    for case in cases(settings):
        rows += store.rows(NAME, case, {}, lambda c=case: [_measure(c)])
        if case.sweep and case.dataset == "triangle":
            asked = {"lambdas": STRONG, "iterations": settings.iterations}
            measure = lambda c=case: [_pruned(c, settings.iterations)]  # noqa: E731
            rows += store.rows(f"{NAME}_lambda", case, asked, measure)
    return rows


def _measure(case: Case) -> Row:
    """Measure what pooling does to Seg-Grad-CAM, and what Seg-Eigen-CAM is with its other sign.

    Returns
    -------
    dict
        object: share of the image that the object has. positive: share of Seg-Grad-CAM's cells above 0. pooled: its highest
        absolute value, per that of Seg-HiRes-Grad-CAM, which does not pool. turned_dice, turned_ratio: Dice explained and
        ratio at 0.05 of Seg-Eigen-CAM times -1. rest_dice: Dice explained by everything but the predicted object.
        turned_chance, rest_chance: 95th percentile of what random maps of the same area explain.
    """
    predicted = case.predicted()
    pooled, whole = (case.explain(method).map for method in ("seg-grad-cam", "seg-hires-grad-cam"))
    eigen = case.explain("seg-eigen-cam").map
    turned, rest = masked(case, {"turned": -eigen, "rest": (~predicted).astype(float)}, [0.05])
    return {
        "object": float(predicted.mean()),
        "positive": float((pooled > 0).mean()),
        "pooled": float(np.abs(pooled).max() / max(float(np.abs(whole).max()), 1e-12)),
        "turned_dice": turned["dice"] or 0.0,
        "turned_ratio": turned["mask"] / max(turned["size"], 1),
        "rest_dice": rest["dice"] or 0.0,
        "turned_chance": turned["chance_high"],
        "rest_chance": rest["chance_high"],
    }


def _pruned(case: Case, iterations: int) -> Row:
    """Run MiSuRe with lambdas beyond those of the paper: ratio on the image and Dice explained of each."""
    out = {}
    for lam in STRONG:
        explanation = finish(explanation_steps(misure_plan(case, iterations, lam=lam)))
        found, chance = as_row(explanation), dice_by_chance(case, {"": explanation.map})[""]
        out |= {f"ratio_{lam:g}": found["image"] / max(found["size"], 1), f"dice_{lam:g}": found["dice"]}
        out[f"chance_{lam:g}"] = chance["chance_high"]
    return out
