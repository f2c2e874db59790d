"""Seg-Grad-CAM: channels of one network layer, each weighted by its mean gradient.

    L = sum_k alpha_k A^k,   alpha_k = mean over positions of d y / d A^k,   y = score of the label over M

Vinogradova, Dibrov, Myers, AAAI 2020 (student abstract), after Selvaraju et al. 2017. The map is kept raw and
signed; the paper's ReLU is a matter of display. Cost: 1 forward, 1 backward.

Pooling the gradient forgets where it was: for a region within a label use Seg-HiRes-Grad-CAM. A single
network layer never tells the whole story: the bottleneck summarises the image but skip connections pass it
by, the last layer decides but sees little.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from napari_segxai.core.options import LayerName, option
from napari_segxai.core.progress import Passes, Steps
from napari_segxai.engine.finding import Finding
from napari_segxai.engine.intermediates import HELP as INTERMEDIATES
from napari_segxai.engine.intermediates import intermediates
from napari_segxai.engine.pooled import Pooling, Stage, Sums, pooled_maps
from napari_segxai.engine.primitives.activations import Recorded, record
from napari_segxai.engine.primitives.cancellation import CANCELS, noise_of_pooled
from napari_segxai.engine.question import Question
from napari_segxai.engine.tiles import finest
from napari_segxai.methods.registry import explainer


@dataclass(frozen=True)
class Options:
    """Parameters of seg-grad-cam."""

    layer: LayerName = option("bottleneck", help="network layer whose activations are weighted")
    intermediates: int = option(0, ge=0, unit="channels", help=INTERMEDIATES, advanced=True)


@explainer(
    "seg-grad-cam",
    title="Seg-Grad-CAM",
    question="layer",
    needs=("network layers", "gradients"),
    summary="which feature channels of a network layer speak for the label, wherever they are active",
    unit="activation × gradient of the {score}",
    source="Vinogradova et al., AAAI 2020",
    cites=("vinogradova2020",),
    options=Options,
    passes=lambda options, size: Passes(1, 1),
)
def seg_grad_cam(question: Question, options: Options) -> Steps[Finding]:
    """Weight every channel by its mean gradient."""
    if not options.intermediates:
        alone = lambda found: Finding(found.maps[0], warnings=found.warnings)  # noqa: E731
        return (yield from pooled_maps(question, [options.layer], MEAN_GRADIENTS, alone))

    def finding(recorded: list[Recorded]) -> Finding:
        [one] = recorded
        sums, (activation, gradient, tiles) = _sums(one, ()), one
        map = weighted_sum(activation, sums[0].to(activation))
        spread = sums[0][(None, ..., *(None,) * (gradient.ndim - 2))].to(gradient).expand_as(gradient)
        parts = intermediates(activation, spread, map, options.intermediates)
        placed = {name: tiles.place(part, adds=False) for name, part in parts.items()}
        return Finding(tiles.place(map, adds=False), maps=placed, warnings=_said([options.layer], [sums]))

    return finding((yield from record(question, [options.layer], partial=finding)))


def _sums(one: Recorded, known: Sums) -> Sums:
    """Return the mean gradient of every channel over the whole layer, the sum of the gradient's absolute values, and over how many it is."""
    gradient = one.gradient
    mean = one.tiles.mean(gradient)[0].to(finest(gradient))
    size = gradient.flatten().abs().sum(dtype=finest(gradient))
    return mean, size, torch.tensor(gradient.numel(), dtype=torch.float64)


def _said(names: Sequence[str], sums: Sequence[Sums]) -> list[str]:
    noise = [
        name
        for name, (mean, size, count) in zip(names, sums, strict=True)
        if float(mean.abs().max()) < CANCELS * float(size) / float(count)
    ]
    return noise_of_pooled(noise, len(names))


MEAN_GRADIENTS = Pooling((Stage(_sums),), lambda sums: weighing(sums[0]), said=_said)
"""Channels, each weighted by its mean gradient over the whole layer."""


def cam(activation: Tensor, gradient: Tensor) -> Tensor:
    """Return the map of a network layer from (1, channels, *cells): (*cells)."""
    return weighted_sum(activation, gradient.flatten(2).mean(2, dtype=finest(gradient))[0].to(activation))


def weighing(weights: Tensor) -> Callable[[Recorded], Tensor]:
    """Return the function that sums the channels of what was recorded with (channels,) weights: (*cells)."""
    return lambda one: weighted_sum(one.activation, weights.to(one.activation))


def weighted_sum(activation: Tensor, weights: Tensor) -> Tensor:
    """Sum the channels of (1, channels, *cells) with (channels,) weights: (*cells)."""
    return (weights @ activation[0].flatten(1)).unflatten(0, activation.shape[2:])
