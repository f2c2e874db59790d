"""Groups of a layer's units: those that answer alike over a folder, or whose weights are alike."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from napari_segxai.core.extras import need

SAME = 0.05
"""Units that are no further apart are never in two groups."""


class Alike:
    """How much the units of a layer answer alike: their correlation over the cells of all cases, added up as these come."""

    def __init__(self) -> None:
        self.weight = 0.0
        self.sums, self.products = np.zeros(0), np.zeros((0, 0))

    def add(self, activation: Tensor, weights: Tensor) -> None:
        """Add a case: (1, channels, *cells), and how much each cell counts, (cells,)."""
        values = activation[0].flatten(1).double()
        weighted = values * weights.double()
        sums, products = weighted.sum(1).cpu().numpy(), (weighted @ values.T).cpu().numpy()
        if not self.weight:
            self.sums, self.products = np.zeros_like(sums), np.zeros_like(products)
        self.weight += float(weights.sum())
        self.sums, self.products = self.sums + sums, self.products + products

    def correlation(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the correlations, (channels, channels), and which units answer differently at different places at all."""
        mean = self.sums / self.weight
        covariance = self.products / self.weight - np.outer(mean, mean)
        variance = np.diag(covariance).clip(0)
        second = np.diag(self.products) / self.weight
        alive = variance > 1e-9 * np.maximum(second, 1e-30)
        scale = np.sqrt(np.where(alive, variance, 1))
        return (covariance / np.outer(scale, scale)).clip(-1, 1), alive


def groups_of(distances: np.ndarray, alive: np.ndarray, many: int) -> list[np.ndarray]:
    """Group units by average linkage.

    Parameters
    ----------
    distances
        (channels, channels).
    alive
        (channels,): the others are in no group.
    many
        How many groups, at most.

    Returns
    -------
    list of ndarray
        Boolean (channels,) each, the largest first.
    """
    cluster = need("sklearn.cluster", "concepts", "concept-graph")
    units = np.flatnonzero(alive)
    if not len(units):
        return []
    numbers = np.zeros(len(units), int)
    if len(units) > 1:
        own, how = distances[np.ix_(units, units)], {"metric": "precomputed", "linkage": "average"}
        model = cluster.AgglomerativeClustering(None, distance_threshold=SAME, **how).fit(own)
        if model.n_clusters_ > many:
            model = cluster.AgglomerativeClustering(many, **how).fit(own)
        numbers = model.labels_
    out = []
    for k in range(numbers.max() + 1):
        mask = np.zeros(len(alive), bool)
        mask[units[numbers == k]] = True
        out.append(mask)
    return sorted(out, key=lambda mask: (-int(mask.sum()), int(np.flatnonzero(mask)[0])))


def weight_distances(module: nn.Module, channels: int) -> np.ndarray | None:
    """Return how far the kernels of a convolution's units lie apart, each the mean over what it reads, of length 1; None where it has none.

    Kernels that are one cell wide have a single number as their mean; of those all that they read counts.
    """
    weight = getattr(module, "weight", None)
    if not isinstance(weight, torch.Tensor) or weight.ndim < 4:
        return None
    kernels = weight.detach().float()
    kernels = kernels if kernels.shape[0] == channels else kernels.transpose(0, 1)
    if kernels.shape[0] != channels:
        return None
    means = kernels.mean(1).flatten(1) if kernels[0, 0].numel() > 1 else kernels.flatten(1)
    means = (means / means.norm(dim=1, keepdim=True).clamp(min=1e-12)).double().cpu().numpy()
    return np.linalg.norm(means[:, None] - means[None], axis=2)
