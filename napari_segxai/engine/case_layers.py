"""What network layers make of a case, channel by channel, so that no more of them is held than fits; see `whole_activations`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from napari_segxai.engine.cases import CaseView


def by_channel(view: CaseView, names: Sequence[str], of: Callable[[Tensor], Tensor]) -> list[Tensor]:
    """Return what a function that treats every channel by itself makes of network layers.

    Parameters
    ----------
    of
        (1, some channels, *cells) -> (those channels, ...).
    """
    parts: list[list[Tensor]] = [[] for _ in names]
    view.each_block(names, lambda k, channels, values: parts[k].append(of(values)))
    return [torch.cat(some) for some in parts]


def units_of(view: CaseView, wanted: Mapping[str, Sequence[int]]) -> dict[tuple[str, int], Tensor]:
    """Return what some channels of network layers say of a case: (*cells) of each, in the computer's own memory."""
    names, out = list(wanted), {}

    def take(k: int, channels: slice, values: Tensor) -> None:
        some = [unit for unit in wanted[names[k]] if channels.start <= unit < channels.stop]
        out.update({(names[k], unit): values[0, unit - channels.start].cpu() for unit in some})

    view.each_block(names, take)
    return out
