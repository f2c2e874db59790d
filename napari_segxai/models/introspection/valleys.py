"""Where resolution is lowest on the path of the image, and which network layer stands for that place."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from napari_segxai.models.introspection.image_path import ImagePath


@dataclass(frozen=True)
class Valley:
    """A local minimum of resolution along the path.

    Attributes
    ----------
    level
        See `ImagePath.level`.
    rises
        Whether resolution rises again before the head.
    node
        The bottleneck.
    name
        The network layer that stands for it; None where none can be named.
    """

    level: int
    rises: bool
    node: int
    name: str | None


def find_valleys(path: ImagePath, last: int) -> list[Valley]:
    """Return the valleys before a node, in order of execution."""
    chain = dominators_of(path, last)
    level = {k: path.level[k] or 0 for k in path.order}
    found = _minima(_profile(path, chain, level))
    if len(found) > 1:  # blocks that look at lower resolutions inside (U2-Net) are not stages of a cascade
        flat = _minima(_profile(path, chain, _without_dips_of_blocks(path, level)))
        if 0 < len(flat) < len(found):
            path.notes.append(
                "blocks have lower resolutions of their own inside; the bottleneck is that between blocks"
            )
            found = flat
    out = []
    for lowest, nodes, rises in found:
        node, name = _bottom(path, last, lowest, nodes)
        out.append(Valley(lowest, rises, node, name))
    return out


def dominators_of(path: ImagePath, node: int) -> list[int]:
    """Return the nodes that every way to a node passes, in order, it included."""
    found = [node]
    while path.dominator[found[-1]] != found[-1]:
        found.append(path.dominator[found[-1]])
    return found[::-1]


def middle_of_view(path: ImagePath, last: int) -> str | None:
    """Return the first network layer that everything passes and that sees at least half as far as `last`."""
    sees: dict[int, tuple[int, float]] = {}
    for k in path.order:
        width, step = max((sees[p] for p in path.main[k]), default=(1, 1.0))
        reach = path.nodes[k].reach
        if reach is not None:
            extent, stride, up = reach
            step_after = step / stride if up else step * stride
            width += round(extent * (step_after if up else step))
            step = step_after
        sees[k] = width, step
    half = sees[last][0] / 2
    found = [k for k in dominators_of(path, last) if k and sees[k][0] >= half and path.own_name(k)]
    return path.own_name(found[0]) if found else None


def _profile(path: ImagePath, chain: Sequence[int], level: Mapping[int, int]) -> list[tuple[int, list[int]]]:
    """Return level and nodes along the dominators; a gap in which resolution is lower counts with its lowest."""
    found = []
    for a, b in itertools.pairwise(chain):
        inside = [k for k in path.order if a < k < b and path.before[b] >> k & 1 and path.before[k] >> a & 1]
        lowest = max((level[k] for k in inside), default=0)
        if lowest > max(level[a], level[b]):
            found.append((lowest, [k for k in inside if level[k] == lowest]))
        found.append((level[b], [b]))
    return found


def _minima(profile: Sequence[tuple[int, list[int]]]) -> list[tuple[int, list[int], bool]]:
    """Return level, nodes, and whether resolution rises behind it, of every local minimum of resolution."""
    levels = [level for level, _ in profile]
    found, start = [], 0
    while start < len(levels):
        stop = start
        while stop + 1 < len(levels) and levels[stop + 1] == levels[start]:
            stop += 1
        before = levels[start - 1] if start else 0
        after = levels[stop + 1] if stop + 1 < len(levels) else -1
        if levels[start] > before and levels[start] > after:
            nodes = [k for _, part in profile[start : stop + 1] for k in part]
            found.append((levels[start], nodes, after >= 0))
        start = stop + 1
    return found


def _without_dips_of_blocks(path: ImagePath, level: Mapping[int, int]) -> dict[int, int]:
    """Return the levels with every outermost block at the lower of the resolutions at which it begins and ends."""
    out = dict(level)
    inside: dict[int, list[int]] = {}
    for k in path.order:
        block, call = None, path.nodes[k].call
        while call is not None:
            block = call if path.is_block(call) else block
            call = path.calls[call].parent
        if block is not None:
            inside.setdefault(block, []).append(k)
    for nodes in inside.values():
        own = set(nodes)
        begins = max((level[p] for k in nodes for p in path.main[k] if p not in own), default=0)
        ends = max(begins, level[nodes[-1]])
        for k in nodes:
            out[k] = min(level[k], ends)
    return out


def _bottom(path: ImagePath, last: int, level: int, nodes: Sequence[int]) -> tuple[int, str | None]:
    """Return the bottleneck of a valley: the node, and the network layer that stands for it.

    That is the outermost block around the place where space is last mixed at that level, else the network layer in which
    that place lies or the next one behind it, else the nearest before it.
    """
    stop = _end_of(path, nodes, level)
    mixing = _last_mixing(path, stop, level)
    blocks = _blocks_around(path, mixing, stop, level) + _blocks_behind(path, last, mixing, stop, level)
    if blocks:
        return _outermost(path, blocks)
    k = _named_from(path, mixing, stop, level)
    if (own := path.own_name(k)) is not None:
        around = _blocks_around(path, k, stop, level) if k != mixing else []  # a block whose first part it is
        return _outermost(path, around) if around else (k, own)
    name, exact = path.name_at_or_before(mixing)
    if not exact and name is not None:
        path.notes.append(
            f"the lowest resolution is made between network layers ({path.nodes[mixing].op}); the nearest is {name}"
        )
    return mixing, name


def _end_of(path: ImagePath, nodes: Sequence[int], level: int) -> int:
    """Return the last node of a valley, back over a concatenation of nested branches and over what only rearranges values."""
    stop = path.furthest(nodes)
    while (back := _back_from(path, stop, level)) is not None:
        stop = back
    return stop


def _last_mixing(path: ImagePath, stop: int, level: int) -> int:
    """Return the last place up to `stop` where space is mixed or branches join; `stop` itself where that is a mere pooling."""
    mixing = stop
    while not path.nodes[mixing].mixes and len(path.main[mixing]) == 1:
        before = path.main[mixing][0]
        if path.level[before] != level:
            break
        mixing = before
    node = path.nodes[mixing]
    # of a pooling, what learns after it counts
    return mixing if node.mixes or node.learned or len(path.main[mixing]) > 1 else stop


def _blocks_behind(path: ImagePath, last: int, k: int, stop: int, level: int) -> list[tuple[int, int, int]]:
    """Return the blocks that end behind `k`, over what learns nothing, such as an activation: (nesting, -node, call)."""
    found: list[tuple[int, int, int]] = []
    while len(path.next[k]) == 1 and path.next[k][0] <= stop:
        k = path.next[k][0]
        if not _only_shapes(path, last, k, level):
            break
        found += [(path.nesting(call), -k, call) for call in path.nodes[k].names if path.is_block(call)]
    return found


def _outermost(path: ImagePath, blocks: Sequence[tuple[int, int, int]]) -> tuple[int, str]:
    _, node, call = min(blocks)
    return -node, path.calls[call].name


def _named_from(path: ImagePath, k: int, stop: int, level: int) -> int:
    """Return the first node from `k` on, up to `stop`, that is a network layer's own; where none is, the last one."""
    while path.own_name(k) is None and k != stop:
        onward = [n for n in path.next[k] if path.level[n] == level and path.depends(stop, n)]
        if not onward:
            break
        k = min(onward)
    return k


