"""Is what a map keeps enough for the network? The image is shown through the map, and the network runs again.

Dice explained and the saliency ratio of Hasany et al. (2025, section 3.3; 2026, section 4: the perturbation ratio);
PPS and IPS of Mullan and Sonka (2022), which they modify; entropy after masking (Gizzini et al.); average drop and
increase and the saliency metric as Aabid and Sicre define them for one image (their means over images are left to
tables of many images). A map is used with its positive part, scaled to [0, 1]; "binarized" means at or above a
threshold of that. All compare with the prediction of the whole image, not with the truth.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from napari_segxai.metrics.evaluation import Evaluation
from napari_segxai.metrics.functional.curve import Curve
from napari_segxai.metrics.functional.sufficiency import (
    THRESHOLDS,
    average_drop,
    average_increase,
    image_preserved,
    perturbation_ratio,
    saliency_metric,
    saliency_ratio,
    visible,
)
from napari_segxai.metrics.functional.thresholding import boxed
from napari_segxai.metrics.registry import AABID_SICRE, GIZZINI, HASANY_2025, HASANY_2026, MULLAN, metric

_ON: dict[str, Any] = {"family": "sufficiency"}
_RUNS: dict[str, Any] = {"family": "sufficiency", "needs": ("network",)}


def _read(series: str, field: str) -> Any:
    def measure(e: Evaluation) -> float | None:
        responses = e.responses(series)
        return None if responses is None else float(getattr(responses, field)[0])

    return measure


metric(
    "dice-explained",
    title="Dice explained",
    better="higher",
    source=HASANY_2025,
    summary="Dice of the prediction of the image behind the binarized map with that of the whole image",
    series=("binarized",),
    chance="dice",
    **_RUNS,
)(_read("binarized", "dice"))


@metric(
    "dice-over-threshold",
    title="Dice explained over threshold",
    better="higher",
    source=HASANY_2025,
    summary="area under Dice explained over thresholds of the map from 0 to 1",
    series=("thresholds",),
    chance="dice",
    axes=("threshold of the map", "Dice"),
    **_RUNS,
)
def _over_threshold(e: Evaluation) -> Curve | None:
    responses = e.responses("thresholds")
    return None if responses is None else Curve(np.array(THRESHOLDS), responses.dice)


metric(
    "saliency-ratio",
    title="Saliency ratio",
    better="lower",
    source=HASANY_2025,
    summary="pixels of the binarized map per pixel of the prediction",
    **_ON,
)(lambda e: saliency_ratio(e.map, e.prediction, e.options.binarize) if e.unit.any() else None)

metric(
    "perturbation-ratio",
    title="Perturbation ratio, on the mask",
    better="lower",
    source=HASANY_2026,
    summary="pixels that the binarized map keeps per pixel of the prediction; the same as the saliency ratio",
    **_ON,
)(lambda e: perturbation_ratio(e.binarized, e.prediction) if e.unit.any() else None)


@metric(
    "perturbation-ratio-image",
    title="Perturbation ratio, on the image",
    better="lower",
    source=HASANY_2026,
    summary="pixels that the binarized map keeps and that differ from the baseline, per pixel of the prediction",
    **_RUNS,
)
def _on_the_image(e: Evaluation) -> float | None:
    if e.reader is None or not e.unit.any():
        return None
    hide = e.hide(e.options.baseline)
    everything = e.question.input.new_ones((1, 1, *e.question.grid))
    differs = e.mask_from_model(visible(everything, hide)[0])
    return perturbation_ratio(
        e.binarized & differs, e.prediction
    )  # counted on the image, as the other ratios are


metric(
    "pps",
    title="Prediction preserved score (PPS)",
    better="higher",
    source=MULLAN,
    summary="share of the label's probabilities that is still there behind the soft map",
    series=("soft",),
    chance="preserved",
    **_RUNS,
)(_read("soft", "preserved"))

metric(
    "pps-binarized",
    title="Prediction preserved score (PPS), binarized",
    better="higher",
    source=MULLAN,
    summary="share of the label's probabilities that is still there behind the binarized map",
    series=("binarized",),
    chance="preserved",
    **_RUNS,
)(_read("binarized", "preserved"))

metric(
    "ips",
    title="Image preserved score (IPS)",
    better="lower",
    source=MULLAN,
    summary="mean of the map scaled to [0, 1]",
    **_ON,
)(lambda e: image_preserved(e.map) if e.unit.any() else None)

metric(
    "ips-binarized",
    title="Image preserved score (IPS), binarized",
    better="lower",
    source=MULLAN,
    summary="share of pixels in the binarized map",
    **_ON,
)(lambda e: image_preserved(e.map, e.options.binarize) if e.unit.any() else None)

metric(
    "entropy",
    title="Entropy after masking",
    better="lower",
    source=GIZZINI,
    summary="mean entropy, in nats, of the probabilities at the object's pixels behind the soft map",
    series=("soft",),
    **_RUNS,
)(_read("soft", "entropy"))


def _register(form: str, series: str, words: str) -> None:
    tail, on = (
        (f"-{form}" if form else ""),
        {**_RUNS, "form": form, "series": (series,), "source": AABID_SICRE},
    )
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


_DABKOWSKI: dict[str, Any] = {**_RUNS, "better": "lower", "source": AABID_SICRE}
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
