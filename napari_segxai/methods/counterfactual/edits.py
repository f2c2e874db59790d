"""Edits of one object of an image: its brightness, contrast, size and place; what it leaves behind is filled in."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import torch
import torch.nn.functional as F
from torch import Tensor

NUMBERS = ("brightness", "contrast", "size")
"""Edits beside the shifts, one for each axis."""


@dataclass(frozen=True)
class Bounds:
    """How far an edit of full strength goes.

    Attributes
    ----------
    brightness
        What is added, as a share of the range of each channel.
    contrast, size
        Factors, above 1.
    shift
        As a share of the object's diameter.
    """

    brightness: float
    contrast: float
    size: float
    shift: float


class Edits:
    """Makes edited images of strengths.

    Parameters
    ----------
    image
        (1, channels, *grid).
    behind
        (1, channels, *grid): the image without the object.
    mask
        Boolean (*grid): the object.
    bounds
        Of strength 1.

    Attributes
    ----------
    names
        Of the edits, in the order of their strengths.
    """

    what = "brightness, contrast, size or place"

    def __init__(self, image: Tensor, behind: Tensor, mask: Tensor, bounds: Bounds):
        self.image, self.behind, self.bounds = image, behind, bounds
        self.mask = mask.to(image.dtype)[None, None]
        axes = ("z", "y", "x")[-mask.ndim :]
        self.names = (*NUMBERS, *(f"shift {axis}" for axis in axes))
        dims = tuple(range(2, image.ndim))
        self.span = (image.amax(dims, keepdim=True) - image.amin(dims, keepdim=True)).clamp(min=1e-12)
        self.mean = image[:, :, mask].mean(2)[(..., *(None,) * mask.ndim)]
        self.center = mask.nonzero().float().mean(0)
        self.pixels = pixels = float(mask.sum())
        # Of a disk, or a ball, of this size.
        self.diameter = (
            2 * math.sqrt(pixels / math.pi) if mask.ndim == 2 else 2 * (0.75 * pixels / math.pi) ** (1 / 3)
        )

    def amounts(self, strengths: Tensor) -> dict[str, float]:
        """Return what strengths (edits,) stand for: brightness as a share of the range, factors, and shifts in cells."""
        bounds, value = self.bounds, strengths.tolist()
        found = {
            "brightness": value[0] * bounds.brightness,
            "contrast": bounds.contrast ** value[1],
            "size": bounds.size ** value[2],
        }
        return found | {
            name: one * bounds.shift * self.diameter
            for name, one in zip(self.names[3:], value[3:], strict=True)
        }

    def expected_pixels(self, strengths: Tensor) -> Tensor:
        """Return how many pixels the object has then, on a grid without an end: (n,)."""
        return self.pixels * self.bounds.size ** (strengths[:, 2] * (self.mask.ndim - 2))

    def say(self, name: str, amount: float) -> str:
        """Say how much of an edit there is."""
        if name == "brightness":
            return f"brightness {amount:+.2f} of the range"
        if name in NUMBERS:
            return f"{name} x {amount:.2f}"
        return f"{name} by {amount:+.1f} cells"

    @cached_property
    def _cells(self) -> Tensor:
        """Index of every cell: (*grid, axes)."""
        axes = [
            torch.arange(n, device=self.image.device, dtype=self.image.dtype) for n in self.image.shape[2:]
        ]
        return torch.stack(torch.meshgrid(*axes, indexing="ij"), -1)

    def __call__(self, strengths: Tensor) -> tuple[Tensor, Tensor]:
        """Edit the image.

        Parameters
        ----------
        strengths
            (n, edits) in [-1, 1]; 0 changes nothing. Differentiable.

        Returns
        -------
        images
            (n, channels, *grid).
        masks
            (n, 1, *grid) in [0, 1]: where the object lies then.
        """
        n, ndim = len(strengths), self.mask.ndim - 2
        wide = (slice(None), None, *(None,) * ndim)
        factor = (self.bounds.contrast ** strengths[:, 1])[wide]
        added = (strengths[:, 0] * self.bounds.brightness)[wide] * self.span
        shown = self.mean + (self.image - self.mean) * factor + added
        mask = self.mask.expand(n, *self.mask.shape[1:])
        if not bool((strengths[:, 2:] != 0).any()) and not strengths.requires_grad:
            return mask * shown + (1 - mask) * self.behind, mask
        shape = torch.tensor(self.image.shape[2:], device=shown.device, dtype=shown.dtype)
        size = (self.bounds.size ** strengths[:, 2])[(slice(None), *(None,) * (ndim + 1))]
        moved = (strengths[:, 3:] * self.bounds.shift * self.diameter)[(slice(None), *(None,) * ndim)]
        source = self.center + (self._cells[None] - self.center - moved) / size
        at = (2 * source / (shape - 1).clamp(min=1) - 1).flip(-1)
        mask = F.grid_sample(mask, at, padding_mode="zeros", align_corners=True)
        shown = F.grid_sample(
            shown.expand(n, *shown.shape[1:]), at, padding_mode="border", align_corners=True
        )
        return mask * shown + (1 - mask) * self.behind, mask
