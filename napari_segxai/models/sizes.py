"""Sizes that a network can take: found where its card says none, and said where one cannot be run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from napari_segxai.core.errors import UserError
from napari_segxai.models.dry_run import reason_of
from napari_segxai.models.inference.memory import is_out_of_memory
from napari_segxai.models.outputs import covers

if TYPE_CHECKING:
    from napari_segxai.models.network import SegmentationModel

USUAL = (2, 4, 8, 16, 32, 64)
"""Multiples of networks that halve."""


def find_multiples(model: SegmentationModel) -> tuple[int, ...]:
    """Return of what the model grid has to be a multiple, per axis: as on the card, or found by trying.

    A U-Net that halves twice and joins what it kept takes multiples of 4 alone. Without a word of that on the card, the
    network is tried on sizes one above and one below that of the dry run; where it fails, axis by axis on odd
    multiples of its own strides. Nothing is found (1) where it takes any size, or one alone.
    """
    grid, example = model.card.grid, model.example_grid
    given = (grid.multiple,) * len(example)
    if grid.size is not None or "multiple" in grid.model_fields_set:
        return given
    if all(_runs(model, [n + step for n in example]) for step in (1, -1)):
        return given
    return tuple(_along(model, example, axis) for axis in range(len(example)))


def _along(model: SegmentationModel, example: Sequence[int], axis: int) -> int:
    side = example[axis]

    def runs(length: int) -> bool:
        return _runs(model, [*example[:axis], length, *example[axis + 1 :]])

    if runs(side + 1) and runs(side - 1):
        return 1
    strides = set(USUAL)
    if model.has_layers:
        # A layer of a single cell pools all there is, and says nothing of sizes.
        cells = [layer.shape[1 + axis] for layer in model.example_layers]
        strides |= {round(side / n) for n in cells if n > 1}
    for stride in sorted(strides - {1}):
        few = (
            max(1, side // stride // 2) * 2 + 1
        )  # odd, so that no larger stride divides the length by chance
        if stride <= side and runs(stride * few) and runs(stride * (few - 2 if few > 3 else few + 2)):
            return stride
    return 1


def _runs(model: SegmentationModel, shape: Sequence[int]) -> bool:
    if min(shape) < 1:
        return False
    tensor = torch.zeros((1, len(model.card.channels), *shape), device=model.device)
    try:
        with model.in_use(model.device), torch.inference_mode():
            out = model.network_output(tensor)
    except Exception as error:  # a network can raise anything
        if is_out_of_memory(error):
            raise
        return False
    return out.ndim == tensor.ndim and all(map(covers, shape, out.shape[2:]))


@contextmanager
def refusing_sizes(model: SegmentationModel, tensor: Tensor) -> Iterator[None]:
    """While open, what the network raises because it cannot be run on an input of this size becomes a `UserError`.

    Parameters
    ----------
    tensor
        The unchanged input, (1, channels, *grid), on which it is run once more after an error.

    Raises
    ------
    UserError
        Naming the size and the keys of the card that bring images to another one.
    """
    try:
        yield
    except Exception as error:
        if isinstance(error, UserError) or is_out_of_memory(error):
            raise
        reason = _why_not(model, tensor)
        if reason is None:
            raise
        grid = " x ".join(map(str, tensor.shape[2:]))
        raise UserError(
            f"{model.name} cannot run on a grid of {grid} ({reason}): write `grid: multiple` in the card for sizes that it "
            "can halve as often as it does, or `grid: size` for the one that it was made for."
        ) from error


def _why_not(model: SegmentationModel, tensor: Tensor) -> str | None:
    """Return why a network does not run on this size; None where it does, or fails on the example of its dry run too."""
    try:
        with torch.inference_mode(False), torch.no_grad():
            model.network_output(tensor)
    except Exception as error:  # a network can raise anything
        size_counts = tuple(tensor.shape[2:]) != model.example_grid and _runs(model, model.example_grid)
        known = isinstance(error, UserError) or is_out_of_memory(error)
        return None if known or not size_counts else reason_of(error)
    return None


def padding_note(model: SegmentationModel, before: Sequence[int], after: Sequence[int]) -> list[str]:
    """Say that an image was padded though its card does not ask for it."""
    if tuple(before) == tuple(after) or model.card.grid.multiple != 1:
        return []
    sizes = [" x ".join(map(str, shape)) for shape in (before, after, model.multiples)]
    said = (
        f"{model.name} was found to take multiples of {sizes[2]} alone (`grid: multiple` in the card), so the image was "
        f"padded from {sizes[0]} to {sizes[1]}."
    )
    return [said]