def _back_from(path: ImagePath, stop: int, level: int) -> int | None:
    node, reads = path.nodes[stop], path.main[stop]
    if node.op == "cat" and len(reads) > 1:
        inner = path.furthest(reads)
        nested = all(path.before[inner] >> p & 1 for p in reads if p != inner) and path.level[inner] == level
        return inner if nested and 2 * (path.channels[inner] or 0) >= node.shape[1] else None
    plain = not node.learned and len(reads) == 1 and not node.mixes and not node.names
    return reads[0] if plain and path.level[reads[0]] == level else None


def _blocks_around(path: ImagePath, mixing: int, stop: int, level: int) -> list[tuple[int, int, int]]:
    """Return the blocks around a node that return something between it and `stop`: (nesting, -node, call)."""
    found, call = [], path.nodes[mixing].call
    while call is not None:
        out = path.calls[call].node
        at_level = out in path.level and path.level[out] == level
        if at_level and path.is_block(call) and path.depends(stop, out) and path.depends(out, mixing):
            found.append((path.nesting(call), -out, call))
        call = path.calls[call].parent
    return found


def _only_shapes(path: ImagePath, last: int, k: int, level: int) -> bool:
    node = path.nodes[k]
    spatial = node.op == "convolution" or "_pool" in node.op or "upsample" in node.op
    other = node.learned or node.attends or spatial or node.op in ("cat", "native_layer_norm")
    return path.level[k] == level and not other and len(path.main[k]) == 1 and path.depends(last, k)
