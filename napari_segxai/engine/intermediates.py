"""What a CAM is made of, on request: activations, weights and products, and the sum before and after ReLU."""

from __future__ import annotations

from torch import Tensor

HELP = "number of channels (those that count most) whose activation, gradient and product are kept as well, with the sum after ReLU"


def intermediates(activation: Tensor, weights: Tensor, map: Tensor, channels: int) -> dict[str, Tensor]:
    """Return the quantities of Rheude et al. 2024, fig. 1, by name; empty for no channels.

    Parameters
    ----------
    activation, weights
        (1, channels, *cells): what is multiplied.
    map
        (*cells): the sum of the products.
    channels
        For how many channels, those with the largest sum of absolute products.
    """
    if channels == 0:
        return {}
    products = (weights * activation)[0]
    order = products.abs().flatten(1).sum(1).argsort(descending=True)[:channels].tolist()
    out = {}
    for k in order:
        out[f"channel_{k}_activation"] = activation[0, k]
        out[f"channel_{k}_gradient"] = weights[0, k]
        out[f"channel_{k}_product"] = products[k]
    return {**out, "sum": map, "sum_after_relu": map.clamp(min=0)}
