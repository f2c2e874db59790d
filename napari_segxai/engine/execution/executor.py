"""Running one network on inputs of one grid: every pass is counted, and what was done is noted for the record."""

from __future__ import annotations

import math
from collections.abc import Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from napari_segxai.core.progress import Passes
from napari_segxai.engine.execution.footprint import ReceptiveField
from napari_segxai.engine.execution.forward_cache import ForwardCache
from napari_segxai.engine.execution.graphs import Graphs
from napari_segxai.engine.execution.window_cache import WindowCache
from napari_segxai.models.inference.fused import fast_layout
from napari_segxai.models.unfit_sizes import refusing_sizes
from napari_segxai.models.windows.stitch import Weights, linear_score
from napari_segxai.models.windows.tiling import Reading

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
    differentiable
        Choices of network layers that gradients are known to reach, () for the input; each is looked at once, as the weights stay while a
        network is in use. Shared with executors that run on parts of the input.
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
        self.differentiable: set[tuple[str, ...]] = set()
        self.graphs = Graphs(network.module)
        self._windows: WindowCache | None = None
        self._reading: Reading | None = None
        self._known: tuple[Tensor, Reading] | None = None  # of what was read last
        self._share = 0.0  # of a pass that was run in windows and is not counted yet
        self._run = 0.0  # windows
        self._suffix_share = 0.0  # the same of passes from a network layer on

    @property
    def grid(self) -> tuple[int, ...]:
        """Shape of the model grid."""
        return tuple(self.input.shape[2:])

    def forward(self, tensor: Tensor) -> Tensor:
        """Run the network on (N, channels, *grid) and count the passes."""
        if self.network.windows is None or (torch.is_grad_enabled() and tensor.requires_grad):
            out = self.run(tensor)
            self.passes.forward += len(tensor)
            return out
        if tensor.shape[1:] != self.input.shape[1:]:
            self.passes.forward += len(tensor)
            return self.run(tensor)
        windows = self._cache()
        before = windows.run
        out = windows.logits(fast_layout(tensor), self._reading)
        self._count_windows(windows.run - before, len(tensor) * len(windows.tiling.corners))
        return out

    def _cache(self) -> WindowCache:
        if self._windows is None:
            self._windows = WindowCache(self.network, self.input)
        return self._windows

    @property
    def field(self) -> ReceptiveField | None:
        """How far a change reaches in a window, once that is known: then only a part of it is run."""
        return self._cache().field

    @field.setter
    def field(self, found: ReceptiveField | None) -> None:
        self._cache().field = found

    def remember_unchanged(self, logits: Tensor) -> None:
        """Take the logits of the unchanged input, (1, labels, *grid): through windows, only what differs from them is run."""
        if self.network.windows is not None:
            self._cache().unchanged = logits

    @contextmanager
    def reading(self, where: Tensor | None) -> Generator[None]:
        """While open, logits are wanted at some places alone: through windows, those that hold none of them are not run.

        What comes back is then the box around those places; see `Question.section`.

        Parameters
        ----------
        where
            Boolean (*grid); None for everywhere.
        """
        before = self._reading
        self._reading = None
        if self.network.windows is not None and where is not None:
            if self._known is None or self._known[0] is not where:
                self._known = where, self.network.tiling(self.grid).reading(where)
            self._reading = self._known[1]
        try:
            yield
        finally:
            self._reading = before

    def run(self, tensor: Tensor) -> Tensor:
        """`forward`, for passes that are counted elsewhere."""
        laid = tensor if self.network.changes.channels_last else fast_layout(tensor)
        if tensor.shape[1:] != self.input.shape[1:]:
            return self.network.logits(laid)
        with refusing_sizes(self.network, self.input):
            return self.network.logits(laid, self._reading)

    def repeat(self, tensor: Tensor) -> Tensor:
        """`run`, for an input that takes a gradient and whose shape comes again and again."""
        if self.network.windows is not None:
            return self.run(tensor)
        return self.graphs(self.run, tensor)

    def linear_score(self, tensor: Tensor, weights: Weights) -> Tensor:
        """Return a score that is linear in what windows return, (N,), differentiable: of (N, channels, *grid); see `windows.stitch`."""
        network = self.network
        tiling = network.tiling(self.grid)
        out = linear_score(
            network.returned,
            network.complete(fast_layout(tensor)),
            tiling,
            weights,
            batch=network.batch_of_windows,
        )
        looks = sum(weights.touches(tiling, corner) for corner in tiling.corners) * tiling.rule.views
        for _ in tensor:
            self.note_windows(looks, gradients=tensor.requires_grad)
        return out

    def note_windows(
        self, looks: int, *, gradients: bool = False, forwards: int = 1, suffix: int = 0, more: bool = False
    ) -> None:
        """Count looks at single windows, one by one, as the part of a pass that they are.

        Parameters
        ----------
        forwards, suffix
            Passes of every look: whole ones, and those from a network layer on.
        more
            Whether these are further windows of a pass of which others were counted before.
        """
        assert self.network.windows is not None
        whole = len(self.network.tiling(self.grid).corners)
        run = looks / self.network.windows.views
        self._count_windows(run * forwards, 0 if more else whole)
        self._suffix_share += run * suffix / whole
        self.passes.suffix += int(self._suffix_share)
        self._suffix_share -= int(self._suffix_share)
        self.passes.backward += math.ceil(run * forwards / whole) if gradients else 0

    def _count_windows(self, run: float, of: int) -> None:
        """Count forward passes of windows, and note how many of how many were run."""
        self._share += run / len(self.network.tiling(self.grid).corners)
        self.passes.forward += int(self._share)
        self._share -= int(self._share)
        self._run += run
        self.notes["windows_run"] = math.ceil(self._run)
        self.notes["windows_in_all"] = self.notes.get("windows_in_all", 0) + of

    def look(self, tensor: Tensor) -> Tensor:
        """`forward`, unless a question that is asked at the same time has just run the network on the same input."""
        if self.cache is None or self._reading is not None:
            return self.forward(tensor)
        return self.cache.forward(tensor, self.forward)
