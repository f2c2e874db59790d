"""How long pixels and cells are, how many cells a grid has, and where they lie if the first lies on the first pixel (MONAI's Spacing)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_segxai.core import orientation
from napari_segxai.core.errors import UserError
from napari_segxai.models.preprocessing.resample import SAME

if TYPE_CHECKING:
    from napari_segxai.core.image import Image
    from napari_segxai.models.card import ModelCard

ALIKE = 1e-3
"""Lengths of pixels and cells, and their ratios, that are so near to each other count as the same for MONAI."""

ROUNDING = 1e-8
"""In cells: MONAI begins at the first pixel only where no other corner lies so far before it."""


@dataclass(frozen=True)
class Cells:
    """Where the cells of a grid lie on an image.

    Attributes
    ----------
    shape
        How many there are.
    steps
        How many pixels they lie apart, per axis.
    first
        The place of the first, in pixels from the first pixel.
    """

    shape: tuple[int, ...]
    steps: tuple[float, ...]
    first: tuple[float, ...]


def cells_of(
    shape: Sequence[int], here: Sequence[float], there: Sequence[float], affine: np.ndarray | None = None
) -> Cells:
    """Return the cells of a grid.

    Of an oblique volume whose affine was rounded in its file the axes are not at right angles, by some millionths of a
    degree; MONAI then lays the middle of the grid onto the middle of the image.

    Parameters
    ----------
    shape
        Of the image that is resampled.
    here, there
        Lengths of pixels and of cells.
    affine
        Of the image, 4 x 4; without it the axes are at right angles.
    """
    steps = [new / old for old, new in zip(here, there, strict=True)]
    count = [(n - 1) / step + 1 for n, step in zip(shape, steps, strict=True)]
    first = [0.0] * len(shape)
    if affine is not None and len(shape) == 3:
        goal = np.eye(4)
        upper = np.linalg.cholesky(affine[:3, :3].T @ affine[:3, :3]).T
        goal[:3, :3] = affine[:3, :3] @ np.linalg.inv(upper) @ np.diag(there)
        corners = np.array(np.meshgrid(*((0.0, n - 1.0) for n in shape), indexing="ij")).reshape(3, -1)
        found = (np.linalg.solve(goal, affine) @ np.concatenate((corners, np.ones_like(corners[:1]))))[:3]
        count = list(np.ptp(found, axis=1) + 1)
        if np.abs((found - found[:, :1]).min(1)).max() > ROUNDING:
            first = [(n - step * round(m)) / 2 for n, step, m in zip(shape, steps, count, strict=True)]
    out = tuple(max(1, round(n)) for n in count)
    moved = max(map(abs, first), default=0)
    same = all(
        min(abs(step - 1), abs(new - old)) <= ALIKE for step, old, new in zip(steps, here, there, strict=True)
    )
    if same and moved <= ALIKE and out == tuple(shape):
        return Cells(out, (1.0,) * len(out), (0.0,) * len(out))
    return Cells(out, tuple(steps), tuple(first))


def turned_affine(image: Image, turn: orientation.Reorientation) -> np.ndarray | None:
    """Return the affine of the turned volume, from the digits of its file where it has one; None without."""
    if image.affine is None or image.codes is None or image.spatial_dims != 3:
        return None
    file = image.header.get("affine")
    if file is None:
        return orientation.apply_to_affine(image.affine, image.spatial_shape, turn)
    ours = orientation.apply_to_affine(image.affine, image.spatial_shape, turn)
    file, wanted = np.asarray(file, float), orientation.axis_codes(ours)
    back = orientation.reorientation(orientation.axis_codes(file), wanted)
    shape = [0] * 3
    for axis, n in zip(back[0], (image.spatial_shape[k] for k in turn[0]), strict=True):
        shape[axis] = n
    exact = orientation.apply_to_affine(file, shape, back)
    # A layer that was moved or scaled since is not the file any more.
    return exact if np.allclose(exact[:3, :3], ours[:3, :3], atol=1e-4) else ours


def new_size(n: int, spacing: float, wanted: float, card: ModelCard) -> int:
    """Return how many cells of the wanted length `n` pixels make, rounded; with "cubic" in the way in which nnU-Net computes it."""
    return max(1, round(spacing / wanted * n if card.grid.interpolation == "cubic" else n * spacing / wanted))


def spacings(
    card: ModelCard, image: Image, turn: orientation.Reorientation
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return the lengths in mm along the turned axes, of pixels and of cells of the grid; those across slices stay as they are.

    Raises
    ------
    UserError
        If the image does not say its pixel size in mm.
    """
    millimetres, wanted = image.spacing_mm, card.grid.spacing
    assert wanted is not None
    if millimetres is None:
        raise UserError(
            f"{card.name} needs {image.name} at a spacing of {wanted} mm, but the image does not say "
            "its pixel size in mm; give it an affine, or spacing with units='mm'."
        )
    exact = card.grid.align == "centers"  # MONAI takes lengths from the affine
    here = tuple(millimetres[k] if exact else _as_stored(millimetres[k], image) for k in turn[0])
    return here, (*here[: len(here) - len(wanted)], *wanted)


def _as_stored(length: float, image: Image) -> float:
    """Return the length of a pixel as its file has it: one that comes from an oblique affine has other last digits.

    On which side of a threshold it lies, or to which size it is rounded, is what counts; training read it from the file.
    """
    fields: Any = image.header.get("header")
    try:
        stored = [float(each) for each in fields["pixdim"][1:4]]
    except (TypeError, ValueError, KeyError):
        return length
    return next((each for each in stored if abs(each - length) < SAME * length), length)
