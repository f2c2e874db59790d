"""Overlap of regions."""

from __future__ import annotations

import torch
from torch import Tensor


def dice(predicted: Tensor, reference: Tensor, within: Tensor | None = None) -> Tensor:
    """Dice coefficient of boolean regions, 2 |A n B| / (|A| + |B|), in [0, 1].

    Parameters
    ----------
    predicted
        (N, *grid).
    reference
        (*grid).
    within
        (*grid): pixels that count; all by default.

    Returns
    -------
    Tensor
        (N,). Two empty regions agree about nothing: their Dice is 0, not a hit.
    """
    if within is not None:
        predicted, reference = predicted & within, reference & within
    both = (predicted & reference).flatten(1).sum(1)
    size = predicted.flatten(1).sum(1) + reference.sum()
    return torch.where(size > 0, 2 * both / size.clamp(min=1), torch.zeros_like(both, dtype=torch.float32))


def soft_dice(probability: Tensor, reference: Tensor, epsilon: float = 1.0) -> Tensor:
    """Soft Dice of probabilities, (2 sum p r + eps) / (sum p + sum r + eps), in (0, 1]; differentiable.

    Parameters
    ----------
    probability
        (N, *grid) in [0, 1].
    reference
        (1, *grid) in [0, 1].

    References
    ----------
    Hasany et al. 2026 (MiSuRe), eq. 1.
    """
    flat = probability.flatten(1)
    both = flat @ reference.flatten()
    return (2 * both + epsilon) / (flat.sum(1) + reference.sum() + epsilon)
