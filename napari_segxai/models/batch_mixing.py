"""Networks that cannot be shown several images at once: they accept only one, or mix the images of a batch.

Normalisation by statistics of the whole batch (batch normalisation that stays in training mode, a minimum and maximum over
everything) makes what a network says of one image depend on its neighbours; a copy of the image with a part hidden would
then change what is said of another copy.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from napari_segxai.models.inference.memory import LARGE, is_out_of_memory

if TYPE_CHECKING:
    from napari_segxai.models.network import Network

APART = 1e-3
"""Difference, as a share of the largest output, that no other order of adding up explains."""


def needs_one_at_a_time(model: Network, tensor: Tensor, out: Tensor) -> bool:
    """Tell whether a network has to be shown one image at a time: it accepts only one, or its output depends on the others.

    Parameters
    ----------
    tensor, out
        (1, channels, *grid) and what the network made of it; the model is in use.
    """
    if math.prod(tensor.shape[2:]) > LARGE:  # then they go through the network one by one anyway
        return False
    neighbor = 3 * tensor.flip(-1) - 1
    try:
        both = model.network_output(torch.cat([neighbor, tensor]))
    except Exception as error:  # a network can raise anything
        return not is_out_of_memory(error)
    if len(both) != 2 or both.shape[1:] != out.shape[1:]:
        return True
    return not bool((both[1:] - out).abs().max() <= APART * out.abs().max())
