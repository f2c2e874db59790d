"""How much noise a trained noise model dares to add where a map says it may: ANA and SRM.

U-Noise (Koker et al. 2021) learns how much noise every pixel of an image bears without the segmentation suffering. Given
the image multiplied by a map, it should add little if what matters is still there. Shreim et al. propose the average
noise added (ANA) and its second raw moment (SRM), lower being better; their paper's text could not be had, so the
definitions here are those of its summary.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from napari_segxai.core.errors import UserError
from napari_segxai.metrics.functional.arrays import as_map
from napari_segxai.metrics.registry import metric

if TYPE_CHECKING:
    from napari_segxai.metrics.evaluation import Evaluation

NoiseModel = Callable[[Tensor], Tensor]
"""Inputs (n, channels, *grid) -> standard deviation of the noise at every pixel, (n, 1, *grid)."""


def average_noise(noise: Any) -> float:
    """ANA: mean of the noise map."""
    return float(as_map(noise).mean())


def second_raw_moment(noise: Any) -> float:
    """SRM: mean square of the noise map."""
    return float((as_map(noise) ** 2).mean())


def noise_behind(noise_model: NoiseModel, inputs: Tensor) -> Tensor:
    """Return the noise map of one masked input (1, channels, *grid): (*grid).

    Raises
    ------
    UserError
        If the noise model returns anything but one value per pixel.
    """
    with torch.inference_mode():
        noise = noise_model(inputs)
    if tuple(noise.shape) != (1, 1, *inputs.shape[2:]):
        raise UserError(
            f"the noise model returned shape {tuple(noise.shape)}; it has to be {(1, 1, *inputs.shape[2:])}."
        )
    return noise[0, 0]


# -- in tables -----------------------------------------------------------------------------------------

_ON: dict[str, Any] = {
    "family": "sufficiency",
    "needs": ("network", "noise model"),
    "better": "lower",
    "source": "Shreim et al., after Koker et al. 2021 (U-Noise)",
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
