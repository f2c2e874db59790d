"""What the network makes of the image behind a map, and how much of it a map keeps."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from napari_segxai.core.arrays import ROUNDING, as_array, as_mask, check_same_grid, unit
from napari_segxai.engine.masking.baselines import Hide
from napari_segxai.metrics.functional.ties import above, tied

SMALLEST_AREA = 0.05
"""Share of the image below which a crop gains nothing in the saliency metric."""

THRESHOLDS = (0.0, 0.05, *(k / 10 for k in range(1, 11)))
"""Of the map scaled to [0, 1], at which Dice explained is drawn: those of Hasany et al. are among them."""

SMALLEST_PROBABILITY = 1e-8
"""Floor of the probability in the saliency metric, whose logarithm would be infinite at 0."""


def binarized(map: Any, threshold: float) -> np.ndarray:
    """Return where the map scaled to [0, 1] is at or above a threshold and not 0."""
    values = unit(map)
    return (values >= threshold) & (values > 0)


def perturbation_ratio(mask: Any, prediction: Any) -> float | None:
    """Pixels of a mask (not 0) per pixel of the prediction; 0 or more, lower is better; None without a prediction."""
    chosen, size = as_array(mask), as_mask(prediction)
    check_same_grid(chosen, size)
    return float((chosen != 0).sum() / size.sum()) if size.any() else None


def saliency_ratio(map: Any, prediction: Any, threshold: float = 0.1) -> float | None:
    """The perturbation ratio of the binarized map; None without a prediction (Hasany et al. 2025, section 3.3)."""
    return perturbation_ratio(binarized(map, threshold), prediction)


def image_preserved(map: Any, threshold: float | None = None) -> float:
    """IPS: the share of the image that the map keeps, in [0, 1]; of the binarized map if a threshold is given."""
    return float((unit(map) if threshold is None else binarized(map, threshold)).mean())


def average_drop(before: float, after: float, *, original: bool = False) -> float | None:
    """|p - o| / p of one image; in the original form max(0, p - o) / p. None if p is 0. (Chattopadhay et al.).

    0 for a tie, see `metrics.functional.ties`.
    """
    if before <= 0:
        return None
    if tied(before, after):
        return 0.0
    return (max(0.0, before - after) if original else abs(before - after)) / before


def average_increase(before: float, after: float, *, original: bool = False) -> float:
    """1 if p <= o in one image; in the original form p < o, so that no change is no increase; see `metrics.functional.ties`."""
    if not math.isfinite(after):
        return math.nan
    return float(above(after, before) or (tied(before, after) and not original))


def saliency_metric(area: float, probability: float) -> float:
    """Log max(0.05, area) - log p of one image, lower is better (Dabkowski and Gal, NeurIPS 2017).

    Parameters
    ----------
    area
        Share of the image that is kept.
    probability
        What the network still gives the object then; at least `SMALLEST_PROBABILITY` counts.
    """
    return math.log(max(SMALLEST_AREA, area)) - math.log(max(SMALLEST_PROBABILITY, probability))


def visible(masks: Tensor, hide: Hide) -> Tensor:
    """Return where masked inputs still differ from a hidden image: (n, 1, *grid) in [0, 1] -> boolean (n, *grid)."""
    with torch.inference_mode():
        shown, hidden = hide(masks), hide(torch.zeros_like(masks))
        differs = (shown - hidden).abs() > ROUNDING * shown.abs().max()
        return differs.any(1) & (masks[:, 0] > 0)
