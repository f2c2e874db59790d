"""Sums of activations and gradients that cancel: before a normalisation, such a map consists of rounding errors alone.

What an instance normalisation reads can be shifted, channel by channel, without any effect: there the gradients of a channel
add up to zero. What a normalisation over channels reads can be stretched, cell by cell: there activation times gradient
does.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

CANCELS = 1e-4
"""Sums below this share of what is summed are rounding errors."""


def cancels(sums: Tensor, sizes: Tensor) -> bool:
    """Tell whether sums are no more than rounding errors, compared with the sums of the absolute values of their terms."""
    return float(sums.abs().max()) < CANCELS * float(sizes.mean())


def noise_of_pooled(noise: Sequence[str], layers: int) -> list[str]:
    """Return what is said of those of so many layers whose mean gradients are noise: a sentence or none."""
    if not noise:
        return []
    what = "the map is" if layers == 1 else "what they add to the map is"
    said = (
        f"the gradients of {first_names(noise)} cancel when they are pooled, as they do before an instance normalisation: {what} "
        "numerical noise; use seg-hires-grad-cam."
    )
    return [said]


def product_noise(layer: str, map: Tensor, weights: Tensor, activation: Tensor) -> list[str]:
    """Return what should be said where a map (*cells), the sum of weights times activation over channels, is noise.

    Parameters
    ----------
    weights, activation
        (1, channels, *cells).
    """
    if not cancels(map, (weights * activation).abs().sum(1)):
        return []
    return [noise_of_products(layer)]


def noise_of_products(layer: str) -> str:
    """Return what is said where activation times gradient is noise."""
    return (
        f"activation and gradient of {layer} cancel in every cell, as they do before a normalisation over channels (a layer "
        "normalisation): the map is numerical noise; choose the network layer after the normalisation, or use seg-grad-cam."
    )


def first_names(names: Sequence[str]) -> str:
    """Return the first names, and how many there are besides."""
    return ", ".join(names[:3]) + (f" and {len(names) - 3} others" if len(names) > 3 else "")
