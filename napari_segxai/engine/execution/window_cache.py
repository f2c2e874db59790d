"""Passes through windows of which only those are run that have to be.

A changed copy of an input mostly differs from it in few windows: those alone are run, and what they return now in place of what they
returned is added to the unchanged output. Only windows that hold a place where the output is wanted are looked at, and windows in which
all is hidden behind one value return the same everywhere. That all of this holds is looked at, value by value, not assumed.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from napari_segxai.core.progress import part_done
from napari_segxai.engine.execution.footprint import ReceptiveField, window_for
from napari_segxai.models.inference.device import reads_tensor_float32
from napari_segxai.models.logits import as_logits, as_returned
from napari_segxai.models.windows.stitch import Part, add, divided, run_views, shares
from napari_segxai.models.windows.tiling import Box, Corner, Reading, box_of, overlap

if TYPE_CHECKING:
    from napari_segxai.models.network import Network

EXACT = 1e-4
"""Share of the largest output by which a part of a window may differ from the whole: rounding, in another order."""

MOST_BYTES = 2**26
"""What the kept outputs of windows may take; in any case as much as one float32 copy of the image."""


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
    unchanged
        (1, labels, *grid): its logits, once they are known.
    field
        How far a change reaches in a window, once that is known.
    run
        Windows that were run by every call so far; a part of one counts as the part that it is.
    """

    def __init__(self, network: Network, input: Tensor):
        assert network.windows is not None
        self.network = network
        self.tiling = network.tiling(input.shape[2:])
        self.padded = self.tiling.pad(network.complete(input))
        self.unchanged: Tensor | None = None
        self.field: ReceptiveField | None = None
        self.run = 0.0
        self.room = max(MOST_BYTES, 4 * math.prod(self.tiling.padded))
        self._kept: OrderedDict[Any, Tensor] = OrderedDict()
        self._bytes = self._compared = 0
        self._reading: Reading | None = None

    def logits(self, tensor: Tensor, reading: Reading | None) -> Tensor:
        """Return the logits of copies of the input: (N, channels, *grid) -> (N, labels, *grid), or of the part that is read."""
        if reading is not self._reading:
            self._read(reading)
        network, tiling = self.network, self.tiling
        padded = tiling.pad(network.complete(tensor))
        inner = tuple(slice(0, n) for n in tiling.grid) if reading is None else reading.box
        box, corners = tiling.on_padded(inner), tiling.corners if reading is None else reading.corners
        shape = tuple(part.stop - part.start for part in box)
        out = torch.zeros((len(tensor), network.outputs, *shape), device=tensor.device, dtype=tensor.dtype)
        work = _Work(self, box, len(tensor) * len(corners))
        importance = tiling.importance.to(out)
        whole: list[Tensor] = []  # sums of all windows, to be divided by those of their weights
        for sample, one in enumerate(out):
            # A window counts as often as it is there: narrow ones may begin at one place after rounding.
            keys = [(corner, self._key(padded, Part(sample, corner))) for corner in corners]
            changed = [(corner, key) for corner, key in keys if key != self._same(corner)]
            if self._is_less(changed, keys):
                one.copy_(self._returned(inner))
                work.done += len(corners) - len(changed)
                for corner, key in changed:
                    share = shares(tiling, corner, one)
                    if self._put_part(padded, Part(sample, corner), box, one, share):
                        work.done += 1
                        continue
                    work.ask(self.padded, Part(0, corner), self._same(corner), one, -share)
                    work.ask(padded, Part(sample, corner), key, one, share)
            else:
                whole.append(one)
                for corner, key in keys:
                    work.ask(padded, Part(sample, corner), key, one, importance)
        work.finish()
        for one in whole:
            divided(one[None], box, tiling)
        return as_logits(network.card, out)

    def _put_part(self, padded: Tensor, part: Part, box: Box, out: Tensor, share: Tensor) -> bool:
        """Add what a change does to what a window returns, where a part of the window tells that; False where it does not.

        The first time, and whenever it is a larger part than before, it is compared with the whole window.
        """
        if self.field is None:
            return False
        place = self.tiling.place(part.corner)
        pair = torch.stack(
            [padded[(part.sample, slice(None), *place)], self.padded[(0, slice(None), *place)]]
        )
        changed = box_of((pair[0] != pair[1]).any(0))
        low, size = tuple(one.start for one in changed), tuple(one.stop - one.start for one in changed)
        found = window_for(low, size, self.tiling.rule.size, self.field)
        if found is None:
            return False
        cells = math.prod(one.stop - one.start for one in found.window)
        if 2 * cells >= self.tiling.rule.cells:
            return False
        after, before = self._views(pair[(..., *found.window)])
        self.run += 2 * cells / self.tiling.rule.cells
        inner = tuple(
            slice(c.start - w.start, c.stop - w.start)
            for c, w in zip(found.changed, found.window, strict=True)
        )
        values = out.new_zeros((len(after), *self.tiling.rule.size))
        values[(slice(None), *found.changed)] = (after - before)[(slice(None), *inner)]
        if cells > self._compared:
            self._compared = cells
            after, before = self._views(pair)
            self.run += 2
            if not float((after - before - values).abs().max()) <= EXACT * float(before.abs().max()):
                self.field = None
                return False
        add(out, box, values, self.tiling, part.corner, share)
        return True

    def _views(self, windows: Tensor) -> Tensor:
        return run_views(self.network.returned, windows, self.tiling.rule)

    def _read(self, reading: Reading | None) -> None:
        """Go over to another part: of unchanged windows, what is read is kept alone."""
        kept, whole = self._kept, self._reading is None
        self._kept, self._bytes, self._reading = OrderedDict(), 0, reading
        if not whole or reading is None:
            return
        box = self.tiling.on_padded(reading.box)
        for key, values in kept.items():
            shared = overlap(box, self.tiling.place(key[1])) if key[0] == "unchanged" else None
            if shared is not None:
                self.keep(key, values, shared[1])

    def _same(self, corner: Corner) -> Any:
        """Return the key of an unchanged window."""
        return "unchanged", corner, self._digits

    @property
    def _digits(self) -> Any:
        return torch.is_autocast_enabled(self.padded.device.type), reads_tensor_float32()

    def _returned(self, inner: Box) -> Tensor:
        """Return what is averaged of the unchanged input, at a part of the grid: (outputs, *part)."""
        assert self.unchanged is not None
        part = self.unchanged[(0, slice(None), *inner)]
        return as_returned(self.network.card, part[-self.network.outputs :])

    def _is_less(self, changed: list[tuple[Corner, Any]], keys: list[tuple[Corner, Any]]) -> bool:
        """Tell whether fewer windows are run for what changes than for all that is read."""
        if self.unchanged is None or self.field is not None:
            return self.unchanged is not None
        if len(changed) == len(keys):
            return False
        before = sum(self._same(corner) not in self._kept for corner, _ in changed)
        others = sum(key not in self._kept for corner, key in keys if key == self._same(corner))
        return before < others

    def _key(self, padded: Tensor, part: Part) -> Any:
        """Return what tells which windows return the same: where it lies, if unchanged; its value, if it has one alone."""
        place = self.tiling.place(part.corner)
        window = padded[(part.sample, slice(None), *place)]
        if torch.equal(window, self.padded[(0, slice(None), *place)]):
            return self._same(part.corner)
        flat = window.flatten(1)
        low, high = flat.amin(1), flat.amax(1)
        if torch.equal(low, high):
            return "flat", tuple(low.tolist()), self._digits
        return part  # like no other

    def keep(self, key: Any, values: Tensor, there: Box) -> None:
        """Keep what a window returned, as long as there is room: of one that is unchanged what is read."""
        if isinstance(key, Part):
            return
        whole = values.nbytes * len(self.tiling.corners)
        if (
            self._reading is None and whole > self.room
        ):  # by the time that one of them is asked for again it is gone
            return
        if key[0] == "unchanged":
            values = values[(slice(None), *there)]
        if values.nbytes > self.room:
            return
        self._kept[key] = values.clone()
        self._bytes += values.nbytes
        while self._bytes > self.room:
            _, oldest = self._kept.popitem(last=False)
            self._bytes -= oldest.nbytes

    def known(self, key: Any, there: Box) -> Tensor | None:
        """Return what a window returned at a part of it, if that is kept."""
        found = self._kept.get(key)
        if found is None:
            return None
        self._kept.move_to_end(key)
        return found if key[0] == "unchanged" else found[(slice(None), *there)]


