"""Showing and hiding pixels in the order of a map: what insertion, deletion and AOPC are made of."""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from torch import Tensor

Score = Literal["dice", "iou", "probability"]
Direction = Literal["insertion", "deletion"]

RANDOM = "random order"
"""Name of the control among the maps."""


def aopc(scores: np.ndarray, reference: float) -> float:
    """Mean distance of the scores below a reference (Samek's area over the perturbation curve)."""
    return float((reference - np.asarray(scores)).mean())


def shares_of(pixels: int, steps: int) -> np.ndarray:
    """Return the share of pixels that were shown after 0, 1, ... steps: (steps + 1,), from 0 to 1."""
    return np.array(part_sizes(pixels, steps)) / pixels


def part_sizes(pixels: int, steps: int) -> list[int]:
    """Return how many pixels were shown after 0, 1, ... steps; the last number is all."""
    return [round(k * pixels / steps) for k in range(steps + 1)]


def random_map(grid: tuple[int, ...], seed: int, number: int = 0) -> Tensor:
    """Return a map that orders the pixels at random."""
    values = np.random.default_rng((seed, number + 1)).random(grid, np.float32)
    return torch.from_numpy(values)


def control_name(number: int) -> str:
    """Return the name of a random order."""
    return RANDOM if number == 0 else f"{RANDOM} {number + 1}"
