"""Sizes that a network can take: found by trying where the card gives none, and named where a size cannot be run."""

from __future__ import annotations

from collections.abc import Sequence

from napari_segxai.models.network import Network

USUAL = (2, 4, 8, 16, 32, 64)
"""Multiples of networks that halve."""


def find_multiples(model: Network) -> tuple[int, ...]:
    """Return, per axis, the number of which the model grid has to be a multiple: as on the card, or found by trying.

    A U-Net that halves twice and joins what it kept takes multiples of 4 alone. Without a word of that on the card, the
    network is tried on sizes one above and one below that of the dry run; where it fails, axis by axis on odd
    multiples of its own strides. Nothing is found (1) where it takes any size, or one alone.
    """
    grid, example = model.card.grid, model.example_grid
    given = (grid.multiple,) * len(example)
    pad = grid.pad
    told = pad is not None and pad.size is not None and pad.multiple is not None
    if told or model.windows is not None or grid.size is not None or "multiple" in grid.model_fields_set:
        return given
    if all(model.runs_on([n + step for n in example]) for step in (1, -1)):
        return given
    return tuple(_along(model, example, axis) for axis in range(len(example)))


def _along(model: Network, example: Sequence[int], axis: int) -> int:
    side = example[axis]

    def runs(length: int) -> bool:
        return model.runs_on([*example[:axis], length, *example[axis + 1 :]])

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


def padding_note(model: Network, before: Sequence[int], after: Sequence[int]) -> list[str]:
    """Return a note if an image was padded although the card does not ask for it."""
    if tuple(before) == tuple(after) or model.card.grid.multiple != 1:
        return []
    sizes = [" x ".join(map(str, shape)) for shape in (before, after, model.multiples or ())]
    said = (
        f"{model.name} was found to take only multiples of {sizes[2]} (`grid: multiple` in the card), so the image was "
        f"padded from {sizes[0]} to {sizes[1]}."
    )
    return [said]
