"""From what a network returns to one logit per label, as its card says."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from napari_segxai.models.card import ModelCard


def as_logits(card: ModelCard, out: Tensor) -> Tensor:
    """Return one logit per label from what the network returns, or from its mean over windows: (N, labels, *any).

    One sigmoid output s becomes (-s, s); a sigmoid network without a background output gets minus its largest logit as
    background; probabilities become their (clamped) logits.

    Parameters
    ----------
    out
        (N, outputs, *any).
    """
    if returns_probabilities(card):
        out = out.clamp(1e-6, 1 - 1e-6)
        out = out.logit() if card.activation == "sigmoid" else out.log()
    if out.shape[1] == len(card.labels) - 1 and card.activation == "sigmoid":
        background = -(out if out.shape[1] == 1 else out.amax(1, keepdim=True))
        out = torch.cat([background, out], 1)
    return out


def as_returned(card: ModelCard, logits: Tensor) -> Tensor:
    """Undo, value by value, what `as_logits` does to probabilities, where rounding would count for too much."""
    if not returns_probabilities(card):
        return logits
    return logits.sigmoid() if card.activation == "sigmoid" else logits.exp()


def as_weights(card: ModelCard, label: int, outputs: int) -> list[float] | None:
    """Return the logit of a label as a weighted sum of what the network returns: its weights; None where it is no such sum."""
    if returns_probabilities(card):
        return None
    out = [0.0] * outputs
    if outputs == len(card.labels) or card.activation != "sigmoid":
        out[label] = 1.0
    elif label:
        out[label - 1] = 1.0
    elif outputs == 1:
        out[0] = -1.0
    else:  # the background: minus the largest of the others
        return None
    return out


def returns_probabilities(card: ModelCard) -> bool:
    """Whether the logits are made from probabilities: those of the network, or those that windows average."""
    averages = card.windows is not None and card.windows.average == "probabilities"
    return averages or card.values == "probabilities"
