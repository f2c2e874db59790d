"""Sizes of images on which a network cannot be run, told apart from its other errors."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from napari_segxai.core.errors import UserError, reason_of
from napari_segxai.models.inference.memory import is_out_of_memory


@contextmanager
def refusing_sizes(network: Any, tensor: Tensor) -> Generator[None]:
    """While open, what the network raises because it cannot be run on an input of this size becomes a `UserError`.

    Parameters
    ----------
    network
        A `Network`.
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
        reason = _why_not(network, tensor)
        if reason is None:
            raise
        grid = " x ".join(map(str, tensor.shape[2:]))
        raise UserError(
            f"{network.name} cannot run on a grid of {grid} ({reason}): write `grid: multiple` in the card for sizes that it "
            "can halve as often as it does, or `grid: size` for the one that it was made for."
        ) from error


def _why_not(network: Any, tensor: Tensor) -> str | None:
    """Return why it does not run on this size; None where it does, or fails on the example of its dry run too."""
    try:
        with torch.inference_mode(False), torch.no_grad():
            network.network_output(network.seen(tensor))
    except Exception as error:  # a network can raise anything
        size_counts = tuple(tensor.shape[2:]) != network.example_grid and network.runs_on(
            network.example_grid
        )
        known = isinstance(error, UserError) or is_out_of_memory(error)
        return None if known or not size_counts else reason_of(error)
    return None
