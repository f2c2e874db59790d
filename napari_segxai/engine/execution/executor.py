"""Running one network on inputs of one grid: every pass is counted, and what was done is noted for the record."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from napari_segxai.core.progress import Passes
from napari_segxai.engine.execution.forward_cache import ForwardCache
from napari_segxai.engine.execution.graphs import Graphs
from napari_segxai.models.inference.fused import fast_layout

if TYPE_CHECKING:
    from napari_segxai.models.network import Network


class Executor:
    """Runs a network, and counts.

    Parameters
    ----------
    network
        In use on `device`.
    input
        (1, channels, *grid): an input that the network is known to take.
    device
        Where it runs.
    precision
        Whether fewer digits may do; see `execution.mixed_precision`.
    cache
        The forward passes of questions that are asked at the same time.

    Attributes
    ----------
    passes
        Passes that were run.
    notes
        How it was computed, for the record.
    """

    def __init__(
        self,
        network: Network,
        input: Tensor,
        device: torch.device,
        *,
        precision: str = "auto",
        cache: ForwardCache | None = None,
    ):
        self.network = network
        self.input = input
        self.device = device
        self.precision = precision
        self.cache = cache
        self.passes = Passes()
        self.notes: dict[str, Any] = {"precision": "float32"}
        self.graphs = Graphs(network.module)

    @property
    def grid(self) -> tuple[int, ...]:
        """Shape of the model grid."""
        return tuple(self.input.shape[2:])

    def forward(self, tensor: Tensor) -> Tensor:
        """Run the network on (N, channels, *grid) and count the passes."""
        out = self.run(tensor)
        self.passes.forward += len(tensor)
        return out

    def run(self, tensor: Tensor) -> Tensor:
        """`forward`, for passes that are counted elsewhere."""
        laid = tensor if self.network.changes.channels_last else fast_layout(tensor)
        if tensor.shape[1:] != self.input.shape[1:]:
            return self.network.logits(laid)
        with self.network.refusing_sizes(self.input):
            return self.network.logits(laid)

    def repeat(self, tensor: Tensor) -> Tensor:
        """`run`, for an input that takes a gradient and whose shape comes again and again."""
        return self.graphs(self.run, tensor)

    def look(self, tensor: Tensor) -> Tensor:
        """`forward`, unless a question that is asked at the same time has just run the network on the same input."""
        return self.forward(tensor) if self.cache is None else self.cache.forward(tensor, self.forward)
