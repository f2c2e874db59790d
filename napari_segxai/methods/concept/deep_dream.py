"""DeepDream: what the network wants to see more of, told in features of the region, step by step.

    x <- x + step g / mean over M of |g|,      g = gradient of the score over M by the image

The image walks up the score of the label; along the way features of M are measured: mean, deviation, mean gradient, entropy and contrast of its intensities, and
size and sphericity of what the network draws as the label. A feature that rises or falls is one that the label hangs on; one that stays flat, the network does not ask for. Choose a region in which the label is
*not* drawn (a piece of background) to see what would make it one: size then says when the object appears.

Beside it goes a *random path* of equal length: the same steps, of which the sign is drawn once for every pixel. What it does to a feature as well, a change of this size does, not the network; roughness rises on nearly every path.
The results hold of every feature what changed along both paths (`FEATURE`, `FEATURE random`), and the answer in words; the curves `dream` and `random` have a row per step, and `frames` says of which steps images are kept. The path is kept as `dream`, a layer with a slider over
its steps; the map is what was added to the image, summed over its channels.

Couteaux, Nempont, Pizaine, Bloch, MICCAI workshop 2019, whose list of features is not public in full: ours are those above. Cost: a forward and a backward pass for every step,
and a forward pass for every step of the random path.

When not to believe it: the path leaves the images that the network knows, and a feature that is reached by way of noise is not one that it uses on real images; look at the layers. The image stays within
its own range unless `beyond` allows more, so that what is brightest already cannot become brighter. One image and one region tell of themselves alone.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from napari_segxai.core.chart import Chart, Series, plain_value
from napari_segxai.core.errors import UserError
from napari_segxai.core.options import option
from napari_segxai.core.progress import Passes, Steps
from napari_segxai.engine.finding import Finding
from napari_segxai.engine.primitives.optimize import optimize
from napari_segxai.engine.question import Question
from napari_segxai.methods.registry import Size, explainer
from napari_segxai.metrics.functional.region_features import (
    INTENSITY,
    SHAPE,
    intensity_features,
    sphericity,
)

FEATURES = (*INTENSITY, *SHAPE)
FRAMES = "frames"
"""The curve that says which steps of the path the images of it are of."""
MORE, AGAINST = 1.25, 0.5
"""How many times the change along the random path a feature has to change for it to be named; and, if it changes the other way."""


@dataclass(frozen=True)
class Options:
    """Parameters of deep-dream."""

    maps_change: ClassVar[bool] = True

    steps: int = option(64, ge=1, le=1000, help="steps along the path")
    step: float = option(
        0.01, gt=0, le=1, unit="of the range", help="mean change of a pixel of M in one step"
    )
    beyond: float = option(
        0.0, ge=0, le=100, unit="of the range", help="how far values may leave the range of the image"
    )
    channel: int = option(0, ge=0, le=1000, help="channel of the image whose features are measured, from 0")
    frames: int = option(16, ge=2, le=100, help="images of the path that are kept", advanced=True)


def _passes(options: Options, size: Size) -> Passes:
    if options.channel >= size.image_channels:
        raise UserError(
            f"deep-dream: channel is {options.channel}, and the image has {size.image_channels}, counted from 0."
        )
    return Passes(2 * options.steps + 2, options.steps)


@explainer(
    "deep-dream",
    title="DeepDream",
    question="what-if",
    summary="what the image becomes when it walks up the label's score, and which features change on the way",
    unit="change of the input",
    source="Couteaux et al., MICCAI Workshops 2019",
    cites=("couteaux2019",),
    options=Options,
    passes=_passes,
    needs=("gradients",),
)
def deep_dream(question: Question, options: Options) -> Steps[Finding]:
    """Walk up the score, measure features on the way, and walk as far at random."""
    path = _Path(question, options)
    yield question.step("prediction")
    dream = path.start.clone()

    def loss(image: Tensor, logits: Tensor) -> Tensor:
        with torch.no_grad():
            path.note(path.dream, image, logits)
        return -question.score(logits).sum()

    yield from optimize(
        question,
        dream,
        lambda image: image,
        loss,
        iterations=options.steps,
        descent=lambda image: _Ascent(path, image),
        after=path.walked,
        note="step",
        partial=path.finding,
    )
    with torch.inference_mode():
        path.note(path.dream, dream, question.forward(dream))
    yield question.step("end of the path", path.finding)
    return path.finding()


class _Path:
    """What was seen on the way."""

    def __init__(self, question: Question, options: Options):
        self.question, self.options = question, options
        self.start = question.input.detach().clone()
        self.region, self.weights = question.pixels.cpu().numpy(), question.pixels
        dims = tuple(range(2, self.start.ndim))
        low, high = self.start.amin(dims, keepdim=True), self.start.amax(dims, keepdim=True)
        self.span = (high - low).clamp(min=1e-12)
        self.low, self.high = low - options.beyond * self.span, high + options.beyond * self.span
        signs = np.random.default_rng(question.seed).integers(0, 2, self.start.shape) * 2.0 - 1
        self.signs = torch.from_numpy(signs).to(self.start)
        self.steps = 0  # that were taken
        self.dream: list[dict[str, float]] = []
        self.random: list[dict[str, float]] = []
        self.frames: dict[int, Tensor] = {}
        self.kept = set(np.linspace(0, options.steps, options.frames + 1).round().astype(int).tolist())
        self.last, self.drawn = self.start, question.predicted
        self.size = torch.zeros_like(self.start)  # of the last step
        self.beside = self.start.clone()  # where the random path has come to

    def within(self, image: Tensor) -> Tensor:
        return torch.minimum(torch.maximum(image, self.low), self.high)

    def move(self, gradient: Tensor) -> Tensor:
        """Return what is added in a step: of one mean size over M."""
        slope = gradient * self.span  # by the image in units of its range
        size = slope.abs().amax(1)[0]
        mean = size[self.weights].mean()
        if not bool(mean > 0):  # what moves M's score may lie around it
            mean = size.mean().clamp(min=1e-30)
        made = self.options.step * self.span * slope / mean
        self.size = made.abs()
        return made

    def walked(self, image: Tensor) -> None:
        """Keep a step within the range, and take one of this size at random."""
        image.copy_(self.within(image))
        if not self.random:
            self.random = [dict(self.dream[0])]
        self.steps += 1
        self.beside = self.within(self.beside + self.signs * self.size)
        self.note(self.random, self.beside, self.question.forward(self.beside))

    def note(self, rows: list[dict[str, float]], image: Tensor, logits: Tensor) -> None:
        """Measure the features of one image."""
        question, channel = self.question, self.options.channel
        logits, image = logits.detach(), image.detach()
        drawn = question.drawn(logits)[0]
        if rows is self.dream:
            self.last, self.drawn = image.clone(), drawn.clone()
            if self.steps in self.kept:
                self.frames[self.steps] = image[0, channel].cpu().clone()
        mask, values = drawn.cpu().numpy(), image[0, channel].cpu().numpy()
        span = float(self.span[0, channel].max())
        row = {
            "step": float(self.steps),
            "score": float(question.score(logits)[0]),
            **intensity_features(values, self.region, span),
            "size": float(mask.sum()) * question.cell_volume,
            "sphericity": sphericity(mask, question.cell_size),
        }
        rows[self.steps :] = [row]  # a pass that ran out of memory is run again

    def finding(self) -> Finding:
        question, channel = self.question, self.options.channel
        columns = {name: [row[name] for row in self.dream] for name in self.dream[0]} if self.dream else {}
        curves: dict[str, Mapping[str, Sequence[float]]] = {"dream": columns} if columns else {}
        if self.random:
            curves["random"] = {name: [row[name] for row in self.random] for name in self.random[0]}
        if self.frames:
            curves[FRAMES] = {"step": [float(k) for k in sorted(self.frames)]}
        numbers, warnings = _numbers(curves, question), []
        if (rise := numbers.get("score")) is not None and rise <= 0:
            warnings.append(
                "the score did not rise along the path; take smaller steps, or let values go beyond the range."
            )
        frames = [self.frames[k] for k in sorted(self.frames)]
        return Finding(
            (self.last - self.start).sum(1)[0],
            masks={"prediction_after": self.drawn},
            series={"dream": torch.stack(frames)} if frames else {},
            curves=curves,
            charts=_charts(curves, question, channel),
            numbers=numbers,
            warnings=warnings,
        )


class _Ascent:
    """Goes up the score by steps of one mean size."""

    def __init__(self, path: _Path, image: Tensor):
        self.path, self.image = path, image

    def step(self, gradient: Tensor) -> None:
        """Take one step, without autograd."""
        self.image.add_(self.path.move(-gradient))


def _change(columns: dict[str, Any] | None, name: str) -> float | None:
    """Return how a feature changed along a path: from its first known value to the last."""
    known = [value for value in (columns or {}).get(name, ()) if not math.isnan(value)]
    return known[-1] - known[0] if len(known) > 1 else None


def _numbers(curves: dict[str, Any], question: Question) -> dict[str, Any]:
    if "dream" not in curves:
        return {}
    dream, random = curves["dream"], curves.get("random")
    out: dict[str, Any] = {"answer": _words(dream, random, question), "steps": len(dream["step"]) - 1}
    for name in ("score", *FEATURES):
        out[name] = plain_value(_change(dream, name))
        out[f"{name} random"] = plain_value(_change(random, name))
    out["size_unit"] = question.size_name
    return out


def _words(dream: dict[str, Any], random: dict[str, Any] | None, question: Question) -> str:
    """Say which features the path changes more than the random path does."""
    label = question.model.labels[question.label]
    rises, falls = [], []
    for name in FEATURES:
        own, other = _change(dream, name), _change(random, name) or 0.0
        scale = max(abs(value) for value in dream[name] if not math.isnan(value)) if own is not None else 0.0
        if own is None or abs(own) <= 1e-3 * scale:
            continue
        if abs(own) <= MORE * abs(other) and not (own * other < 0 and abs(own) > AGAINST * abs(other)):
            continue
        (rises if own > 0 else falls).append(name)
    moved = (("rise", rises), ("fall", falls))
    said = [f"{', '.join(names)} {verb}{'s' * (len(names) == 1)}" for verb, names in moved if names]
    if not said:
        return (
            f"Nothing that was measured changes otherwise on the way up to {label} than along a random path."
        )
    return f"On the way up to {label}: {'; '.join(said)}; a random path of equal length does less of it, or the opposite."


def _charts(curves: dict[str, Any], question: Question, channel: int) -> tuple[Chart, ...]:
    """Return a chart of all changes, and one for every feature along both paths."""
    if "dream" not in curves:
        return ()
    dream, random = curves["dream"], curves.get("random")
    label = question.model.labels[question.label]
    unit = question.size_name.partition("_")[2]
    ends = {name: (_change(dream, name), _change(random, name)) for name in FEATURES}
    bars = []
    for k, title in enumerate(("up the score", "random path")):
        shares: list[float | None] = []
        for pair in ends.values():
            largest = max((abs(end) for end in pair if end is not None), default=0.0) or 1.0
            end = pair[k]
            shares.append(None if end is None else end / largest)
        bars.append(Series(title, FEATURES, tuple(shares)))
    name = question.model.card.channels[channel]
    caption = f"Change of every feature of the region from the first step to the last, in units of the greater one of both paths (channel {name})."
    out = [Chart("bars", f"What changes on the way up to {label}", "feature", "change", tuple(bars), caption)]
    for feature in ("score", *FEATURES):
        steps = tuple(f"{step:.0f}" for step in dream["step"])
        lines = [Series("up the score", tuple(dream["step"]), tuple(dream[feature]), cases=steps)]
        if random is not None:
            lines.append(Series("random path", tuple(random["step"]), tuple(random[feature]), kind="lines"))
        y = f"{feature} ({unit})" if feature == "size" else feature
        out.append(Chart("lines", f"{feature}, on the way up to {label}", "step", y, tuple(lines)))
    return tuple(out)
