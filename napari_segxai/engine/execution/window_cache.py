"""Passes through windows of which only those are run that have to be.

A changed copy of an input mostly differs from it in few windows: the others return what they returned. Only windows that hold a
place where the output is wanted are looked at, and windows in which all is hidden behind one value return the same everywhere.
That all of this holds is looked at, value by value, not assumed.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from napari_segxai.core.progress import part_done
from napari_segxai.models.inference.batches import fitting_batch
from napari_segxai.models.inference.device import reads_tensor_float32
from napari_segxai.models.logits import as_logits
from napari_segxai.models.windows.stitch import Part, cut, run_views
from napari_segxai.models.windows.tiling import Corner

if TYPE_CHECKING:
    from napari_segxai.models.network import Network

MOST_BYTES = 2**30
"""What the kept outputs of windows may take."""


class WindowCache:
    """Passes of one network on copies of one input, without gradients.

    Parameters
    ----------
    network
        One that sees images through windows.
    input
        (1, channels, *grid): the unchanged input.

    Attributes
    ----------
    run
        Windows that were run by every call so far.
    """

    def __init__(self, network: Network, input: Tensor):
        assert network.windows is not None
        self.network = network
        self.tiling = network.tiling(input.shape[2:])
        self.padded = self.tiling.pad(input)
        self.run = 0
        self._kept: OrderedDict[Any, Tensor] = OrderedDict()
        self._bytes = 0
        self._where: tuple[Tensor | None, Sequence[Corner]] = None, self.tiling.corners

    def logits(self, tensor: Tensor, where: Tensor | None) -> Tensor:
        """Return the logits of copies of the input: (N, channels, *grid) -> (N, labels, *grid).

        Parameters
        ----------
        where
            Boolean (*grid): where they are wanted, everywhere by default; elsewhere there is any finite number.
        """
        network, tiling, padded = self.network, self.tiling, self.tiling.pad(tensor)
        corners = self._touching(where)
        out = torch.zeros(
            (len(tensor), network.outputs, *tiling.padded), device=tensor.device, dtype=torch.float32
        )
        importance = tiling.importance.to(out)

        def put(part: Part, values: Tensor) -> None:
            out[(part.sample, slice(None), *tiling.place(part.corner))] += values * importance

        batch = fitting_batch(network, tensor.device, tiling.rule.size)
        waiting: dict[Any, list[Part]] = {}  # those that return the same, under one key
        for sample in range(len(tensor)):
            for number, corner in enumerate(corners, start=1):
                part_done(sample * len(corners) + number, len(tensor) * len(corners))
                part = Part(sample, corner)
                key = self._key(padded, part)
                known = self._kept.get(key)
                if known is not None:
                    self._kept.move_to_end(key)
                    put(part, known)
                    continue
                waiting.setdefault(key, []).append(part)
                if len(waiting) == batch:
                    self._run(padded, waiting, put)
                    waiting = {}
        self._run(padded, waiting, put)
        out /= tiling.total.to(out.device)
        return as_logits(network.card, out[(..., *tiling.inner)])

    def _touching(self, where: Tensor | None) -> Sequence[Corner]:
        if where is None:
            return self.tiling.corners
        if self._where[0] is not where:
            self._where = where, self.tiling.touching(where)
        return self._where[1]

    def _key(self, padded: Tensor, part: Part) -> Any:
        """Return what tells which windows return the same: where it lies, if unchanged; its value, if it has one alone."""
        place = self.tiling.place(part.corner)
        window = padded[(part.sample, slice(None), *place)]
        digits = torch.is_autocast_enabled(padded.device.type), reads_tensor_float32()
        if torch.equal(window, self.padded[(0, slice(None), *place)]):
            return "unchanged", part.corner, digits
        flat = window.flatten(1)
        low, high = flat.amin(1), flat.amax(1)
        if torch.equal(low, high):
            return "flat", tuple(low.tolist()), digits
        return part  # like no other

    def _run(self, padded: Tensor, waiting: dict[Any, list[Part]], put: Any) -> None:
        if not waiting:
            return
        windows = cut(padded, self.tiling, [parts[0] for parts in waiting.values()])
        returned = run_views(self.network.returned, windows, self.tiling.rule)
        self.run += len(waiting)
        for (key, parts), values in zip(waiting.items(), returned, strict=True):
            if not isinstance(key, Part):
                self._keep(key, values)
            for part in parts:
                put(part, values)

    def _keep(self, key: Any, values: Tensor) -> None:
        if values.nbytes > MOST_BYTES:
            return
        self._kept[key] = values.clone()
        self._bytes += values.nbytes
        while self._bytes > MOST_BYTES:
            _, oldest = self._kept.popitem(last=False)
            self._bytes -= oldest.nbytes
