"""Foreground segmentation to measure interpretability (Aabid and Sicre), table 1: metrics of boxes and of masks.

The paper's object is the pet in a photograph; ours are the true objects of the samples. Of the photograph no truth is
known, so that the prediction stands in. A map becomes a region as in section 4.1: at or above its mean, the largest
component.
"""

from __future__ import annotations

import numpy as np
from common import DEVICE, Case, Row, cases, level
from kept import Store
from settings import Settings

import napari_segxai as sx

NAME = "aabid_sicre_table1"
METHODS = {"Seg-Grad-CAM": "seg-grad-cam", "Seg-HiRes-Grad-CAM": "seg-hires-grad-cam"}
METRICS = {
    "LE": "localization-error-box",
    "MLE": "localization-error-mask",
    "EPG": "energy-pointing-game-box",
    "MEPG": "energy-pointing-game-mask",
    "F1": "f1-box",
    "MF1": "f1-mask",
    "recall": "recall-box",
    "masked recall": "recall-mask",
}


def run(settings: Settings, store: Store) -> list[Row]:
    """Return the rows of all cases."""
    return [row for case in cases(settings) for row in store.rows(NAME, case, {}, lambda c=case: _measure(c))]


def _measure(case: Case) -> list[Row]:
    label = case.model.label_index(case.label)
    truth = case.truth if case.truth is not None else case.predicted() * label
    if not np.any(truth == label):
        return []
    maps = {name: case.explain(method).map for name, method in METHODS.items()}
    found = sx.evaluate(
        case.model, maps, case.image, case.label, truth=truth, device=DEVICE, controls=0,
        metrics=tuple(METRICS.values()), threshold="mean", components="largest", chance=case.draws,
    )  # fmt: skip
    return [
        {
            "method": name,
            **{short: found.value(name, metric) for short, metric in METRICS.items()},
            **{
                f"{short} {key}": value
                for short in ("EPG", "MEPG")
                for key, value in level(found.chance(name, METRICS[short])).items()
            },
        }
        for name in maps
    ]
