"""An image as a network gets it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from napari_segxai.models.preprocessing import intensity
from napari_segxai.models.preprocessing.spatial import Placement


@dataclass(frozen=True, eq=False)
class Prepared:
    """An image as the network gets it.

    Attributes
    ----------
    tensor
        (1, channels, *model grid), float32, on the CPU; channels last in memory in 2D.
    placement
        How it lies on the image grid.
    steps
        The fitted intensity steps.
    notes
        What a user should know, e.g. how many values were not finite.
    beside
        Makes what the network gets beside the channels of the image, (1, more, *model grid), on a device; see `FirstStage`.
    """

    tensor: Tensor
    placement: Placement
    steps: tuple[intensity.Step, ...]
    notes: tuple[str, ...] = ()
    beside: Callable[[torch.device], Tensor] | None = None

    def network_value(self, raw: float) -> Tensor:
        """Return what a raw intensity becomes for the network: (1, channels, 1, ...)."""
        value = torch.full((1, self.tensor.shape[1]) + (1,) * len(self.placement.shape), float(raw))
        for step in self.steps:
            value = step(value)
        return value


def in_order(tensor: Tensor, order: Sequence[int] | None) -> Tensor:
    """Return the channels of an input in the order in which a network takes them; those beside an image's stay behind it."""
    if order is None:
        return tensor
    every = [*order, *range(len(order), tensor.shape[1])]
    return tensor.index_select(1, torch.tensor(every, device=tensor.device))
