"""Prototypes that stand for all (MMD-critic), and criticisms that none of them stands for."""

from __future__ import annotations

import numpy as np


def kernel_of(distances: np.ndarray) -> np.ndarray:
    """Return exp(-d^2 / m^2) of distances (n, n), with m the median of those above 0; 1 everywhere where all are 0."""
    apart = distances[distances > 0]
    return np.exp(-((distances / np.median(apart)) ** 2)) if apart.size else np.ones_like(distances)


def discrepancy(kernel: np.ndarray, chosen: np.ndarray | list[int]) -> float:
    """Return the squared maximum mean discrepancy between all and some that are chosen; 0 if they stand for all alike."""
    own = kernel[:, chosen]
    return float(kernel.mean() - 2 * own.mean() + own[chosen].mean())


def prototypes(kernel: np.ndarray, count: int) -> list[int]:
    """Choose one after another what lowers the discrepancy most (Kim, Khanna, Koyejo 2016); of equals the first."""
    chosen: list[int] = []
    toward, among = kernel.mean(0), np.zeros(len(kernel))
    for _ in range(min(count, len(kernel))):
        many = len(chosen) + 1
        inner = kernel[np.ix_(chosen, chosen)].sum() if chosen else 0.0
        gain = 2 * (toward[chosen].sum() + toward) / many - (inner + 2 * among + kernel.diagonal()) / many**2
        gain[chosen] = -np.inf
        best = int(gain.argmax())
        chosen.append(best)
        among += kernel[:, best]
    return chosen


def criticisms(distances: np.ndarray, standing: list[int], count: int) -> list[int]:
    """Choose one after another what is farthest from all prototypes and from the criticisms before it.

    The witness function of MMD-critic finds regions that prototypes over- or underrate, and passes over a single odd object, whose
    part of all is small; it is odd ones that are looked for here.
    """
    chosen: list[int] = []
    for _ in range(min(count, len(distances) - len(standing))):
        away = distances[:, [*standing, *chosen]].min(1)
        away[[*standing, *chosen]] = -np.inf
        chosen.append(int(away.argmax()))
    return chosen
