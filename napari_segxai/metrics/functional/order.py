"""In which order the pixels of a map come."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


def ranks(values: Tensor, seed: int) -> Tensor:
    """Return the rank of every pixel, 0 for the highest value: whole numbers of the shape of `values`.

    Equal values come in random order, from the seed: in the order of the pixels they would be added from the top left
    to the bottom right, which favours some objects.
    """
    mixed = torch.from_numpy(np.random.default_rng(seed).permutation(values.numel())).to(values.device)
    order = mixed[values.flatten()[mixed].argsort(descending=True, stable=True)]
    out = torch.empty_like(order)
    out[order] = torch.arange(len(order), device=order.device)
    return out.view(values.shape)