@dataclass
class _Ask:
    """Where what a window returns is added, with which weight per place: (outputs, *box) and (*size)."""

    corner: Corner
    out: Tensor
    weight: Tensor


class _Work:
    """Windows that are asked for, run in batches; those that return the same are run once.

    Parameters
    ----------
    cache
        What keeps them.
    box
        What is read, on the padded grid.
    of
        How many windows are looked at.
    """

    def __init__(self, cache: WindowCache, box: Box, of: int):
        self.cache, self.box, self.done, self.of = cache, box, 0, of
        self.batch = cache.network.batch_of_windows(False)
        self._waiting: dict[Any, tuple[Tensor, list[_Ask]]] = {}

    def ask(self, padded: Tensor, part: Part, key: Any, out: Tensor, weight: Tensor) -> None:
        """Ask for what a window returns; `key` tells which return the same."""
        asked = _Ask(part.corner, out, weight)
        if key not in self._waiting:
            shared = self._shared(part.corner)
            known = None if shared is None else self.cache.known(key, shared[1])
            if known is not None and shared is not None:
                here, there = shared
                out[(slice(None), *here)] += known * weight[there]
                self._tell(1)
                return
            window = padded[(part.sample, slice(None), *self.cache.tiling.place(part.corner))]
            self._waiting[key] = window, []
        self._waiting[key][1].append(asked)
        if len(self._waiting) == self.batch:
            self.finish()

    def finish(self) -> None:
        """Run what is waiting."""
        if not self._waiting:
            return
        cache = self.cache
        waiting, self._waiting = self._waiting, {}
        windows = torch.stack([window for window, _ in waiting.values()])
        returned = run_views(cache.network.returned, windows, cache.tiling.rule)
        cache.run += len(waiting)
        for (key, (_, asked)), values in zip(waiting.items(), returned, strict=True):
            for one in asked:
                add(one.out, self.box, values, cache.tiling, one.corner, one.weight)
            if (shared := self._shared(asked[0].corner)) is not None:
                cache.keep(key, values, shared[1])
            self._tell(len(asked))

    def _shared(self, corner: Corner) -> tuple[Box, Box] | None:
        return overlap(self.box, self.cache.tiling.place(corner))

    def _tell(self, more: int) -> None:
        self.done += more
        part_done(min(self.done, self.of), self.of)
