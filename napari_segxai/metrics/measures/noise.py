"""How much noise a trained noise model dares to add where a map says it may: ANA and SRM.

U-Noise (Koker et al. 2021) learns how much noise every pixel of an image bears without the segmentation suffering. Given
the image multiplied by a map, it should add little if what matters is still there. Shreim et al. propose the average
noise added (ANA) and its second raw moment (SRM), lower being better; their paper's text could not be had, so the
definitions here are those of its summary.
"""

from __future__ import annotations

from typing import Any

from napari_segxai.metrics.evaluation import Evaluation
from napari_segxai.metrics.functional.noise import average_noise, second_raw_moment
from napari_segxai.metrics.registry import SHREIM, metric

_ON: dict[str, Any] = {
    "family": "sufficiency",
    "needs": ("network", "noise model"),
    "better": "lower",
    "source": SHREIM,
}


@metric(
    "ana",
    title="Average noise added (ANA)",
    summary="mean noise that U-Noise adds to the image behind the soft map",
    **_ON,
)
def _ana(e: Evaluation) -> float | None:
    return None if e.noise is None else average_noise(e.noise)


@metric(
    "srm",
    title="Second raw moment of the noise (SRM)",
    summary="mean square of the noise that U-Noise adds to the image behind the soft map",
    **_ON,
)
def _srm(e: Evaluation) -> float | None:
    return None if e.noise is None else second_raw_moment(e.noise)
