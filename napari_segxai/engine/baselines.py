"""What takes the place of hidden pixels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from torch import Tensor

if TYPE_CHECKING:
    from napari_segxai.model.segmentation import Prepared, SegmentationModel

Baseline = Literal["background", "zero", "mean"]
"""background: "nothing there" (the card's background value, such as air; the image's minimum when the card has
none). zero: 0 in what enters the network, whatever that means there. mean: the image's mean per channel."""

HELP = "what hidden pixels become: nothing there (air, black), 0 for the network, or the image's mean"


def baseline_values(kind: Baseline, model: SegmentationModel, prepared: Prepared) -> Tensor:
    """Return the baseline as the network sees it: (1, channels, 1, ...)."""
    tensor = prepared.tensor
    dims = tuple(range(2, tensor.ndim))
    if kind == "zero":
        return tensor.new_zeros((1, tensor.shape[1]) + (1,) * len(dims))
    if kind == "mean":
        return tensor.mean(dims, keepdim=True)
    if model.card.background_value is not None:
        return prepared.network_value(model.card.background_value)
    return tensor.amin(dims, keepdim=True)
