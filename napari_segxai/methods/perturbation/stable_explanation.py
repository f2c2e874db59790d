"""Stable explanation (MeTFA): what of a map stays when the image is disturbed, for any other method.

The wrapped method answers the same question for R noisy copies of the image, with M of the original. At every cell
the R values are sorted, X(1) <= ... <= X(R). With B ~ Binomial(R, 1/2):

    bounds of the median   X(k) and X(R + 1 - k),   k the largest whole number with P(B < k) <= alpha / 2
    smoothed map           mean of X(k) ... X(R + 1 - k)
    significant            at least c of the R values lie above the threshold, c the smallest with P(B >= c) <= alpha
    insignificant          at least c of them lie below it; the remaining cells are undecided

Gan et al., Is your explanation stable?, CCS 2022: a sign test for the median, so nothing is assumed about the
distribution of the values. For the test, as in the paper, every copy's map is scaled to [0, 1] and compared with a
threshold: a number, or the best split of the values of all copies into two classes (Jenks, the same as Otsu's). The
maps themselves stay raw. The authors' code averages the list before it is sorted; here it is sorted. P(B >= c) is
that of a fair coin, whatever the share of values above the threshold; noise is a share of the range of what enters
the network. Cost: R times the wrapped method; R maps are held at once, on the CPU.

Trust a detail that is significant and whose bounds are on one side of 0. The noise decides what is asked: a level so
high that the prediction changes (see dice of the copies in the numbers) tests the network, not the explanation.
Stable does not mean right: a method that always draws the edges of the image is very stable. R copies below 6 give
no bounds at alpha 0.05; the least and the largest value are shown then, and their confidence is told. Every cell is
tested by itself: of many cells that have nothing to say, a share of alpha comes out significant all the same.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from napari_segxai.core.errors import UserError
from napari_segxai.core.options import option
from napari_segxai.core.progress import Passes, Step, Steps, relay
from napari_segxai.engine.finding import EmptyRegion, Finding
from napari_segxai.engine.question import Question
from napari_segxai.engine.scores import dice
from napari_segxai.methods.registry import Method, Size, explainer, find_method
from napari_segxai.models.introspection.layers import find_layer
from napari_segxai.models.preprocessing.resample import resize

NAME = "stable-explanation"

CHUNK = 1 << 16
"""Values that are looked at together: what is computed of them stays in the processor's cache."""


@dataclass(frozen=True)
class Options:
    """Parameters of stable-explanation.

    Raises
    ------
    UserError
        If the wrapped method or one of its parameters is unknown.
    """

    wraps: str = option("seg-grad-cam", help="the method that explains every copy, by its name")
    parameters: str = option("", help="its parameters, such as layer=decoder1, masks=100")
    copies: int = option(10, ge=2, help="noisy copies; fewer than 6 give no bounds at alpha 0.05")
    noise: Literal["uniform", "normal", "laplace", "darken"] = option(
        "uniform",
        help="what is added to a pixel; darken takes a uniform share of its height above the minimum",
    )
    level: float = option(
        0.1,
        gt=0,
        le=1,
        unit="of the range",
        help="half-width, standard deviation, or largest share to darken",
    )
    alpha: float = option(0.05, gt=0, le=0.5, help="probability of a false alarm, per cell")
    threshold: float | None = option(
        None,
        ge=0,
        le=1,
        help="threshold of the map scaled to [0, 1]; by default the best split into two classes",
    )

    def __post_init__(self) -> None:
        _ = self.wrapped

    @cached_property
    def wrapped(self) -> tuple[Method, Any]:
        """The wrapped method and its options."""
        if self.wraps == NAME:
            raise UserError(f"{NAME} cannot wrap itself; name another method.")
        method = find_method(self.wraps, "image")
        return method, method.make_options(read_parameters(self.parameters))

    @property
    def needs(self) -> tuple[str, ...]:
        """What the wrapped method needs of the network."""
        method, own = self.wrapped
        return method.needs_of(own)

    @property
    def looks_inside(self) -> bool:
        """Whether the wrapped method does."""
        method, own = self.wrapped
        return method.looks_inside(own)


def read_parameters(text: str) -> dict[str, str]:
    """Read "name=value, name=value".

    Raises
    ------
    UserError
        If a part has no "=" or no name.
    """
    values: dict[str, str] = {}
    for part in filter(None, (p.strip() for p in text.split(","))):
        name, equals, value = (p.strip() for p in part.partition("="))
        if not equals or not name:
            raise UserError(
                f"{NAME}: parameters are written name=value, separated by commas; {part!r} is not."
            )
        values[name] = value
    return values


def _passes(options: Options, size: Size) -> Passes:
    method, own = options.wrapped
    if "network layers" in method.needs:  # a wrong name is told before the work begins
        for layer in method.layers_of(own).values():
            find_layer(layer, size.network_layers(), "the model")
    return method.passes(own, size) * options.copies + Passes(1)


