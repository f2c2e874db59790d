"""Numbers that tell how the map of a network layer agrees with a region, at the layer's own resolution.

A cell of the layer stands for a block of pixels: nothing is enlarged, so that hundreds of layers cost next to nothing, and
a coarse layer cannot look better than its cells allow.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

NUMBERS = (
    "maximum",
    "minimum",
    "positive",
    "negative",
    "gradient_norm",
    "activation_norm",
    "energy_inside",
    "dice",
    "dice_truth",
    "ability",
)


@dataclass(frozen=True)
class Features:
    """What a layer's activation holds, the same for every label.

    Attributes
    ----------
    values
        (channels, cells).
    norm
        Mean absolute value.
    total
        (channels,): sum over the cells.
    """

    values: Tensor
    norm: Tensor
    total: Tensor

    @classmethod
    def of(cls, activation: Tensor) -> Features:
        """Read (1, channels, *cells)."""
        values = activation[0].flatten(1)
        return cls(values, torch.linalg.vector_norm(values, 1) / values.numel(), values.sum(1))


def describe_map(
    map: Tensor,
    norm: Tensor,
    features: Features,
    inside: Tensor,
    truth: Tensor | None,
    known: Tensor | None = None,
) -> Tensor:
    """Return the numbers of a map as one tensor; the order is that of `NUMBERS`.

    Parameters
    ----------
    map
        (*cells): raw and signed.
    norm
        Mean absolute gradient, passed through.
    inside, truth
        (*cells): the share of every cell that the prediction, or the truth, covers; see `shares`.
    known
        (*cells): the share of every cell in which the truth is known; all of it by default.
    """
    ability = block_dice(nearer_inside(features, inside.flatten()).view_as(map), inside)
    return describe(map, norm, features.norm, ability, inside, truth, known)


def describe(
    map: Tensor,
    norm: Tensor,
    activation: Tensor,
    ability: Tensor,
    inside: Tensor,
    truth: Tensor | None,
    known: Tensor | None = None,
) -> Tensor:
    """`describe_map`, with what is told of the features: their mean absolute value, and their segmentation ability."""
    high, positive = map.amax(), map.clamp(min=0)
    drawn = (map >= high / 2) & (map > 0)
    total = positive.sum()
    return torch.stack(
        [
            high,
            map.amin(),
            total,
            map.clamp(max=0).sum(),
            norm,
            activation,
            (positive * inside).sum() / total,  # NaN without positive values
            block_dice(drawn, inside),
            norm.new_zeros(())
            if truth is None
            else block_dice(drawn if known is None else drawn * known, truth),
            ability,
        ]
    )


def nearer_inside(features: Features, inside: Tensor) -> Tensor:
    """Return which cells look more like the inside: nearer to the mean feature there than to that of the rest (ProtoSeg, Sheng et al. 2022).

    Parameters
    ----------
    features
        Of a network layer, or the pixels of an input.
    inside
        (cells,): the share of every cell that lies inside.

    Returns
    -------
    Tensor
        Boolean (cells,). The Dice of this with the inside is the segmentation ability.
    """
    return toward_inside(features, inside) > 0


def toward_inside(features: Features, inside: Tensor) -> Tensor:
    """Return by how much the cells look more like the inside: |f - mean outside|^2 - |f - mean inside|^2 of each, (cells,); see `nearer_inside`."""
    size = inside.sum()
    within = features.values @ inside
    toward = within / size.clamp(min=1e-12)
    away = (features.total - within) / (len(inside) - size).clamp(min=1e-12)
    return 2 * ((toward - away) @ features.values) + away.square().sum() - toward.square().sum()


def unit_abilities(features: Features, inside: Tensor, judged: Tensor | None = None) -> Tensor:
    """Return the segmentation ability of every channel alone: (channels,), in [0, 1].

    Parameters
    ----------
    features, inside
        As of `nearer_inside`.
    judged
        (cells,): what the cells nearer to the mean of the inside are held against; the inside by default.
    """
    size = inside.sum()
    within = features.values @ inside
    toward = (within / size.clamp(min=1e-12))[:, None]
    away = ((features.total - within) / (len(inside) - size).clamp(min=1e-12))[:, None]
    near = 2 * (toward - away) * features.values + away.square() - toward.square() > 0
    judged = inside if judged is None else judged
    return 2 * (near.float() @ judged) / (near.sum(1) + judged.sum()).clamp(min=1e-12)


def shares(mask: Tensor, shape: Sequence[int]) -> Tensor:
    """Return the share of every cell that a mask on the model grid covers."""
    pool = F.adaptive_avg_pool2d if mask.ndim == 2 else F.adaptive_avg_pool3d
    values = mask.float()[None]
    return (values if tuple(mask.shape) == tuple(shape) else pool(values, tuple(shape)))[0]


def block_dice(cells: Tensor, shares: Tensor) -> Tensor:
    """Dice of cells, as blocks of pixels, with a region of which each holds a share."""
    both, size = (cells * shares).sum(), cells.sum() + shares.sum()
    return 2 * both / size.clamp(min=1e-12)
