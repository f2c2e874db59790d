"""Is what a map keeps enough for the network? The image is shown through the map, and the network runs again.

Dice explained and the saliency ratio of Hasany et al. (2025, section 3.3; 2026, section 4: the perturbation ratio);
PPS and IPS of Mullan and Sonka (2022), which they modify; entropy after masking (Gizzini et al.); average drop and
increase and the saliency metric as Aabid and Sicre define them for one image (their means over images are left to
tables of many images). A map is used with its positive part, scaled to [0, 1]; "binarised" means at or above a
threshold of that. All compare with the prediction of the whole image, not with the truth.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from napari_segxai.core.progress import Steps
from napari_segxai.engine.masking.baselines import Baseline, Hide
from napari_segxai.engine.question import Question
from napari_segxai.metrics.functional.arrays import ROUNDING, as_array, as_mask, check_same_grid, unit
from napari_segxai.metrics.functional.thresholding import boxed
from napari_segxai.metrics.functional.ties import above, tied
from napari_segxai.metrics.perturbed_copies import Reader, kept, look
from napari_segxai.metrics.registry import SEED_1, SEED_2, SEED_4, metric

if TYPE_CHECKING:
    from napari_segxai.metrics.evaluation import Evaluation
    from napari_segxai.metrics.functional.faithfulness import Curve

SMALLEST_AREA = 0.05
"""Share of the image below which a crop gains nothing in the saliency metric."""

THRESHOLDS = (0.0, 0.05, *(k / 10 for k in range(1, 11)))
"""Of the map scaled to [0, 1], at which Dice explained is drawn: those of Hasany et al. are among them."""

SMALLEST_PROBABILITY = 1e-8
"""Floor of the probability in the saliency metric, whose logarithm would be infinite at 0."""


def binarised(map: Any, threshold: float) -> np.ndarray:
    """Return where the map scaled to [0, 1] is at or above a threshold and not 0."""
    values = unit(map)
    return (values >= threshold) & (values > 0)


def perturbation_ratio(mask: Any, prediction: Any) -> float | None:
    """Pixels of a mask (not 0) per pixel of the prediction; 0 or more, lower is better; None without a prediction."""
    chosen, size = as_array(mask), as_mask(prediction)
    check_same_grid(chosen, size)
    return float((chosen != 0).sum() / size.sum()) if size.any() else None


def saliency_ratio(map: Any, prediction: Any, threshold: float = 0.1) -> float | None:
    """The perturbation ratio of the binarised map; None without a prediction (Hasany et al. 2025, section 3.3)."""
    return perturbation_ratio(binarised(map, threshold), prediction)


def image_preserved(map: Any, threshold: float | None = None) -> float:
    """IPS: the share of the image that the map keeps, in [0, 1]; of the binarised map if a threshold is given."""
    return float((unit(map) if threshold is None else binarised(map, threshold)).mean())


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
    from napari_segxai.metrics.functional.faithfulness import on_device

    reader, hide = Reader(question), question.hide(baseline)
    masks = {
        name: torch.from_numpy(
            np.stack([binarised(on_device(question, name, values), t) for t in thresholds])
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


# -- in tables -----------------------------------------------------------------------------------------

_ON: dict[str, Any] = {"family": "sufficiency"}
_RUNS: dict[str, Any] = {"family": "sufficiency", "needs": ("network",)}
_MULLAN = "Mullan and Sonka 2022, in " + SEED_2


def _read(series: str, field: str) -> Any:
    def measure(e: Evaluation) -> float | None:
        readings = e.reading(series)
        return None if readings is None else float(getattr(readings, field)[0])

    return measure


metric(
    "dice-explained",
    title="Dice explained",
    better="higher",
    source=SEED_2,
    summary="Dice of the prediction of the image behind the binarised map with that of the whole image",
    series=("binarised",),
    chance="dice",
    **_RUNS,
)(_read("binarised", "dice"))


@metric(
    "dice-over-threshold",
    title="Dice explained over threshold",
    better="higher",
    source=SEED_2,
    summary="area under Dice explained over thresholds of the map from 0 to 1",
    series=("thresholds",),
    chance="dice",
    **_RUNS,
)
def _over_threshold(e: Evaluation) -> Curve | None:
    from napari_segxai.metrics.functional.faithfulness import Curve

    readings = e.reading("thresholds")
    return None if readings is None else Curve(np.array(THRESHOLDS), readings.dice)


metric(
    "saliency-ratio",
    title="Saliency ratio",
    better="lower",
    source=SEED_2,
    summary="pixels of the binarised map per pixel of the prediction",
    **_ON,
)(lambda e: saliency_ratio(e.map, e.prediction, e.options.binarise) if e.unit.any() else None)

metric(
    "perturbation-ratio",
    title="Perturbation ratio, on the mask",
    better="lower",
    source=SEED_1,
    summary="pixels that the binarised map keeps per pixel of the prediction; the same as the saliency ratio",
    **_ON,
)(lambda e: perturbation_ratio(e.binarised, e.prediction) if e.unit.any() else None)


@metric(
    "perturbation-ratio-image",
    title="Perturbation ratio, on the image",
    better="lower",
    source=SEED_1,
    summary="pixels that the binarised map keeps and that differ from the baseline, per pixel of the prediction",
    **_RUNS,
)
def _on_the_image(e: Evaluation) -> float | None:
    if e.reader is None or not e.unit.any():
        return None
    hide = e.hide(e.options.baseline)
    everything = e.question.input.new_ones((1, 1, *e.question.grid))
    differs = e.mask_from_model(visible(everything, hide)[0])
    return perturbation_ratio(
        e.binarised & differs, e.prediction
    )  # counted on the image, as the other ratios are


metric(
    "pps",
    title="Prediction preserved score (PPS)",
    better="higher",
    source=_MULLAN,
    summary="share of the label's probabilities that is still there behind the soft map",
    series=("soft",),
    chance="preserved",
    **_RUNS,
)(_read("soft", "preserved"))

metric(
    "pps-binarised",
    title="Prediction preserved score (PPS), binarised",
    better="higher",
    source=_MULLAN,
    summary="share of the label's probabilities that is still there behind the binarised map",
    series=("binarised",),
    chance="preserved",
    **_RUNS,
)(_read("binarised", "preserved"))

metric(
    "ips",
    title="Image preserved score (IPS)",
    better="lower",
    source=_MULLAN,
    summary="mean of the map scaled to [0, 1]",
    **_ON,
)(lambda e: image_preserved(e.map) if e.unit.any() else None)

metric(
    "ips-binarised",
    title="Image preserved score (IPS), binarised",
    better="lower",
    source=_MULLAN,
    summary="share of pixels in the binarised map",
    **_ON,
)(lambda e: image_preserved(e.map, e.options.binarise) if e.unit.any() else None)

metric(
    "entropy",
    title="Entropy after masking",
    better="lower",
    source="Gizzini et al., in " + SEED_2,
    summary="mean entropy, in nats, of the probabilities at the object's pixels behind the soft map",
    series=("soft",),
    **_RUNS,
)(_read("soft", "entropy"))


def _register(form: str, series: str, words: str) -> None:
    tail, on = (f"-{form}" if form else ""), {**_RUNS, "form": form, "series": (series,), "source": SEED_4}
    of = f" ({form})" if form else ""

    def compared(average: Any, original: bool) -> Any:
        def measure(e: Evaluation) -> float | None:
            after = _read(series, "probability")(e)
            if after is None:
                return None
            return average(float(e.reader.whole.probability[0]), after, original=original)

        return measure

    for original in (False, True):
        name, word = ("-original", ", original form") if original else ("", "")
        metric(
            f"average-drop{name}{tail}",
            title=f"Average drop{word}{of}",
            better="lower",
            summary=f"{'loss' if original else 'change'} of the object's mean probability behind {words}, as a share",
            **on,
        )(compared(average_drop, original))
        metric(
            f"average-increase{name}{tail}",
            title=f"Average increase{word}{of}",
            better="higher",
            summary=f"1 if the object's mean probability {'grows' if original else 'does not fall'} behind {words}",
            **on,
        )(compared(average_increase, original))


_register("", "soft", "the soft map")
_register("box", "box", "the box of the map")
_register("mask", "mask", "the mask of the map")


def _saliency(series: str, form: str) -> Any:
    def measure(e: Evaluation) -> float | None:
        after = _read(series, "probability")(e)
        if after is None:
            return None
        shown = e.found(form)
        if series == "crop":  # one box, around all boxes where there are several
            shown = boxed(shown)
        return saliency_metric(float(shown.mean()), after)

    return measure


_DABKOWSKI: dict[str, Any] = {**_RUNS, "better": "lower", "source": SEED_4}
metric(
    "saliency-metric-box",
    title="Saliency metric (box, cropped)",
    form="box",
    summary="log area of the map's box minus log probability of the object when the box alone, enlarged, is seen",
    series=("crop",),
    **_DABKOWSKI,
)(_saliency("crop", "box"))
metric(
    "saliency-metric-box-pasted",
    title="Saliency metric (box, in place)",
    form="box",
    summary="the same with the box left in its place on the baseline",
    series=("box",),
    **_DABKOWSKI,
)(_saliency("box", "box"))
metric(
    "saliency-metric-mask",
    title="Saliency metric (mask, in place)",
    form="mask",
    summary="log area of the map's mask minus log probability of the object when the mask alone is seen",
    series=("mask",),
    **_DABKOWSKI,
)(_saliency("mask", "mask"))
