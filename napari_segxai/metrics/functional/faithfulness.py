"""Showing and hiding pixels in the order of a map: what insertion, deletion and AOPC are made of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from napari_segxai.core.errors import UserError
from napari_segxai.core.progress import Steps
from napari_segxai.engine.masking.baselines import Baseline, Hide
from napari_segxai.engine.question import Question
from napari_segxai.metrics.functional.curve import Curve
from napari_segxai.metrics.functional.order import ranks
from napari_segxai.metrics.perturbed_copies import Copies, Reader, Responses, in_order, kept, look

Score = Literal["dice", "iou", "probability"]
Direction = Literal["insertion", "deletion"]

RANDOM = "random order"
"""Name of the control among the maps."""


@dataclass(frozen=True, eq=False)
class Faithfulness:
    """What showing and hiding pixels in the order of a map does.

    Attributes
    ----------
    share
        Of pixels shown or hidden, from 0 to 1: (steps + 1,).
    insertion, deletion
        What the network makes of it; arrays (steps + 1,).
    """

    share: np.ndarray
    insertion: Responses
    deletion: Responses

    def curve(self, which: Direction, score: Score = "dice") -> Curve:
        """Return one curve."""
        return Curve(self.share, getattr(getattr(self, which), score))


def aopc(scores: np.ndarray, reference: float) -> float:
    """Mean distance of the scores below a reference (Samek's area over the perturbation curve)."""
    return float((reference - np.asarray(scores)).mean())


def insertion_deletion(
    question: Question,
    maps: Mapping[str, Any],
    *,
    steps: int = 28,
    insertion_canvas: Baseline = "background",
    deletion_canvas: Baseline = "background",
    controls: int = 0,
    seed: int | None = None,
) -> Steps[dict[str, Faithfulness]]:
    """Insertion and deletion of several maps, in shared batches.

    Parameters
    ----------
    maps
        By name, each (*model grid).
    insertion_canvas, deletion_canvas
        What pixels that are not there yet, or no longer, become: "blur" for a blurred canvas, others are constant.
    controls
        Random orders to run as well; they come back under the name of `RANDOM`, numbered from the second on.
    seed
        Of ties and of random orders; that of the question by default.

    Returns
    -------
    dict
        A `Faithfulness` for every map. Costs 2 (steps - 1) forward passes a map, and one or two for the canvas.

    Raises
    ------
    UserError
        If a map is not on the model grid or there are no steps.
    EmptyRegion
        If there is no object.
    """
    seed = question.seed if seed is None else seed
    check_steps(steps)
    reader = Reader(question)
    tensors = {name: on_device(question, name, values) for name, values in maps.items()}
    tensors |= {
        control_name(k): random_map(question.grid, seed, k).to(question.device) for k in range(controls)
    }
    canvases = {"insertion": insertion_canvas, "deletion": deletion_canvas}
    hide = cache(question.hide)
    orders = {name: ranks(values, seed) for name, values in tensors.items()}
    copies = {
        (name, which): (
            between(name, order, steps, hide(kind), which),
            canvas(question, kind, hide(kind)),
        )
        for name, order in orders.items()
        for which, kind in canvases.items()
    }
    seen = yield from look(
        reader, [c for pair in copies.values() for c in pair], note="insertion and deletion"
    )
    share = shares_of(question, steps)
    curves = {
        (name, which): whole_way(reader, seen[inner.key], seen[end.key], which)
        for (name, which), (inner, end) in copies.items()
    }
    return {
        name: Faithfulness(share, curves[name, "insertion"], curves[name, "deletion"]) for name in tensors
    }


def between(name: str, order: Tensor, steps: int, hide: Hide, which: Direction) -> Copies:
    """Return the copies of all steps but the first and the last."""
    counts = part_sizes(order.numel(), steps)[1:-1]
    return in_order((which, name), order, counts, hide, insert=which == "insertion")


def whole_way(reader: Reader, inner: Responses, end: Responses, which: Direction) -> Responses:
    """Put the steps between the empty canvas and the whole image."""
    return end + inner + reader.whole if which == "insertion" else reader.whole + inner + end


def shares_of(question: Question, steps: int) -> np.ndarray:
    """Return the share of pixels after every step."""
    counts = np.array(part_sizes(question.input[0, 0].numel(), steps))
    return counts / counts[-1]


def canvas(question: Question, kind: Baseline, hide: Hide) -> Copies:
    """Return the copy in which everything is hidden."""
    return kept(("canvas", kind), question.input.new_zeros((1, 1, *question.grid)), hide)


def part_sizes(pixels: int, steps: int) -> list[int]:
    """Return how many pixels were shown after 0, 1, ... steps; the last number is all."""
    return [round(k * pixels / steps) for k in range(steps + 1)]


def check_steps(steps: int) -> None:
    """Refuse fewer than two steps: there would be nothing between none and all."""
    if steps < 2:
        raise UserError(f"steps is {steps}; insertion and deletion need 2 or more.")


def random_map(grid: tuple[int, ...], seed: int, number: int = 0) -> Tensor:
    """Return a map that orders the pixels at random."""
    values = np.random.default_rng((seed, number + 1)).random(grid, np.float32)
    return torch.from_numpy(values)


def control_name(number: int) -> str:
    """Return the name of a random order."""
    return RANDOM if number == 0 else f"{RANDOM} {number + 1}"


def on_device(question: Question, name: str, values: Any) -> Tensor:
    """Return a map on the model grid as a tensor on the question's device.

    Raises
    ------
    UserError
        If it has another shape.
    """
    tensor = torch.as_tensor(values).detach().to(question.device, torch.float32)
    if tuple(tensor.shape) != question.grid:
        raise UserError(
            f"the map {name!r} has shape {tuple(tensor.shape)}, but the model grid has {question.grid}; bring it there."
        )
    return tensor
