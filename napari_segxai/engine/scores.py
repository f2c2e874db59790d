"""What is read from a network's output: scores of a label, sums over pixels, overlap of regions."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from napari_segxai.core.errors import UserError, reason_of
from napari_segxai.core.target import OwnScore, Reduction, Score, name_of

if TYPE_CHECKING:
    from napari_segxai.models.network import Network


def read_scores(model: Network, logits: Tensor, label: int, score: Score) -> Tensor:
    """Return the score of a label at every pixel: (N, labels, *grid) -> (N, *grid), differentiable."""
    if score == "logit":
        return logits[:, label]
    sigmoid = model.card.activation == "sigmoid"
    if score == "log_probability":
        logs = torch.nn.functional.logsigmoid(logits) if sigmoid else logits.log_softmax(1)
        return logs[:, label]
    return model.probability(logits, label)


def is_linear(score: Score | OwnScore) -> bool:
    """Tell whether a score is a weighted sum of logits: then its gradient is known before a pass."""
    return score == "logit"


def reduced_slope(pixels: Tensor, reduction: Reduction, count: Tensor | None = None) -> Tensor:
    """Return the gradient of `reduce_scores` by the value at every pixel: (*grid)."""
    if reduction == "sum":
        return pixels
    return pixels / (pixels.sum().clamp(min=1) if count is None else count)


def own_scores(function: OwnScore, logits: Tensor, pixels: Tensor) -> Tensor:
    """Return a score of the user's for every sample: (N, labels, *grid) -> (N,).

    Raises
    ------
    UserError
        If it fails, returns something else than one number, or passes no gradient on where one is wanted.
    """
    name, found = name_of(function), []
    for sample in logits.split(1):
        try:
            value = function(sample, pixels)
        except UserError:
            raise
        except Exception as error:  # whatever the user's code raises
            raise UserError(f"the score {name!r} failed: {reason_of(error)}.") from error
        if not isinstance(value, Tensor) or value.numel() != 1 or not value.is_floating_point():
            what = (
                f"a tensor of shape {tuple(value.shape)}"
                if isinstance(value, Tensor)
                else f"a {type(value).__name__}"
            )
            raise UserError(
                f"the score {name!r} returned {what}; it has to return a tensor of one floating-point number."
            )
        if logits.requires_grad and torch.is_grad_enabled() and not value.requires_grad:
            raise UserError(
                f"the score {name!r} passes no gradient on (its result is detached, rounded or constant); use a method without "
                "gradients, such as occlusion."
            )
        found.append(value.reshape(1))
    return torch.cat(found)


def reduce_scores(
    values: Tensor, pixels: Tensor, reduction: Reduction, count: Tensor | None = None
) -> Tensor:
    """Reduce (N, *grid) over the pixel set M (*grid) to (N,): the sum or mean of eq. 4 in Hasany 2025.

    Parameters
    ----------
    count
        Pixels in M, where that is known.
    """
    total = values.flatten(1) @ pixels.flatten().to(values.dtype)
    if reduction == "sum":
        return total
    return total / (pixels.sum().clamp(min=1) if count is None else count)


def dice(
    predicted: Tensor, reference: Tensor, within: Tensor | None = None, dtype: torch.dtype = torch.float32
) -> Tensor:
    """Dice coefficient of boolean regions, 2 |A n B| / (|A| + |B|), in [0, 1].

    Parameters
    ----------
    predicted
        (N, *grid).
    reference
        (*grid).
    within
        (*grid): pixels that count; all by default.
    dtype
        Of the result.

    Returns
    -------
    Tensor
        (N,). Two empty regions agree about nothing: their Dice is 0, not a hit.
    """
    if within is not None:
        predicted, reference = predicted & within, reference & within
    both, size = counted(predicted & reference), counted(predicted) + counted(reference[None])
    return (2 * both).to(dtype) / size.clamp(min=1)  # nothing of nothing is 0


def counted(masks: Tensor) -> Tensor:
    """Return how many pixels each of some masks has: boolean (N, *grid) -> whole numbers (N,)."""
    flat = masks.flatten(1)
    if not flat.is_cpu:
        return flat.sum(1)
    return torch.tensor([np.count_nonzero(row) for row in flat.numpy()])  # a sixth of the time


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
