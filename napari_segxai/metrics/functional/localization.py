"""Agreement of a map, or of its region, with a region that is given.

Every function takes the region as it is: an object's mask for the mask form, or its box (`thresholding.boxed`) for the box form,
and likewise the region of a map (`thresholding.region`). Sections are those of Aabid and Sicre.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, get_args

import numpy as np

from napari_segxai.core.arrays import (
    ROUNDING,
    as_map,
    as_mask,
    check_same_grid,
    is_even,
    positive,
    unit,
)
from napari_segxai.core.errors import UserError
from napari_segxai.metrics.functional.thresholding import Keep, boxed, components

Form = Literal["box", "mask"]
Ties = Literal["any", "all", "share"]


# -- two regions ---------------------------------------------------------------------------------------


def iou(found: Any, truth: Any) -> float | None:
    """Intersection over union, |A n B| / |A u B|, in [0, 1]; None if both are empty."""
    both, a, b = _sizes(found, truth)
    return both / (a + b - both) if a + b else None


def localization_error(found: Any, truth: Any) -> float | None:
    """1 - IoU, in [0, 1] (sections 6.1 and 7.1); 1 if nothing was found, None if the truth is empty."""
    value = iou(found, truth) if as_mask(truth).any() else None
    return None if value is None else 1 - value


def precision(found: Any, truth: Any) -> float | None:
    """|A n B| / |A|: the share of what was found that is right; None if nothing was found or the truth is empty."""
    both, a, b = _sizes(found, truth)
    return both / a if a and b else None


def recall(found: Any, truth: Any) -> float | None:
    """|A n B| / |B|: the share of the truth that was found; None if the truth is empty."""
    both, _, b = _sizes(found, truth)
    return both / b if b else None


def f_score(found: Any, truth: Any, beta: float = 1.0) -> float | None:
    """F-score of pixels; for beta 1, 2 |A n B| / (|A| + |B|) = 2 IoU / (1 + IoU); None if the truth is empty."""
    both, a, b = _sizes(found, truth)
    return (1 + beta**2) * both / (a + beta**2 * b) if b else None


def _sizes(found: Any, truth: Any) -> tuple[int, int, int]:
    a, b = as_mask(found), as_mask(truth)
    check_same_grid(a, b)
    return int((a & b).sum()), int(a.sum()), int(b.sum())


# -- a map and a region --------------------------------------------------------------------------------


def energy_inside(map: Any, region: Any) -> float | None:
    """Share of the positive mass of a map inside a region: EPG with a box (6.4), EMPG with a mask (7.2).

    In [0, 1]; None without positive mass or with an empty region. The same as the soft precision.
    """
    values, inside = positive(map), as_mask(region)
    check_same_grid(values, inside)
    total = values.sum()
    return float(values[inside].sum() / total) if total > 0 and inside.any() else None


def soft_recall(map: Any, region: Any) -> float | None:
    """Mean over the region of the map scaled to [0, 1]; None if it is empty or nothing is positive."""
    values, inside = unit(map), as_mask(region)
    check_same_grid(values, inside)
    return float(values[inside].mean()) if inside.any() and values.any() else None


def soft_f_score(map: Any, region: Any, beta: float = 1.0) -> float | None:
    """F-score of the soft precision and the soft recall, both of the map scaled to [0, 1]; None where they are."""
    p, r = energy_inside(unit(map), region), soft_recall(map, region)
    if p is None or r is None:
        return None
    return (1 + beta**2) * p * r / (beta**2 * p + r) if p + r > 0 else 0.0


def pointing_game(
    map: Any,
    region: Any,
    *,
    ties: Ties = "any",
    tolerance: float = 0.0,
    spacing: Sequence[float] | None = None,
) -> float | None:
    """Whether the highest pixel lies in the region: 1 or 0 (section 6.3).

    Parameters
    ----------
    ties
        Of several pixels that are equally high, up to rounding: 1 if any, or all, lie in the region; or the share that does.
    tolerance
        Distance from the region that still counts, in units of `spacing` (pixels by default; Zhang et al.: 15).

    Returns
    -------
    float or None
        None if the region is empty, the map has no positive value, or one value everywhere: then it points nowhere.
    """
    from scipy.ndimage import distance_transform_edt

    if ties not in get_args(Ties):
        raise UserError(f"ties {ties!r} is unknown; choose {', '.join(get_args(Ties))}.")
    values, inside = as_map(map), as_mask(region)
    check_same_grid(values, inside)
    high = values.max()
    if not inside.any() or high <= 0 or is_even(values):
        return None
    if tolerance > 0:
        inside = distance_transform_edt(~inside, sampling=spacing) <= tolerance
    hits = inside[values >= high - ROUNDING * high]
    return float({"any": hits.any, "all": hits.all, "share": hits.mean}[ties]())


def mean_absolute_error(map: Any, region: Any) -> float | None:
    """Mean of |S - G|, S the map scaled to [0, 1], G the region as 0 and 1; None if either is empty (6.7)."""
    values, inside = unit(map), as_mask(region)
    check_same_grid(values, inside)
    return float(np.abs(values - inside).mean()) if inside.any() and values.any() else None


def ious_over_tau(
    map: Any, truth: Any, *, form: Form = "box", taus: int | Sequence[float] = 100, keep: Keep = "largest"
) -> tuple[np.ndarray, np.ndarray]:
    """IoU of the region at every threshold `tau` x maximum: (taus, IoUs); zeros if the map is empty.

    Parameters
    ----------
    truth
        The object's mask; in the box form its box is taken.
    taus
        Thresholds, or how many, evenly from 0 up to but without 1. (At 0: all that is positive.)
    """
    shares = np.arange(taus) / taus if isinstance(taus, int) else np.asarray(taus, float)
    values, wanted = positive(map), as_mask(truth)
    check_same_grid(values, wanted)
    wanted = boxed(wanted, keep) if form == "box" else wanted
    out = np.zeros(len(shares))
    for k, share in enumerate(shares):
        found = components((values >= share * values.max()) & (values > 0), keep)
        out[k] = iou(boxed(found, keep) if form == "box" else found, wanted) or 0.0
    return shares, out


def box_accuracy(
    map: Any,
    truth: Any,
    tau: float | None = 0.2,
    sigma: float = 0.5,
    *,
    form: Form = "box",
    keep: Keep = "largest",
    taus: int | Sequence[float] = 100,
) -> float | None:
    """1 if the region at threshold `tau` x maximum has an IoU of `sigma` or more with the truth, else 0 (6.5).

    With `tau` None the best threshold of `taus` counts (MaxBoxAcc of one image). None if the truth is empty; a map
    without positive values is a miss, 0. Choe et al., CVPR 2020.
    """
    if not as_mask(truth).any():
        return None
    _, values = ious_over_tau(map, truth, form=form, taus=taus if tau is None else [tau], keep=keep)
    return float(values.max() >= sigma)
