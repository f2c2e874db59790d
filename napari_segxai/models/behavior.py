"""What a network turns out to be when it is run: found by the dry run, and by what runs later."""

from __future__ import annotations

from typing import Any

import torch

from napari_segxai.models.outputs import Place


class Behavior:
    """How a network behaves; these are attributes of the model, so that a copy of it starts with them.

    Attributes
    ----------
    outputs
        Of the network: channels of what it returns.
    output_place
        Of the segmentation in what the network returns.
    writes_input
        Whether the network changes its input.
    one_at_a_time
        Whether images of one batch change each other.
    example_side
        Of the example, in cells, where the network does not run on the usual one.
    multiples
        Of the grid per axis, where found by trying.
    background_in_doubt
        Whether the first sigmoid output may be that of a forgotten label.
    values_in_doubt
        Whether the dry run gave what looks like probabilities.
    seconds
        Of a forward pass, per cell of the grid, as last measured.
    fitting_batches
        Largest batches that fit, after memory ran out: by device, shape of an image, and whether there are gradients.
    one_window
        Whether its logits are what is averaged over windows; see `Network.in_one_window`.
    lost_gradients
        What `check_gradients` found: the state of the network then, and by network layers what is lost, in words.
    """

    outputs: int
    output_place: Place = ()
    writes_input: bool = False
    one_at_a_time: bool = False
    example_side: int | None = None
    multiples: tuple[int, ...] | None = None
    background_in_doubt: bool = False
    values_in_doubt: bool = False
    seconds: float = 0.0
    fitting_batches: dict[tuple[torch.device, tuple[int, ...], bool], int]
    one_window: bool = False
    lost_gradients: tuple[Any, dict[tuple[str, ...], str]] = None, {}
