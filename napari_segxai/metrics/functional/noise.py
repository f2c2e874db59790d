"""The noise that a noise model adds to an image behind a map."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from napari_segxai.core.arrays import as_map
from napari_segxai.core.errors import UserError

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
