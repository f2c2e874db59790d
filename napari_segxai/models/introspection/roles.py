"""What each network layer is for: bottleneck, encoder, decoder, skip connection, head; told from one traced pass.

The path of the image is what the output is made from, gates and the keys of attentions aside. Along the places that
all of it has to pass (dominators), resolution falls and rises again; each valley has a bottleneck. A skip connection
jumps over a valley. Class names and numbers of channels decide nothing.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from napari_segxai.models.introspection.image_path import ImagePath
from napari_segxai.models.introspection.skips import Skip, find_skips
from napari_segxai.models.introspection.trace import Trace
from napari_segxai.models.introspection.valleys import Valley, dominators_of, find_valleys, middle_of_view
from napari_segxai.models.introspection.whereabouts import whereabouts

Stage = Literal["encoder", "bottleneck", "decoder", "head", "skip", "side", "unused"]


@dataclass(frozen=True)
class Roles:
    """What the network layers are for.

    Attributes
    ----------
    bottlenecks
        One name per valley of resolution, in order of execution; empty for a network that stays at one resolution.
    middle
        What stands for the bottleneck there: the first layer that sees half as far as the last one.
    last
        The map that the head reads.
    head
        The layer that makes the labels; None where several do together.
    linear_head
        The same, if it is a 1x1 convolution and nothing that learns comes after it.
    skips
        The skip connections.
    stages, reasons
        By name of the layer: what it is for, and why, in one phrase.
    elsewhere
        By name of the layer: in what way its map does not lie as the image does.
    notes
        What could not be told, and what a user should know.
    """

    bottlenecks: tuple[str, ...] = ()
    middle: str | None = None
    last: str | None = None
    head: str | None = None
    linear_head: str | None = None
    skips: tuple[Skip, ...] = ()
    stages: Mapping[str, Stage] = field(default_factory=dict)
    reasons: Mapping[str, str] = field(default_factory=dict)
    elsewhere: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def find_roles(trace: Trace, named: Mapping[int, tuple[int, ...]]) -> Roles:
    """Tell what the network layers are for.

    Parameters
    ----------
    trace
        One forward pass.
    named
        The calls that are network layers: position in `trace.calls` -> (channels, *cells).
    """
    if trace.end is None:
        why = "the output could not be followed back to the image"
        names = [trace.calls[k].name for k in named]
        return Roles(stages=dict.fromkeys(names, "side"), reasons=dict.fromkeys(names, why), notes=(why,))
    path = ImagePath(trace, named)
    head = _Head.of(path)
    last, exact = path.name_at_or_before(head.reads)
    if last is not None and not exact:
        path.notes.append(
            f"what makes the labels reads a map made between network layers; the nearest is {last}"
        )
    valleys = find_valleys(path, head.reads)
    middle = None if valleys else middle_of_view(path, head.reads)
    skips = tuple(dict.fromkeys(find_skips(path, [valley.node for valley in valleys])))
    stages, reasons = _stages(path, valleys, head, middle)
    for skip in skips:
        if skip.source in reasons and "jumps" not in reasons[skip.source]:
            reasons[skip.source] += f"; jumps to {skip.target}"
    odd = whereabouts(path)
    elsewhere = {path.calls[call].name: odd[node] for call in named if (node := path.calls[call].node) in odd}
    for name, how in elsewhere.items():
        reasons[name] += f"; {how}"
    if last is not None:
        near = "" if exact else "nearest to the "
        reasons[last] += f"; {near}last map before the labels"
    return Roles(
        bottlenecks=tuple(valley.name for valley in valleys if valley.name is not None),
        middle=middle,
        last=last,
        head=None if head.several else head.name(path),
        linear_head=head.name(path) if head.linear else None,
        skips=skips,
        stages=stages,
        reasons=reasons,
        elsewhere=elsewhere,
        notes=tuple(dict.fromkeys(path.notes)),
    )


@dataclass(frozen=True)
class _Head:
    """The operation that makes the labels.

    Attributes
    ----------
    node
        None for a network that learns nothing.
    reads
        The node that it reads.
    several
        Whether others make labels beside it.
    linear
        Whether it is a 1x1 convolution, alone, with nothing that learns after it.
    """

    node: int | None
    reads: int
    several: bool = False
    linear: bool = False

    @classmethod
    def of(cls, path: ImagePath) -> _Head:
        """Find the first operation that learns, back from the output."""
        front, seen, waiting = [], set(), [path.end]
        while waiting:
            k = waiting.pop()
            if k not in seen:
                seen.add(k)
                if path.nodes[k].learned:
                    front.append(k)
                else:
                    waiting += path.main[k]
        if not front:
            return cls(None, path.furthest(path.main[path.end]) if path.main[path.end] else path.end)
        first = path.furthest(front)
        parallel = [k for k in front if k != first and not path.before[first] >> k & 1]
        if parallel:
            path.notes.append(f"the output joins the maps of {1 + len(parallel)} last layers")
        node = _into_joined_labels(path, _past_mixing_of_labels(path, first))
        linear = node == first and not parallel and path.nodes[node].op == "convolution"
        return cls(node, path.main[node][-1], bool(parallel), linear and path.nodes[node].pointwise)

    def name(self, path: ImagePath) -> str | None:
        """Return the innermost network layer that returns the labels."""
        if self.node is None:
            return None
        found = [call for call in path.nodes[self.node].names if call in path.named]
        return path.calls[found[0]].name if found else None


def _past_mixing_of_labels(path: ImagePath, head: int) -> int:
    """Return the layer that makes the labels from more channels, where the head only mixes labels by a 1x1 layer (VNet)."""
    if not path.nodes[head].pointwise or path.outputs == 1:
        return head
    k = path.main[head][-1]
    while not path.nodes[k].learned and len(path.main[k]) == 1:
        k = path.main[k][0]
    narrow = path.channels[k] == path.channels[head] == path.outputs
    made = path.nodes[k].learned and not path.nodes[k].upward and narrow
    return k if made and (path.channels[path.main[k][-1]] or 0) > path.outputs else head


def _into_joined_labels(path: ImagePath, head: int) -> int:
    """Return what makes the finest label map, where the head reads a concatenation of label maps (U2-Net)."""
    while True:
        joined = path.main[head][-1]
        if path.nodes[joined].op != "cat" or len(path.main[joined]) < 2:
            return head
        branches = []
        for k in path.main[joined]:
            while not path.nodes[k].learned and len(path.main[k]) == 1:
                k = path.main[k][0]
            branches.append(k)
        if not all(path.nodes[k].learned and path.channels[k] == path.outputs for k in branches):
            return head
        path.notes.append(f"the last layer joins {len(branches)} label maps; the finest is taken")
        head = min(branches, key=lambda k: (path.level[k] or 0, -path.depth[k]))


def _stages(
    path: ImagePath, valleys: Sequence[Valley], head: _Head, middle: str | None
) -> tuple[dict[str, Stage], dict[str, str]]:
    bottoms = [valley.node for valley in valleys]
    turns = _turns(path, bottoms, head.reads)
    by_name = {valley.name: k for k, valley in enumerate(valleys)}
    stages: dict[str, Stage] = {}
    reasons: dict[str, str] = {}
    for call in path.named:
        name, node = path.calls[call].name, path.calls[call].node
        if node is None:
            stages[name], reasons[name] = "side", "does not depend on the image"
            continue
        if not path.alive >> node & 1:
            # A later map that depends on no image may have been made of this one outside of torch.
            if any(path.calls[later].node is None for later in path.named if later > call):
                stages[name], reasons[name] = "side", "it could not be followed what reads it"
            else:
                stages[name], reasons[name] = "unused", "not used for this output"
            continue
        if not path.calls[call].read:
            stages[name] = "unused"
            reasons[name] = "nothing after it reads the first map that it returns; its parts are read"
            continue
        if not path.on_path >> node & 1:
            stages[name], reasons[name] = "side", "only weights or shifts another map"
            continue
        at = path.resolution(path.level[node])
        if name in by_name:
            stages[name], reasons[name] = "bottleneck", _why_bottleneck(by_name[name], valleys, at)
        elif head.node is not None and path.depends(node, head.node):
            stages[name], reasons[name] = (
                "head",
                "makes the labels" if node == head.node else "after the labels",
            )
        elif name == middle:
            stages[name] = "encoder"
            reasons[name] = (
                "no lower resolution in this network: the first map that sees half as far as the last"
            )
        else:
            stages[name] = _side_of(path, node, bottoms, turns)
            reasons[name] = f"at {at}"
        if path.calls[call].handed_on:
            reasons[name] += "; hands its input on"
    return stages, reasons


def _why_bottleneck(number: int, valleys: Sequence[Valley], at: str) -> str:
    what = "deepest map that the output depends on"
    if len(valleys) > 1:
        what = f"deepest map of stage {number + 1} of {len(valleys)}"
    return f"{what} ({at})" + (
        "" if valleys[number].rises else "; no decoder: resolution rises only after the last layer"
    )


def _turns(path: ImagePath, bottoms: Sequence[int], last: int) -> list[int]:
    """Return where each stage of a cascade ends: the narrowest place at the highest resolution between two bottlenecks."""
    chain, found = dominators_of(path, last), []
    for a, b in itertools.pairwise(bottoms):
        between = [k for k in chain if a < k < b and path.depends(b, k)]
        highest = min((path.level[k] or 0 for k in between), default=0)
        top = [k for k in between if (path.level[k] or 0) == highest]
        found.append(min(top, key=lambda k: (path.channels[k] or math.inf, k), default=a))
    return found


def _side_of(path: ImagePath, node: int, bottoms: Sequence[int], turns: Sequence[int]) -> Stage:
    if not bottoms:
        return "encoder"
    stage = sum(1 for turn in turns if node != turn and path.depends(node, turn))
    if path.depends(bottoms[stage], node):
        return "encoder"
    return "decoder" if path.depends(node, bottoms[stage]) else "skip"
