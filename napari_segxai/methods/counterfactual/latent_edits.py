"""Edits of the look of one object, in the latent space of a small autoencoder of crops of the image."""

from __future__ import annotations

import itertools

import numpy as np
import torch
from torch import Tensor

from napari_segxai.core.errors import UserError
from napari_segxai.models.preprocessing.resample import resize

CROPS, SIDE, SIDE_3D = 256, 24, 12
"""Crops from which the components are learnt; cells of a crop along an axis, at most."""
MARGIN = 2
"""Cells around the object that belong to its crop."""
LEAST = 1e-6
"""Deviation of a component, as a share of that of the first, below which it is none."""


class LatentEdits:
    """Makes edited images of strengths, one for each component; as `edits.Edits`.

    The autoencoder is linear: its latent space is that of the principal components of crops of the image itself, as large as the
    object's, at places by chance and mirrored. A strength of 1 is `most` deviations of the component over these crops. What
    is decoded is added to the object's own pixels, so that nothing is lost by encoding.

    Parameters
    ----------
    image
        (1, channels, *grid).
    mask
        Boolean (*grid): the object.
    components
        How many, at most.
    most
        Deviations of strength 1.
    seed
        Of the places.

    Attributes
    ----------
    names
        Of the components, in the order of their strengths.

    Raises
    ------
    UserError
        If the crops of the image are all alike.
    """

    what = "its look"

    def __init__(self, image: Tensor, mask: Tensor, components: int, most: float, seed: int):
        self.image, self.most = image, most
        self.mask = mask.to(image.dtype)[None, None]
        self.pixels = float(mask.sum())
        dims = tuple(range(2, image.ndim))
        self.low, self.high = image.amin(dims, keepdim=True), image.amax(dims, keepdim=True)
        cells = mask.nonzero()
        low, high = cells.amin(0).tolist(), cells.amax(0).tolist()
        shape = mask.shape
        self.box = tuple(
            slice(max(0, a - MARGIN), min(n, b + 1 + MARGIN))
            for a, b, n in zip(low, high, shape, strict=True)
        )
        sizes = [part.stop - part.start for part in self.box]
        self.side = tuple(min(n, SIDE if len(sizes) == 2 else SIDE_3D) for n in sizes)
        crops = self._crops(sizes, seed).flatten(1).double()
        _, deviations, directions = torch.linalg.svd(crops - crops.mean(0), full_matrices=False)
        found = int((deviations > max(LEAST * float(deviations[0]), 1e-12)).sum())
        if not found:
            raise UserError(
                "object-edit: all crops of this image are alike, so that there is no latent space; choose space=numbers."
            )
        count = min(components, found)
        scale = deviations[:count, None] / max(1, len(crops) - 1) ** 0.5
        decoded = (scale * directions[:count]).to(image).view(count, image.shape[1], *self.side)
        self.decoded = resize(decoded, tuple(sizes), linear=True)
        self.names = tuple(f"component {k + 1}" for k in range(count))

    def _crops(self, sizes: list[int], seed: int) -> Tensor:
        """Return crops of one size at places by chance, and mirrored: (n, channels, *side)."""
        random = np.random.default_rng(seed)
        free = [n - size + 1 for n, size in zip(self.image.shape[2:], sizes, strict=True)]
        starts = np.stack([random.integers(0, n, CROPS) for n in free], 1)
        starts = np.unique(starts, axis=0).tolist()
        crops = [
            resize(
                self.image[(..., *(slice(a, a + size) for a, size in zip(start, sizes, strict=True)))],
                self.side,
                linear=True,
            )
            for start in starts
        ]
        found = torch.cat(crops)
        axes = range(2, found.ndim)
        turns = itertools.chain.from_iterable(itertools.combinations(axes, n) for n in range(len(axes) + 1))
        return torch.cat([found.flip(turn) for turn in turns])

    def __call__(self, strengths: Tensor) -> tuple[Tensor, Tensor]:
        """Edit the image; see `edits.Edits`."""
        change = torch.tensordot(self.most * strengths, self.decoded, 1)
        whole = self.image.expand(len(strengths), *self.image.shape[1:])
        added = torch.zeros_like(whole)
        added[(..., *self.box)] = change
        edited = torch.minimum(torch.maximum(whole + added * self.mask, self.low), self.high)
        return edited, self.mask.expand(len(strengths), *self.mask.shape[1:])

    def expected_pixels(self, strengths: Tensor) -> Tensor:
        """Return how many pixels the object has then: (n,)."""
        return torch.full_like(strengths[:, 0], self.pixels)

    def amounts(self, strengths: Tensor) -> dict[str, float]:
        """Return what strengths (edits,) stand for: deviations of every component."""
        return dict(zip(self.names, (self.most * strengths).tolist(), strict=True))

    def say(self, name: str, amount: float) -> str:
        """Say how much of an edit there is."""
        return f"{name} by {amount:+.1f} deviations"