@explainer(
    NAME,
    title="Stable explanation (MeTFA)",
    question="trust",
    summary="which parts of another method's map stay when the image is disturbed a little",
    unit=lambda options: options.wrapped[0].unit_of(options.wrapped[1]),
    source="Gan et al., CCS 2022 (MeTFA)",
    cites=("gan2022",),
    options=Options,
    passes=_passes,
    needs_drawn=lambda options: options.wrapped[0].answers_drawn_alone(options.wrapped[1]),
    presets={"paper": {"copies": 10, "noise": "uniform", "level": 0.1, "alpha": 0.05, "threshold": 0.2}},
)
def stable_explanation(question: Question, options: Options) -> Steps[Finding]:
    """Explain noisy copies, sort the values at every cell, and test them."""
    method, own = options.wrapped
    _ = question.pixels  # of the original, before any copy is made
    yield question.step("prediction")
    lowest, span = channel_ranges(question.input)
    maps: list[Tensor] = []
    overlaps: list[float] = []
    warnings: list[list[str]] = []
    first = len(question.warnings)

    def finding() -> Finding:
        return _judge(question, torch.stack(maps), overlaps, options)

    for number in range(options.copies):
        copy = question.about(
            noisy(question.input, lowest, span, options.noise, options.level, question.seed, number)
        )
        prefix = f"copy {number + 1} of {options.copies}"

        def of_copy(step: Step, prefix: str = prefix) -> Step:
            return Step(step.done, step.total, f"{prefix}: {step.note}", finding if len(maps) > 1 else None)

        before = len(question.warnings)
        try:
            assert method.run is not None  # a method of images
            own_finding = yield from relay(method.run(copy, own), of_copy)
            found = own_finding.map.float().cpu()
        except EmptyRegion as reason:
            question.warnings.append(f"{prefix}: {reason}")
            found = torch.zeros_like(maps[0]) if maps else torch.zeros(question.grid)
        maps.append(torch.nan_to_num(found, 0.0, 0.0, 0.0))
        overlaps.append(_overlap(question, copy))
        warnings.append(question.warnings[before:])
        yield question.step(f"{prefix} done", finding if len(maps) > 1 else None)
    question.warnings[first:] = told_once(warnings)
    return finding()


NUMBER = re.compile(r"(?<![\w.])\d+(\.\d+)?(?!\w|\.\w)")
"""A number that stands alone, and is no part of a name."""


def told_once(warnings: Sequence[Sequence[str]]) -> list[str]:
    """Return the warnings of all copies, those of the first that has them; numbers differ from copy to copy.

    Warnings of one copy are all different, though their words may be the same: they speak of other network layers.
    """
    found: dict[tuple[str, int], str] = {}
    for copy in warnings:
        words = [NUMBER.sub("", warning) for warning in copy]
        for k, warning in enumerate(copy):
            found.setdefault((words[k], words[:k].count(words[k])), warning)
    return list(found.values())


def channel_ranges(tensor: Tensor) -> tuple[Tensor, Tensor]:
    """Return the lowest value of every channel and its range, (1, channels, 1, ...) both, of (1, channels, *grid)."""
    dims = tuple(range(2, tensor.ndim))
    low = tensor.amin(dims, keepdim=True)
    return low, tensor.amax(dims, keepdim=True) - low


def noisy(
    tensor: Tensor, lowest: Tensor, span: Tensor, noise: str, level: float, seed: int, number: int
) -> Tensor:
    """Return the noisy copy with this number; the same on every device.

    Parameters
    ----------
    tensor
        (1, channels, *grid).
    lowest, span
        See `channel_ranges`.
    level
        As a share of every channel's range.
    """
    random = np.random.Generator(np.random.Philox(key=seed, counter=[0, 0, 0, number]))
    shape = tuple(tensor.shape)
    if noise == "darken":
        share = torch.from_numpy(random.random(shape, np.float32)).to(tensor)
        return tensor - level * share * (tensor - lowest)
    if noise == "uniform":
        drawn = random.random(shape, np.float32)
        drawn *= 2
        drawn -= 1
    elif noise == "normal":
        drawn = random.standard_normal(shape, np.float32)
    else:  # of standard deviation 1
        drawn = random.laplace(0, math.sqrt(0.5), shape)
    return torch.addcmul(tensor, torch.from_numpy(drawn).to(tensor), level * span)


def tail(count: int, least: int) -> float:
    """P(B >= least) for B ~ Binomial(count, 1/2), exactly."""
    return sum(math.comb(count, k) for k in range(max(least, 0), count + 1)) / 2**count


def needed(count: int, alpha: float) -> int | None:
    """Return the smallest c with P(B >= c) <= alpha; None where even all of them are too few."""
    return next((c for c in range(count + 1) if tail(count, c) <= alpha), None)


def order_bounds(count: int, alpha: float) -> tuple[int, int, float]:
    """Return the ranks (from 1) of the bounds of the median, and how likely they enclose it.

    Where there are too few values for `alpha`, these are the least and the largest.
    """
    k = 1
    while (
        2 * (k + 1) <= count + 1 and tail(count, count - k) <= alpha / 2
    ):  # P(B < k + 1) = P(B >= count - k)
        k += 1
    return k, count + 1 - k, 1 - 2 * tail(count, count + 1 - k)


