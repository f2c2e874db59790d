"""By how much a label wins."""

from __future__ import annotations

import torch
from torch import Tensor


def margin(logits: Tensor, label: int) -> Tensor:
    """Return a label's logit minus the largest other one: (N, labels, *grid) -> (N, *grid), differentiable.

    Above 0 where the label is predicted. Unlike a probability it does not saturate, so that its gradient tells the
    way even where the network is certain.
    """
    others = [logits[:, k] for k in range(logits.shape[1]) if k != label]
    return logits[:, label] - torch.stack(others).amax(0)
