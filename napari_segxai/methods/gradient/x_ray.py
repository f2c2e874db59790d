"""X-ray: what the network looks at along a thin object, node by node of its skeleton.

M is thinned to its skeleton. Ends, junctions and the middles of the pieces between them are the nodes; each is asked
about by itself, y_k = score of the label at node k:

    integrated gradients   S_k = sum over channels (x - x') * integral_0^1 grad y_k(x' + t (x - x')) dt
    input x gradient       S_k = sum over channels x * grad y_k(x)

Garret, Vacavant, Frindel, XAI-VesselNet, 2023, for vessels of the liver (50 points, baseline zero). The map is the
sum over the nodes. A table tells for every node: place and kind, whether the network drew it, thickness of M there,
how much of S_k lies how far away, total variation of S_k (over all neighbours, diagonals included, as a share of sum
|S_k|), blobs of |S_k| above Otsu's threshold, and how far the sum of S_k is from the change of the score
(completeness). Points on the path are placed where the score over M changes most, as in integrated-gradients, and
shared by the nodes. Cost: nodes x steps forward and backward passes and steps + 1 forward, or nodes of them.

It suits vessels, nerves, roads, cracks: a compact object has a skeleton too, but its nodes mean little. Trust
distances and differences between nodes more than single pixels; raise steps while the residual is large. The paper
explains the network's last activation and finds blobs with a Frangi filter over scales; here it is the target's
score, a logit unless asked otherwise, and a threshold. A node is drawn or missed; which of them are false needs a
truth. Input x gradient has no baseline. Distances are in the image's units, along straight lines, not along the
object. With a drawn region as M (the truth, say), "missed" nodes show what the network looked at where it failed.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from napari_segxai.core.options import option
from napari_segxai.core.progress import Passes, Steps
from napari_segxai.engine.finding import Finding
from napari_segxai.engine.masking.baselines import HELP, Baseline
from napari_segxai.engine.primitives.input_gradients import input_gradients
from napari_segxai.engine.primitives.path_integral import Completeness, adaptive_nodes, midpoints, on_the_line
from napari_segxai.engine.question import Question
from napari_segxai.methods.registry import Size, explainer

SMALLEST_BLOB = 5
"""Cells below which a blob is left out, as in the paper."""
OFF = 0.1
"""Share of the change of a score by which the sum of a map may miss it before that is told."""


@dataclass(frozen=True)
class Options:
    """Parameters of x-ray."""

    attribution: Literal["integrated gradients", "input x gradient"] = option(
        "integrated gradients", help="the map that is made of every node"
    )
    steps: int = option(16, ge=1, help="points on the path of integrated gradients")
    rule: Literal["adaptive", "midpoint"] = option(
        "adaptive", help="points where the score changes most, or in equal intervals", advanced=True
    )
    nodes: int = option(8, ge=1, help="largest number of nodes that are explained, spread over all")
    kinds: Literal["all", "ends", "junctions", "middles"] = option("all", help="which nodes are asked about")
    node_maps: bool = option(False, help="also keep the map of every node")
    baseline: Baseline = option("zero", help=HELP, advanced=True)


@dataclass(frozen=True)
class Node:
    """A point of a skeleton.

    Attributes
    ----------
    kind
        "end", "junction" or "middle".
    at
        Its index.
    """

    kind: Literal["end", "junction", "middle"]
    at: tuple[int, ...]


def _passes(options: Options, size: Size) -> Passes:
    if options.attribution == "input x gradient":
        return Passes(1 + options.nodes, options.nodes)
    points = options.nodes * options.steps
    return Passes(2 + points + (options.steps - 1 if options.rule == "adaptive" else 0), points)


@explainer(
    "x-ray",
    title="X-ray of a thin object",
    question="evidence",
    needs=("gradients",),
    summary="what the network looks at along a thin object, and how far from each end, junction and middle",
    unit="part of the {score} at the nodes",
    source="Garret et al. (XAI-VesselNet), 2023",
    cites=("garret2023",),
    reads="pixel scores",
    options=Options,
    passes=_passes,
    presets={"paper": {"steps": 50, "nodes": 32, "rule": "midpoint"}},
)
def x_ray(question: Question, options: Options) -> Steps[Finding]:
    """Make one map per node, and measure it."""
    pixels = question.pixels.cpu().numpy()
    yield question.step("prediction")
    skeleton = thinned(pixels)
    found = nodes_of(skeleton)
    wanted = {"ends": "end", "junctions": "junction", "middles": "middle"}.get(options.kinds)
    found = [node for node in found if wanted in (None, node.kind)]
    nodes = spread(found, options.nodes)
    if not nodes:
        question.warnings.append(f"the skeleton of M has no {options.kinds}, so that the map is zero.")
    elif len(nodes) < len(found):
        question.warnings.append(
            f"{len(nodes)} of {len(found)} nodes are explained; raise nodes for the others."
        )
    integrate = options.attribution == "integrated gradients"
    m = options.steps if integrate else 1
    x = question.input
    start = question.baseline(options.baseline).expand_as(x) if integrate else torch.zeros_like(x)
    values = question.scores(question.logits)[0]
    changes: list[float | None] = [None] * len(nodes)
    ends = np.linspace(0, 1, m + 1)
    if integrate and nodes:
        with torch.inference_mode():
            nothing = question.forward(start.contiguous())
            lower = question.scores(nothing)[0]
            account = Completeness(float(question.score(nothing)), float(question.score(question.logits)))
        changes = [float(values[node.at] - lower[node.at]) for node in nodes]
        yield question.step("baseline")
        if options.rule == "adaptive":
            ends = yield from adaptive_nodes(question, start, account, m)
    places, lengths = midpoints(ends)
    places = torch.from_numpy(places).to(x)
    maps = torch.zeros(len(nodes), *question.grid)
    running = torch.zeros_like(x[0])
    now = range(0)
    done = 0

    def inputs(first: int, n: int) -> Tensor:
        nonlocal now
        now = range(first, first + n)
        if not integrate:
            return x.expand(n, *x.shape[1:])
        return on_the_line(start, x, places[torch.tensor(now, device=x.device) % m])

    def score(logits: Tensor) -> Tensor:
        scores = question.scores(logits)
        return torch.stack([scores[(i, *nodes[k // m].at)] for i, k in enumerate(now)])

    def consume(first: int, gradients: Tensor, _scores: Tensor) -> None:
        nonlocal done
        for k, gradient in zip(range(first, first + len(gradients)), gradients, strict=True):
            running.add_(gradient, alpha=float(lengths[k % m]))
            if k % m == m - 1:
                maps[k // m] = ((x - start)[0] * running).sum(0).cpu()
                running.zero_()
                done = k // m + 1

    def finding() -> Finding:
        return _report(question, options, skeleton, pixels, nodes[:done], maps[:done], changes)

    yield from input_gradients(
        question, len(nodes) * m, inputs, consume, note="node and point", score=score, partial=finding
    )
    result = finding()
    off = [row for row in result.curves["nodes"]["residual"] if abs(row) > OFF]
    if off:
        result.warnings.append(
            f"the maps of {len(off)} of {len(nodes)} nodes miss the change of the score by more than {OFF:.0%}; raise "
            "steps."
        )
    return result


# -- the skeleton ------------------------------------------------------------------------------------


def thinned(pixels: np.ndarray) -> np.ndarray:
    """Return the skeleton of a boolean array in 2D or 3D; its innermost pixel where thinning leaves nothing."""
    from scipy.ndimage import distance_transform_edt
    from skimage.morphology import skeletonize

    skeleton = skeletonize(pixels).astype(bool)
    if not skeleton.any() and pixels.any():
        depth = distance_transform_edt(pixels)
        skeleton[np.unravel_index(depth.argmax(), depth.shape)] = True
    return skeleton


def nodes_of(skeleton: np.ndarray) -> list[Node]:
    """Find ends, junctions and the middles of the pieces between them, ordered by kind and place.

    A junction is where three or more pieces meet; its node is the pixel nearest to the centre of the crowd there. A
    single pixel is an end.
    """
    from scipy.ndimage import binary_dilation, convolve, label

    everywhere = np.ones((3,) * skeleton.ndim, int)
    neighbors = np.where(skeleton, convolve(skeleton.astype(int), everywhere, mode="constant") - 1, -1)
    crowded, count = label(neighbors >= 3, everywhere)
    thin = skeleton & (crowded == 0)
    nodes = [Node("end", at) for at in _indices(neighbors == 1) + _indices(neighbors == 0)]
    junctions = np.zeros_like(skeleton)
    for number in range(1, count + 1):
        crowd = crowded == number
        arms = label(binary_dilation(crowd, everywhere) & thin, everywhere)[1]
        if arms >= 3:  # fewer: a corner
            junctions |= crowd
            places = np.argwhere(crowd)
            nearest = np.square(places - places.mean(0)).sum(1).argmin()
            nodes.append(Node("junction", tuple(int(v) for v in places[nearest])))
    pieces, count = label(skeleton & ~junctions, everywhere)
    nodes += [Node("middle", at) for k in range(1, count + 1) if (at := _middle(_indices(pieces == k)))]
    return sorted(set(nodes), key=lambda node: (node.kind, node.at))


def spread(nodes: Sequence[Node], most: int) -> list[Node]:
    """Return at most so many nodes, evenly spread over the list."""
    if len(nodes) <= most:
        return list(nodes)
    return [nodes[int(k)] for k in np.linspace(0, len(nodes) - 1, most).round()]


def _indices(mask: np.ndarray) -> list[tuple[int, ...]]:
    return [tuple(int(v) for v in at) for at in np.argwhere(mask)]


def _middle(piece: list[tuple[int, ...]]) -> tuple[int, ...] | None:
    """Return the pixel half-way along a piece of a skeleton; None for one of fewer than three pixels."""
    if len(piece) < 3:
        return None
    end = _walk(piece, piece[0])[-1]
    path = _walk(piece, end)
    back = _from(piece, path[-1])
    there = _from(piece, end)
    return min(piece, key=lambda at: (abs(there[at] - back[at]), there[at] + back[at], at))


def _walk(piece: list[tuple[int, ...]], start: tuple[int, ...]) -> list[tuple[int, ...]]:
    """Return the pixels in the order in which a walk from `start` reaches them."""
    return list(_from(piece, start))


def _from(piece: list[tuple[int, ...]], start: tuple[int, ...]) -> dict[tuple[int, ...], int]:
    """Return the number of steps from `start` to every pixel, in order of it."""
    left = set(piece) - {start}
    steps, queue = {start: 0}, deque([start])
    offsets = [tuple(o - 1 for o in offset) for offset in np.ndindex((3,) * len(start))]
    while queue:
        at = queue.popleft()
        for offset in offsets:
            near = tuple(a + o for a, o in zip(at, offset, strict=True))
            if near in left:
                left.remove(near)
                steps[near] = steps[at] + 1
                queue.append(near)
    return steps


# -- the table ---------------------------------------------------------------------------------------


def _report(
    question: Question,
    options: Options,
    skeleton: np.ndarray,
    pixels: np.ndarray,
    nodes: Sequence[Node],
    maps: Tensor,
    changes: Sequence[float | None],
) -> Finding:
    from scipy.ndimage import distance_transform_edt

    units, spacing = str(question.image.units), question.cell_size
    depth = distance_transform_edt(np.pad(pixels, 1), sampling=spacing)[(slice(1, -1),) * pixels.ndim]
    scores = question.scores(question.logits)[0]
    rows: list[dict[str, Any]] = []
    for k, node in enumerate(nodes):
        values = maps[k].numpy()
        total, change = float(values.sum()), changes[k]
        rows.append(
            {
                "node": k + 1,
                "kind": node.kind,
                **{f"cell_{axis}": at for axis, at in enumerate(node.at)},
                "status": "drawn" if bool(question.predicted[node.at]) else "missed",
                "score": float(scores[node.at]),
                f"thickness_{units}": 2 * float(depth[node.at]),
                "sum": total,
                "residual": (total - change) / max(abs(change), 1e-12)
                if change is not None
                else float("nan"),
                **statistics(values, node.at, spacing, units),
            }
        )
    where = torch.zeros(question.grid, dtype=torch.bool, device=question.device)
    for node in nodes:
        where[node.at] = True
    columns = list(rows[0]) if rows else ["node", "residual"]
    total_map = maps.sum(0).to(question.device)
    kinds = [node.kind for node in nodes]
    distances = [row[f"mean_distance_{units}"] for row in rows]
    return Finding(
        total_map,
        maps={f"node_{k + 1}": maps[k] for k in range(len(nodes))} if options.node_maps else {},
        masks={"skeleton": torch.from_numpy(skeleton).to(question.device), "nodes": where},
        curves={"nodes": {name: [row[name] for row in rows] for name in columns}},
        numbers={
            "nodes": len(nodes),
            "ends": kinds.count("end"),
            "junctions": kinds.count("junction"),
            "middles": kinds.count("middle"),
            "nodes_missed": sum(row["status"] == "missed" for row in rows),
            f"mean_distance_{units}": float(np.nanmean(distances)) if np.isfinite(distances).any() else None,
        },
        warnings=[],
    )


def statistics(
    values: np.ndarray, at: tuple[int, ...], spacing: Sequence[float], units: str
) -> dict[str, Any]:
    """Measure the map of one node.

    Parameters
    ----------
    values
        (*grid).
    at
        The node.
    spacing
        Lengths of a cell.

    Returns
    -------
    dict
        total_variation: sum of |differences| over all pairs of neighbours / sum |S|. mean_distance: from the node,
        weighted with |S|. blobs: connected parts of |S| above Otsu's threshold, of at least five cells; cells of the
        largest, and how far its centre is from the node. What a zero map leaves undefined is nan.
    """
    from scipy.ndimage import label
    from skimage.filters import threshold_otsu

    size = np.abs(values.astype(float))
    total = size.sum()
    out = {
        "total_variation": float("nan"),
        f"mean_distance_{units}": float("nan"),
        "blobs": 0,
        "largest_blob_cells": 0,
        f"largest_blob_distance_{units}": float("nan"),
    }
    if total == 0:
        return out
    axes = np.ogrid[tuple(slice(0, n) for n in values.shape)]
    distance = np.sqrt(sum(((a - p) * s) ** 2 for a, p, s in zip(axes, at, spacing, strict=True)))
    out["total_variation"] = variation(values) / total
    out[f"mean_distance_{units}"] = float((size * distance).sum() / total)
    if size.min() == size.max():
        return out
    parts, _ = label(size > threshold_otsu(size), np.ones((3,) * values.ndim))
    cells = np.bincount(parts.ravel())
    cells[0] = 0
    out["blobs"] = int((cells >= SMALLEST_BLOB).sum())
    if out["blobs"]:
        largest = int(cells.argmax())
        center = np.argwhere(parts == largest).mean(0)
        out["largest_blob_cells"] = int(cells[largest])
        out[f"largest_blob_distance_{units}"] = float(
            np.sqrt((((center - np.array(at)) * np.array(spacing)) ** 2).sum())
        )
    return out


def variation(values: np.ndarray) -> float:
    """Sum of |differences| over all pairs of neighbours, diagonals included (8 in 2D, 26 in 3D)."""
    total = 0.0
    for offset in np.ndindex((3,) * values.ndim):
        step = tuple(o - 1 for o in offset)
        if step <= (0,) * values.ndim:
            continue  # each pair once
        here = tuple(slice(max(0, -o), n - max(0, o)) for o, n in zip(step, values.shape, strict=True))
        there = tuple(slice(max(0, o), n - max(0, -o)) for o, n in zip(step, values.shape, strict=True))
        total += float(np.abs(values[there].astype(float) - values[here]).sum())
    return total