def two_classes(values: Tensor) -> float:
    """Return the threshold that splits values into two classes of least variance within (Jenks, Otsu).

    Half-way between the two values on either side; the value itself where all are equal.
    """
    ordered = np.sort(values.cpu().numpy(), axis=None)
    if ordered[0] == ordered[-1]:
        return float(ordered[0])
    n, total = len(ordered), ordered.sum(dtype=np.float64)
    best, at, before = -1.0, 0, 0.0
    for start in range(0, n - 1, CHUNK):
        low = ordered[start : min(start + CHUNK, n - 1)]
        sums = before + np.cumsum(low, dtype=np.float64)
        left = np.arange(start + 1, start + 1 + len(low), dtype=np.float64)
        between = (n * sums - total * left) ** 2
        between /= left * (n - left)  # n squared times the variance between the classes
        between[low == ordered[start + 1 : start + 1 + len(low)]] = -1  # equal values belong together
        highest = int(between.argmax())
        if between[highest] > best:
            best, at = between[highest], start + highest
        before = sums[-1]
    return (float(ordered[at]) + float(ordered[at + 1])) / 2


def _judge(question: Question, maps: Tensor, overlaps: Sequence[float], options: Options) -> Finding:
    """Sort and test (copies, *cells)."""
    count = len(maps)
    ordered = torch.from_numpy(np.sort(maps.flatten(1).T.numpy().copy(), axis=1))  # (cells, copies)
    first, last, confidence = order_bounds(count, options.alpha)
    low, high = (torch.stack(ends) for ends in zip(*(one.aminmax() for one in maps), strict=True))
    shape = (-1,) + (1,) * (maps.ndim - 1)
    scaled = (maps - low.view(shape)).div_(torch.where(high > low, high - low, 1.0).view(shape))
    threshold = two_classes(scaled) if options.threshold is None else options.threshold
    c = needed(count, options.alpha)
    above = torch.zeros(maps.shape[1:], dtype=torch.int32)
    for one in scaled:  # sums over the first axis are slow
        above += one > threshold
    enough = c is not None and bool((high > low).any())
    significant = above >= c if enough else torch.zeros_like(above, dtype=torch.bool)
    insignificant = count - above >= c if enough else torch.zeros_like(significant)
    warnings = []
    if confidence < 1 - options.alpha - 1e-12:
        warnings.append(
            f"{count} copies are too few for bounds at alpha {options.alpha:g}: the least and the largest value "
            f"enclose the median with probability {confidence:.3f} only."
        )
    if c is None:
        warnings.append(
            f"{count} copies are too few for the test at alpha {options.alpha:g}: nothing is significant."
        )
    if np.mean(overlaps) < 0.9:
        warnings.append(
            f"the noise changes the prediction itself (mean Dice {np.mean(overlaps):.2f}); a lower level asks about "
            "the explanation alone."
        )
    deviation, cells = _deviation(maps), maps.shape[1:]
    smooth = ordered[:, first - 1 : last].mean(1).view(cells)
    return Finding(
        smooth,
        maps={
            "lower_bound": ordered[:, first - 1].contiguous().view(cells),
            "upper_bound": ordered[:, last - 1].contiguous().view(cells),
            "deviation": deviation,
            "share_above_threshold": above.float() / count,
        },
        masks={
            "significant": _on_grid(significant, question.grid),
            "insignificant": _on_grid(insignificant, question.grid),
        },
        numbers={
            "copies": count,
            "rank_lower": first,
            "rank_upper": last,
            "confidence": confidence,
            "needed": c,
            "threshold": threshold,
            "share_significant": float(significant.float().mean()),
            "share_insignificant": float(insignificant.float().mean()),
            "relative_deviation": _relative(deviation, smooth),
            "dice_of_copies": float(np.mean(overlaps)),
        },
        warnings=warnings,
    )


def _deviation(maps: Tensor) -> Tensor:
    """Return the standard deviation of every cell, (*cells) of (copies, *cells); torch's own is slow along the first axis."""
    mean, total = maps.mean(0), torch.zeros_like(maps[0])
    for one in maps:
        away = one - mean
        total.addcmul_(away, away)
    return total.div_(len(maps)).sqrt_()


def _relative(deviation: Tensor, smooth: Tensor) -> float | None:
    """Mean deviation over the mean absolute value of the smoothed map; None where that is 0."""
    size = float(smooth.abs().mean())
    return float(deviation.mean()) / size if size > 0 else None


def _on_grid(mask: Tensor, grid: tuple[int, ...]) -> Tensor:
    return resize(mask.float()[None, None], grid, linear=False)[0, 0] > 0.5


def _overlap(question: Question, copy: Question) -> float:
    """Dice of a copy's prediction with the original; two empty predictions agree."""
    if not bool((copy.predicted | question.predicted).any()):
        return 1.0
    return float(dice(copy.predicted[None], question.predicted))
