"""Where the model grid lies on the image grid: turn, take a slice, resample, pad; and all the way back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from torch import Tensor

from napari_segxai.core import orientation
from napari_segxai.core.errors import UserError
from napari_segxai.models.preprocessing.box import content_box, turned_box
from napari_segxai.models.preprocessing.cells import cells_of, new_size, spacings, turned_affine
from napari_segxai.models.preprocessing.resample import (
    SAME,
    coarse_axis,
    continued,
    resize,
    resize_apart,
    resize_centers,
)

if TYPE_CHECKING:
    from napari_segxai.core.image import Image
    from napari_segxai.models.card import ModelCard


@dataclass(frozen=True)
class Placement:
    """The way from the image grid to the model grid, and back.

    Attributes
    ----------
    image_shape
        Shape of the image grid.
    turn
        Reorientation of the image axes to those that the network expects.
    slice
        Index along the first turned axis that a 2D model gets of a volume; None for the whole.
    resampled_shape
        Shape after resampling, before padding.
    shape
        Shape of the model grid.
    start
        Where its first cell lies on the resampled image, per axis: below 0 behind padding, above it where it is cropped. None for 0.
    linear
        Whether maps, and intensities that are not resampled cubically, are resampled linearly, else to the nearest.
    box
        What of the turned image (or of its slice) is brought to the grid: (start, stop) per axis. None for all of it.
    seen
        Whether a slice lies in the box at all; the network has nothing to say of one that does not.
    first_slice
        Of the box of a volume of which a 2D model gets a slice.
    apart
        The axes that are resampled by themselves on the way to the grid, and on the way back; None for none.
    nearest_apart
        Whether such an axis is resampled to the nearest slice.
    steps, first
        Pixels per cell, and where the first cell lies; None where both grids cover the same extent.
    """

    image_shape: tuple[int, ...]
    turn: orientation.Reorientation
    slice: int | None
    resampled_shape: tuple[int, ...]
    shape: tuple[int, ...]
    linear: bool
    box: tuple[tuple[int, int], ...] | None = None
    seen: bool = True
    first_slice: int = 0
    apart: tuple[int | None, int | None] = (None, None)
    nearest_apart: bool = True
    steps: tuple[float, ...] | None = None
    first: tuple[float, ...] | None = None
    start: tuple[int, ...] | None = None

    @property
    def offset(self) -> tuple[int, ...]:
        """`start`, with zeros for None."""
        return self.start or (0,) * len(self.shape)

    @property
    def inner(self) -> tuple[slice, ...]:
        """Where on the model grid the image lies."""
        ends = zip(self.offset, self.shape, self.resampled_shape, strict=True)
        return tuple(slice(max(-at, 0), max(0, min(m, n - at))) for at, m, n in ends)

    @property
    def kept(self) -> tuple[slice, ...]:
        """What of the resampled image lies on the model grid."""
        return tuple(
            slice(cells.start + at, cells.stop + at)
            for cells, at in zip(self.inner, self.offset, strict=True)
        )

    @property
    def turned_shape(self) -> tuple[int, ...]:
        """Shape of the turned image (or of its slice), before resampling."""
        shape = tuple(self.image_shape[k] for k in self.turn[0])
        return shape if self.slice is None else shape[1:]

    @property
    def seen_shape(self) -> tuple[int, ...]:
        """Shape of what is brought to the grid: of the box, or of the whole turned image (or slice)."""
        return self.turned_shape if self.box is None else tuple(stop - start for start, stop in self.box)

    @property
    def resamples(self) -> bool:
        """Whether pixels are others than cells."""
        return self.steps is not None or self.seen_shape != self.resampled_shape

    def cropped(self, turned: np.ndarray) -> np.ndarray:
        """Return what of a turned array (leading axes stay) is brought to the grid; a view."""
        return turned if self.box is None else turned[(..., *(slice(*ends) for ends in self.box))]

    def turned(self, array: np.ndarray) -> np.ndarray:
        """Turn an array on the image grid (leading axes stay) and take the slice; a view."""
        out = orientation.apply(array, self.turn)
        if self.slice is not None:
            out = out[..., self.slice, :, :]
        return out

    def to_grid(self, turned: np.ndarray) -> Tensor:
        """Bring turned values (channels, *) to the model grid without padding: (1, channels, *)."""
        tensor = torch.from_numpy(self.cropped(turned))[None]
        if self.apart[0] is None:
            return self._resized(tensor, linear=self.linear, antialias=True)
        return resize_apart(
            tensor, self.resampled_shape, self.apart[0], nearest=self.nearest_apart, linear=self.linear
        )

    def pad(self, tensor: Tensor, value: Tensor | Literal["reflect", "replicate"]) -> Tensor:
        """Bring (1, channels, *resampled) to the model grid, with a value per channel around it, or itself mirrored or its edge repeated."""
        if self.shape == self.resampled_shape and not any(self.offset):
            return tensor
        seen = tensor[(..., *self.kept)]
        if not isinstance(value, Tensor):
            for axis, (cells, whole) in enumerate(zip(self.inner, self.shape, strict=True), start=2):
                places = torch.arange(-cells.start, whole - cells.start)
                seen = seen.index_select(axis, continued(places, seen.shape[axis], value))
            return seen
        out = value.expand(*tensor.shape[:2], *self.shape).clone()
        out[(..., *self.inner)] = seen
        return out

    def _resized(self, tensor: Tensor, *, linear: bool, antialias: bool = False) -> Tensor:
        if self.steps is not None:
            return resize_centers(tensor, self.resampled_shape, self.steps, self.first_cell, linear=linear)
        return resize(tensor, self.resampled_shape, linear=linear, antialias=antialias)

    @property
    def pixels_per_cell(self) -> tuple[float, ...]:
        """How many pixels of the turned image a cell is long, per axis."""
        found = zip(self.seen_shape, self.resampled_shape, strict=True)
        return self.steps or tuple(before / after for before, after in found)

    @property
    def first_cell(self) -> tuple[float, ...]:
        """Where the centre of the first cell lies, in pixels from the centre of the first one that is brought to the grid."""
        return self.first or tuple((step - 1) / 2 for step in self.pixels_per_cell)

    def cell_size(self, image: Image) -> tuple[float, ...]:
        """Return the lengths of one cell of the model grid along its axes, in the image's units."""
        spacing = [image.spacing[k] for k in self.turn[0]][-len(self.shape) :]
        return tuple(length * step for length, step in zip(spacing, self.pixels_per_cell, strict=True))

    def inside(self) -> Tensor:
        """Return where the image lies on the model grid: boolean, False in the padding."""
        out = torch.zeros(self.shape, dtype=torch.bool)
        out[self.inner] = self.seen
        return out

    def mask_to_grid(self, mask: np.ndarray) -> Tensor:
        """Bring a boolean mask on the image grid to the model grid.

        Nearest neighbour, but a mask too thin to survive that keeps the cells that its pixels' centres
        fall into.
        """
        turned = np.ascontiguousarray(self.cropped(self.turned(mask)))
        if not self.seen:
            turned = np.zeros_like(turned)
        tensor = torch.from_numpy(turned)[None, None]
        out = self._resized(tensor.float(), linear=False) > 0.5
        if not out.any() and turned.any():
            centers = (np.argwhere(turned) - self.first_cell) / self.pixels_per_cell
            cells = np.floor(centers + 0.5 + SAME).astype(int).clip(0, np.array(self.resampled_shape) - 1)
            out[(0, 0, *torch.from_numpy(cells).T)] = True
        return self.pad(out, torch.zeros((1, 1) + (1,) * len(self.shape), dtype=torch.bool))[0, 0]

    def from_grid(self, values: Tensor, *, linear: bool) -> np.ndarray:
        """Bring a map (*model grid) back to the turned image grid (or slice), as float32; 0 around the box."""
        inner = values[self.inner].float()
        if tuple(inner.shape) != self.resampled_shape:  # nothing is known around what is cropped
            whole = inner.new_zeros(self.resampled_shape)
            whole[self.kept] = inner
            inner = whole
        inner = inner[None, None]
        if self.steps is not None:
            steps = [1 / step for step in self.steps]
            first = [-place / step for place, step in zip(self.first_cell, self.steps, strict=True)]
            found = resize_centers(inner, self.seen_shape, steps, first, linear=linear)
        elif self.apart[1] is None:
            found = resize(inner, self.seen_shape, linear=linear)
        else:
            found = resize_apart(
                inner, self.seen_shape, self.apart[1], nearest=self.nearest_apart, linear=linear
            )
        array = found[0, 0].cpu().numpy()
        if self.box is None and self.seen:
            return array
        out = np.zeros(self.turned_shape, array.dtype)
        if self.seen:
            self.cropped(out)[...] = array
        return out

    def to_image(self, turned: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
        """Turn an array on the turned grid back to the image grid; a slice is written into `out`."""
        if out is None:
            if self.slice is None:
                back = orientation.apply(turned, orientation.invert(self.turn))
                return np.ascontiguousarray(back)
            out = np.zeros(self.image_shape, turned.dtype)
        view = self.turned(out)
        view[...] = turned
        return out

    def box_on_grid(self, low: Sequence[int], stop: Sequence[int]) -> tuple[slice, ...] | None:
        """Return where on the model grid the pixels lie from `low` to before `stop` of the image grid; None where it sees none of them."""
        starts = [0] * len(self.shape) if self.box is None else [start for start, _ in self.box]
        ends = []
        for axis, flipped in zip(*self.turn, strict=True):
            n = self.image_shape[axis]
            ends.append((n - stop[axis], n - low[axis]) if flipped else (low[axis], stop[axis]))
        if self.slice is not None:
            (first, last), *ends = ends
            if not first <= self.slice < last:
                return None
        out = []
        sizes = zip(ends, starts, self.seen_shape, self.resampled_shape, self.offset, self.shape, strict=True)
        for (first, last), start, n, m, at, most in sizes:
            first, last = max(first - start, 0), min(last - start, n)
            if first >= last or not self.seen:
                return None
            begin, end = max(first * m // n - at, 0), min(-(-last * m // n) - at, most)
            if begin >= end:
                return None
            out.append(slice(begin, end))
        return tuple(out)

    def image_index(self, cell: Sequence[float]) -> tuple[int, ...]:
        """Return the index on the image grid of the pixel in which a place on the model grid lies, given in cells from its first corner."""
        starts = [0] * len(self.shape) if self.box is None else [start for start, _ in self.box]
        cell = [place + at for place, at in zip(cell, self.offset, strict=True)]
        inner = zip(cell, self.seen_shape, self.first_cell, self.pixels_per_cell, starts, strict=True)
        turned = [
            start + min(max(int(first + (place - 0.5) * step + 0.5 + SAME), 0), n - 1)
            for place, n, first, step, start in inner
        ]
        turned = turned if self.slice is None else [self.slice, *turned]
        out = [0] * len(self.image_shape)
        for place, axis, flipped in zip(turned, *self.turn, strict=True):
            out[axis] = self.image_shape[axis] - 1 - place if flipped else place
        return tuple(out)

    def native_affine(self, native_shape: tuple[int, ...], affine: np.ndarray) -> np.ndarray:
        """Return the affine of a native-resolution volume in the axis order of the image.

        Its cells divide the model grid (padding included) evenly.
        """
        turned = orientation.apply_to_affine(affine, self.image_shape, self.turn)
        cells, pixels = np.array(self.shape) / np.array(native_shape), np.array(self.pixels_per_cell)
        step = np.diag([*(cells * pixels), 1.0])
        step[:3, 3] = self.first_cell + (np.array(self.offset) + 0.5 * cells - 0.5) * pixels
        if self.box is not None:
            step[:3, 3] += [start for start, _ in self.box]
        return orientation.apply_to_affine(turned @ step, native_shape, orientation.invert(self.turn))


def slice_count(card: ModelCard, image: Image) -> int | None:
    """Number of slices that a 2D model sees in a volume; None when the model takes the image whole."""
    if (card.spatial_dims, image.spatial_dims) != (2, 3):  # what does not fit at all is refused by `place`
        return None
    return image.spatial_shape[turn_of(card, image)[0][0]]


def resampled(card: ModelCard, image: Image, slice: int | None = None, *, read: bool = True) -> Placement:
    """Work out how `image` is resampled for the model that `card` describes, before it is cropped and padded there; see `place`.

    Parameters
    ----------
    slice
        For a 2D model on a volume: which slice, counted as napari displays the volume (inferior slices
        of a displayed axial stack have the higher index).
    read
        Whether the image may be read, where the card crops it to what is not 0; else it is taken whole.

    Raises
    ------
    UserError
        If the model cannot take an image of this kind.
    """
    if card.spatial_dims > image.spatial_dims:
        raise UserError(
            f"{card.name} takes 3D volumes, but {image.name} is a 2D image; choose a 2D model or load a volume."
        )
    turn = turn_of(card, image)
    axes = turn[0]
    shape = tuple(image.spatial_shape[k] for k in axes)
    grid = card.grid
    box = None
    if grid.crop and grid.crop_on == "image" and read:
        box = turned_box(content_box(image, grid.crop), image.spatial_shape, turn)
    seen, first = True, 0
    if card.spatial_dims < image.spatial_dims:
        if slice is None:
            raise UserError(f"{card.name} is a 2D model and {image.name} a volume: name the slice.")
        if not 0 <= slice < shape[0]:
            raise UserError(f"slice {slice} is outside {image.name}; it has slices 0 to {shape[0] - 1}.")
        # The index counts in display direction; the network may want the axis the other way round.
        display_flip = image.to_display[1][image.to_display[0].index(turn[0][0])]
        if turn[1][0] != display_flip:
            slice = shape[0] - 1 - slice
        if box is not None:
            (first, stop), box = box[0], box[1:]
            seen = first <= slice < stop
        shape, axes = shape[1:], axes[1:]
    else:
        slice = None
    whole = shape
    if box is not None:
        shape = tuple(stop - start for start, stop in box)
    size, cells = shape, None
    apart: tuple[int | None, int | None] = (None, None)
    if (fixed := grid.fixed_size(shape)) is not None:
        size = fixed
    elif grid.spacing is not None and grid.align == "centers":
        here, there = spacings(card, image, turn)
        cells = cells_of(shape, here[-len(shape) :], grid.spacing, turned_affine(image, turn))
        size = cells.shape
    elif grid.spacing is not None:
        here, there = spacings(card, image, turn)
        size = tuple(
            new_size(n, s, wanted, card)
            for n, s, wanted in zip(shape, here[-len(shape) :], grid.spacing, strict=True)
        )
        if grid.coarse_axis != "together":
            ways = coarse_axis(here, there), coarse_axis(there, here)
            dropped = len(here) - len(shape)
            to, back = (None if way is None or way < dropped else way - dropped for way in ways)
            apart = to, back
    return Placement(
        image_shape=image.spatial_shape,
        turn=turn,
        slice=slice,
        resampled_shape=size,
        shape=size,
        linear=grid.interpolation != "nearest",
        box=box if box != tuple((0, n) for n in whole) else None,
        seen=seen,
        first_slice=first,
        apart=apart,
        nearest_apart=grid.coarse_axis != "linear",
        steps=None if cells is None else cells.steps,
        first=None if cells is None else cells.first,
    )


def plane_of_card(card: ModelCard, image: Image) -> int | None:
    """Return the axis across which a 2D model's slices lie, counted as napari shows the volume.

    None where the card does not say it, or the volume does not know its orientation.
    """
    if image.codes is None or card.orientation is None or card.spatial_dims == image.spatial_dims:
        return None
    return image.to_display[0].index(_as_on_card(card, image)[0][0])


def plane_of(card: ModelCard, image: Image) -> int | None:
    """Return the axis across which a 2D model's slices of a volume lie, as `Image.across` counts; None without."""
    if card.spatial_dims >= image.spatial_dims:
        return None
    return image.to_display[0].index(turn_of(card, image)[0][0])


def turn_of(card: ModelCard, image: Image) -> orientation.Reorientation:
    """Return how the axes of the image are turned to those of the network, the slices of a 2D model first.

    Raises
    ------
    UserError
        If slices across another axis are asked for than the card says.
    """
    flat = card.spatial_dims < image.spatial_dims
    stored = orientation.is_stored(card.orientation)
    if image.codes is None and not stored:
        order = list(range(image.spatial_dims))
        if flat and image.plane is not None:
            order.insert(0, order.pop(image.plane))
        return tuple(order), (False,) * len(order)
    if card.orientation is None:
        assert image.codes is not None
        wanted = list(orientation.DISPLAY)
        if flat and image.plane is not None:
            wanted.insert(0, wanted.pop(image.plane))
        return orientation.reorientation(image.codes, "".join(wanted))
    turn = _as_on_card(card, image)
    if flat and image.plane is not None and image.to_display[0].index(turn[0][0]) != image.plane:
        fixed = image.to_display[0].index(turn[0][0])
        raise UserError(
            f"{card.name} sees slices across axis {fixed} of {image.name} (its card says {card.orientation}), not across "
            f"axis {image.plane}; leave axis out."
        )
    return turn


def _as_on_card(card: ModelCard, image: Image) -> orientation.Reorientation:
    """Return how the axes of the image are turned as the card says, where it says it and the image can be turned so."""
    wanted = card.orientation
    assert wanted is not None
    if not orientation.is_stored(wanted):
        assert image.codes is not None
        return orientation.reorientation(image.codes, wanted)
    if image.codes is None:  # an array lies as numpy stores it, its last axis fastest
        letters = [letter for letter in wanted if image.spatial_dims == 3 or letter != wanted[0]]
        order = tuple(sorted(letters, reverse=True).index(letter) for letter in letters)
        return order, (False,) * len(order)
    # A layer has the axes of its file as they are shown; if it was moved since, its affine has other codes than the file's.
    file = image.codes if "affine" not in image.header else orientation.axis_codes(image.header["affine"])
    source = orientation.DISPLAY if image.layer and "affine" in image.header else image.codes
    return orientation.reorientation(source, [file["ijk".index(letter)] for letter in wanted])
