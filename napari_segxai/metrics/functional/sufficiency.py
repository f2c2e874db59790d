"""What the network makes of the image behind a map, and how much of it a map keeps."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from napari_segxai.core.arrays import ROUNDING, as_array, as_mask, check_same_grid, unit
from napari_segxai.core.progress import Steps
from napari_segxai.engine.masking.baselines import Baseline, Hide
from napari_segxai.engine.question import Question
from napari_segxai.metrics.functional.faithfulness import on_device
from napari_segxai.metrics.functional.ties import above, tied
from napari_segxai.metrics.perturbed_copies import Reader, kept, look

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

    0 for a tie, see `metrics.ties`.
    """
    if before <= 0:
        return None
    if tied(before, after):
        return 0.0
    return (max(0.0, before - after) if original else abs(before - after)) / before


def average_increase(before: float, after: float, *, original: bool = False) -> float:
    """1 if p <= o in one image; in the original form p < o, so that no change is no increase; see `metrics.ties`."""
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


def dice_explained(
    question: Question,
    maps: Mapping[str, Any],
    *,
    thresholds: Sequence[float] = (0.05, 0.1, 0.2, 0.4),
    baseline: Baseline = "background",
) -> Steps[list[dict[str, Any]]]:
    """Dice explained and ratios of several maps at several thresholds, in shared batches.

    Parameters
    ----------
    maps
        By name, each (*model grid).
    thresholds
        Of the map scaled to [0, 1]. Hasany et al.: 0.05 and 0.1 for CAMs, 0.2 and 0.4 for RISE.
    baseline
        What hidden pixels become.

    Returns
    -------
    list of dict
        A row for every map and threshold: map, threshold, dice_explained, ratio_mask (pixels kept per pixel of the
        object), ratio_image (those of them that differ from the baseline).

    Raises
    ------
    EmptyRegion
        If there is no object.
    """
    reader, hide = Reader(question), question.hide(baseline)
    masks = {
        name: torch.from_numpy(
            np.stack([binarized(on_device(question, name, values), t) for t in thresholds])
        )
        .float()[:, None]
        .to(question.device)
        for name, values in maps.items()
    }
    wanted = [kept(name, mask, hide) for name, mask in masks.items()]
    seen = yield from look(reader, wanted, note="masked image")
    size = float(reader.object.sum())
    rows = []
    for name, mask in masks.items():
        in_mask = (mask.flatten(1).sum(1) / size).tolist()
        in_image = (visible(mask, hide).flatten(1).sum(1) / size).tolist()
        rows += [
            {
                "map": name,
                "threshold": float(t),
                "dice_explained": float(d),
                "ratio_mask": m,
                "ratio_image": i,
            }
            for t, d, m, i in zip(thresholds, seen[name].dice, in_mask, in_image, strict=True)
        ]
    return rows
