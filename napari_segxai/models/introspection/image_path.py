"""The path of the image through a network: the operations that the output is made from, their resolution, their names."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property

from napari_segxai.models.introspection.layout import infer_layout
from napari_segxai.models.introspection.operations import Node
from napari_segxai.models.introspection.trace import Trace

LARGE_BLOCK = 0.4
"""A call with more than this share of all calls below it is not a block but a part of the network."""


class ImagePath:
    """The graph of one pass, restricted to the path of the image.

    Sets of nodes are whole numbers, one bit a node: unions and tests cost next to nothing.

    Parameters
    ----------
    trace
        One forward pass, whose `end` is known.
    named
        The calls that are network layers: position in `trace.calls` -> (channels, *cells).

    Attributes
    ----------
    alive, on_path
        The nodes that the output is made from, and those of them on the path: gates and keys of attentions aside.
    order
        The nodes on the path, in order of execution.
    main, next
        What a node reads on the path, and what reads it.
    before, depth
        Everything on the path that a node depends on; the length of the longest way to it.
    channels, level
        Of a node's result. Levels are half octaves of resolution: 0 is the grid, 2 half of it per axis.
    dominator
        The last node that every way to a node passes.
    notes
        What could not be told.
    """

    def __init__(self, trace: Trace, named: Mapping[int, tuple[int, ...]]):
        self.calls, self.nodes, self.named = trace.calls, trace.nodes, named
        assert trace.end is not None
        self.end = trace.end
        self.grid, self.outputs = trace.grid, trace.outputs
        self.notes: list[str] = []
        self.alive = self._behind(lambda node: node.reads)
        on_path = self._behind(lambda node: node.main)
        self.order = [k for k in range(len(self.nodes)) if on_path >> k & 1]
        self.on_path = on_path
        self.main = {k: [p for p in self.nodes[k].main if on_path >> p & 1] for k in self.order}
        self.next: dict[int, list[int]] = {k: [] for k in self.order}
        self.before: dict[int, int] = {}
        self.depth: dict[int, int] = {}
        for k in self.order:
            self.before[k], self.depth[k] = 0, 0
            for p in self.main[k]:
                self.next[p].append(k)
                self.before[k] |= self.before[p] | 1 << p
                self.depth[k] = max(self.depth[k], self.depth[p] + 1)
        self.channels: dict[int, int | None] = {}
        self.level = self._levels()
        self.dominator = self._dominators()

    def _behind(self, reads: Callable[[Node], Sequence[int]]) -> int:
        found, waiting = 0, [self.end]
        while waiting:
            k = waiting.pop()
            if not found >> k & 1:
                found |= 1 << k
                waiting += reads(self.nodes[k])
        return found

    def depends(self, k: int, on: int) -> bool:
        """Tell whether node `k` comes after node `on` on the path, or is it."""
        return k == on or bool(self.before[k] >> on & 1)

    def furthest(self, nodes: Sequence[int]) -> int:
        """Return the node to which the longest way leads."""
        return max(nodes, key=self.depth.__getitem__)

    def _dominators(self) -> dict[int, int]:
        """Return the immediate dominator of every node: the last one that every way to it passes."""
        first = self.order[0]
        found = {first: first}
        for k in self.order[1:]:
            ways = [p for p in self.main[k] if p in found]
            if ways:
                meet = ways[0]
                for p in ways[1:]:
                    a, b = meet, p
                    while a != b:  # nodes are numbered in order of execution
                        a, b = (found[a], b) if a > b else (a, found[b])
                    meet = a
                found[k] = meet
        return found

    def _levels(self) -> dict[int, int | None]:
        """Return the level of resolution of every node on the path, in half octaves: 0 the grid, 2 half of it.

        What a gate, a squeeze-and-excitation or a pooled cell of a pyramid works on is not a level of the image's path.
        """
        cells = {k: self._cells(k) for k in self.order}
        total, dims = math.prod(self.grid), len(self.grid)
        raw: dict[int, float] = {}  # the logarithm of the stride, as the operations tell it
        own: dict[int, int | None] = {}
        # cells per axis of the last map that an operation on maps gave
        places: dict[int, tuple[float, ...]] = {}
        certain: set[int] = set()  # nodes before which came no pooling or interpolation to a given size
        for k in self.order:
            read, scale = min((raw[p] for p in self.main[k]), default=0.0), self.nodes[k].scale
            shown = cells[k]
            same = shown is None or self._keeps_places(k) or k == self.order[0]
            before = max((places[p] for p in self.main[k]), key=math.prod, default=self.grid)
            read -= _unseen_change(before, self.nodes[k].taken)
            spatial = self.nodes[k].cells is not None or scale is not None
            maps = spatial and len(self.nodes[k].shape) == dims + 2
            places[k] = self.nodes[k].shape[2:] if maps else before
            if scale is not None:
                raw[k] = read + math.log2(scale)
            else:
                raw[k] = read if shown is None or same else math.log2(total / shown) / dims
            if scale is None and not same and not maps:  # a network layer shows it
                places[k] = tuple(n / 2 ** raw[k] for n in self.grid)
            if (same or scale is not None) and certain.issuperset(self.main[k]):
                certain.add(k)
            own[k] = None if scale is None and shown is None else max(0, round(2 * raw[k]))

        def fill(known: set[int] | None) -> dict[int, int | None]:
            out: dict[int, int | None] = {}
            for k in self.order:
                if own[k] is not None and (known is None or own[k] in known):
                    out[k] = own[k]
                else:
                    out[k] = min((read for p in self.main[k] if (read := out[p]) is not None), default=None)
            return out

        level = fill(None)
        known = {0}
        for k in self.order:
            node, own_level, own_cells = self.nodes[k], level[k], cells[k]
            works = node.wide or node.mixes or (node.learned and k in certain)
            if works and (own_cells is None or own_cells > 1) and own_level is not None:
                known.add(own_level)
            if node.upward and k in certain:  # it mixes what it reads, at that resolution
                known |= {read for p in self.main[k] if (read := level[p]) is not None}
        return fill(known)

    def _keeps_places(self, k: int) -> bool:
        """Tell whether a node's result lies as one that it reads: (N, channels, *cells), or channels last."""
        own = self.nodes[k].shape
        shapes = [self.nodes[p].shape for p in self.main[k] if len(self.nodes[p].shape) == len(own)]
        if len(own) == len(self.grid) + 2:
            return any(shape[2:] == own[2:] for shape in shapes)
        return any(shape[:-1] == own[:-1] for shape in shapes)

    def _cells(self, k: int) -> int | None:
        """Places in a node's result, as the operation or a network layer that returned it shows them."""
        node, total = self.nodes[k], math.prod(self.grid)
        cells, channels = node.cells, node.channels
        for call in node.names:
            if cells is not None:
                break
            shape = self.calls[call].shape
            layout = None if shape is None or call not in self.named else infer_layout(shape, self.grid)
            if layout is None or not 1 < math.prod(layout.cells) <= 4 * total:
                continue
            if layout.kind == "tokens" and any(n % c for n, c in zip(self.grid, layout.cells, strict=True)):
                continue  # a window with an edge put on
            strides = [n / c for n, c in zip(self.grid, layout.cells, strict=True)]
            if min(strides) >= 0.9 and max(strides) < 1.35 * min(strides):
                cells, channels = math.prod(layout.cells), self.named[call][0]
        if channels is None:
            known = [self.channels.get(p) or 0 for p in self.main[k]]
            channels = max(known, default=0) or None
        self.channels[k] = channels
        return cells

    def stride(self, k: int) -> float:
        """Return the cells of the grid per cell and axis at a node."""
        return 2 ** ((self.level[k] or 0) / 2)

    def resolution(self, level: int | None) -> str:
        """Return a level in words."""
        return "full resolution" if not level else f"1/{2 ** (level / 2):.3g}"

    @cached_property
    def below(self) -> list[int]:
        """Number of calls inside each call."""
        count = [0] * len(self.calls)
        for call in self.calls:
            parent = call.parent
            while parent is not None:
                count[parent] += 1
                parent = self.calls[parent].parent
        return count

    def is_block(self, call: int) -> bool:
        """Tell whether a call is small enough to be a block, and can be named as a network layer."""
        few = self.below[call] <= LARGE_BLOCK * len(self.calls) and not self.calls[call].pyramid
        return few and call in self.named and self.calls[call].read

    def own_name(self, k: int) -> str | None:
        """Return the outermost block that made a node; for what no block made, one that handed it on."""
        node = self.nodes[k]
        found = [call for call in node.names or node.handed[:1] if call in self.named]
        blocks = [call for call in found if self.is_block(call)]
        chosen = blocks[-1:] or found[:1]
        return self.calls[chosen[0]].name if chosen else None

    def name_at_or_before(self, k: int) -> tuple[str | None, bool]:
        """Return the nearest name at or before a node, and whether it is of that very map (no join, no layer between).

        Of several branches without a name in between, the one whose layer ran last counts.
        """
        exact, found, seen, waiting = True, -1, set(), [k]
        while waiting:
            k = waiting.pop()
            if k in seen:
                continue
            seen.add(k)
            if self.own_name(k) is not None:
                found = max(found, k)
                continue
            exact = exact and not self.nodes[k].learned and len(self.main[k]) == 1
            waiting += self.main[k]
        return (None, False) if found < 0 else (self.own_name(found), exact)

    def name_behind(self, k: int) -> str:
        """Return the outermost network layer that returns a node or the nearest one after it."""
        while self.own_name(k) is None and self.next[k]:
            k = min(self.next[k])
        names = [call for call in self.nodes[k].names or self.nodes[k].handed[:1] if call in self.named]
        return self.calls[names[-1]].name if names else "output"

    def nesting(self, call: int) -> int:
        """Return how many calls a call lies in."""
        count, parent = 0, self.calls[call].parent
        while parent is not None:
            count, parent = count + 1, self.calls[parent].parent
        return count


def _unseen_change(before: Sequence[float], taken: Sequence[int] | None) -> float:
    """Return by how many octaves a map was enlarged by what shows no resolution (slices with steps, reordered cells).

    Parameters
    ----------
    before
        Cells per axis of the last map that was seen.
    taken
        Those that a convolution or pooling reads; None where it cannot be told.
    """
    if taken is None or len(taken) != len(before) or not all(before):
        return 0.0
    ratios = [b / a for a, b in zip(before, taken, strict=True)]
    even = max(ratios) <= 1.05 * min(ratios)
    return math.log2(ratios[0]) if even and not 2 / 3 < ratios[0] < 1.5 else 0.0
