"""Measurements that were made to find out why a trend is not seen; the page's reasons cite them."""

from __future__ import annotations

import numpy as np
from common import Case, Row, Settings, Store, cases, masked

NAME = "diagnostics"


def run(settings: Settings, store: Store) -> list[Row]:
    """Return one row per case."""
    return [
        row for case in cases(settings) for row in store.rows(NAME, case, {}, lambda c=case: [_measure(c)])
    ]


def _measure(case: Case) -> Row:
    """Measure what pooling does to Seg-Grad-CAM, and what Seg-Eigen-CAM is with its other sign.

    Returns
    -------
    dict
        object: share of the image that the object has. positive: share of Seg-Grad-CAM's cells above 0. pooled: its highest
        absolute value, per that of Seg-HiRes-Grad-CAM, which does not pool. turned_dice, turned_ratio: Dice explained and
        ratio at 0.05 of Seg-Eigen-CAM times -1.
    """
    predicted = case.predicted()
    pooled, whole = (case.explain(method).map for method in ("seg-grad-cam", "seg-hires-grad-cam"))
    eigen = case.explain("seg-eigen-cam").map
    [turned] = masked(case, {"turned": -eigen}, [0.05])
    return {
        "object": float(predicted.mean()),
        "positive": float((pooled > 0).mean()),
        "pooled": float(np.abs(pooled).max() / max(float(np.abs(whole).max()), 1e-12)),
        "turned_dice": turned["dice"] or 0.0,
        "turned_ratio": turned["mask"] / max(turned["size"], 1),
    }
