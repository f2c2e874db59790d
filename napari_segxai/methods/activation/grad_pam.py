"""Grad-PAM: pixel attribution maps, one backward pass per pixel of the prediction.

    L_ij = ReLU(sum_k d y_ij / d A^k * A^k)   (elementwise),   y_ij = score of the label at pixel (i, j)

Hasany, Petitjean, Meriaudeau 2025 (eq. 3), after SegNBDT (Ho et al. 2020). Over a set of pixels M the maps are
averaged (summed for the reduction "sum"). Averaging after the ReLU keeps what speaks for any one pixel; before it,
evidence for one pixel and against another cancels, and with every pixel of M the map is that of Seg-HiRes-Grad-CAM.
Of a large M an even sample is taken. Cost: 1 forward, 1 backward per pixel.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from napari_segxai.core.options import LayerName, option
from napari_segxai.core.progress import Passes, Steps
from napari_segxai.engine.finding import Finding
from napari_segxai.engine.primitives.activations import LayerRecorder, record
from napari_segxai.engine.primitives.cancellation import product_noise
from napari_segxai.engine.question import Question
from napari_segxai.methods.registry import explainer


@dataclass(frozen=True)
class Options:
    """Parameters of grad-pam."""

    layer: LayerName = option("bottleneck", help="network layer whose activations are weighted")
    pixels: int = option(
        64, ge=1, help="largest number of pixels of M that are asked about, evenly spread over it"
    )
    aggregate: Literal["after ReLU", "before ReLU"] = option(
        "after ReLU", help="whether the maps of the pixels are added after their negative values are dropped"
    )


@explainer(
    "grad-pam",
    title="Grad-PAM",
    question="layer",
    needs=("network layers", "gradients"),
    summary="where in a network layer the evidence for single pixels lies",
    unit="activation × gradient of the {score}",
    source="Hasany et al. 2025; Ho et al. 2020",
    cites=("hasany2024tour", "wan2020"),
    reads="pixel scores",
    options=Options,
    passes=lambda options, size: Passes(1, options.pixels),
)
def grad_pam(question: Question, options: Options) -> Steps[Finding]:
    """Average the maps of single pixels."""
    if question.model.windows is not None:
        return (yield from _through_windows(question, options))
    tape = LayerRecorder(question, [options.layer])
    yield question.step("forward pass")
    places = sample(question.pixels, options.pixels)
    scores = question.scores(tape.logits)[0].flatten()
    total = torch.zeros(tape.activations[0].shape[2:], device=question.device)
    asked = 0

    def finding() -> Finding:
        size = int(question.pixels.sum()) if question.target.reduction == "sum" else 1
        return Finding(total * (size / asked), numbers={"pixels": asked})

    for place in places:
        [gradient] = tape.gradients(scores[place], keep=asked + 1 < len(places))
        total += cam(tape.activations[0], gradient, options.aggregate)
        if not asked:  # a normalisation does it to every pixel
            one = cam(tape.activations[0], gradient, "before ReLU")
            question.warnings += product_noise(options.layer, one, gradient, tape.activations[0])
        asked += 1
        yield question.step(f"pixel {asked} of {len(places)}", finding)
    return finding()


def _through_windows(question: Question, options: Options) -> Steps[Finding]:
    """Average the maps of single pixels, each of which lies in few windows."""
    places = sample(question.pixels, options.pixels)
    total = torch.zeros((), device=question.device)
    size = int(question.pixels.sum()) if question.target.reduction == "sum" else 1
    for asked, place in enumerate(places, start=1):

        def score(logits: Tensor, place: int = place) -> Tensor:
            return question.scores(logits)[0].flatten()[place]

        [(activation, gradient, tiles)] = yield from record(question, [options.layer], score)
        one = tiles.place(cam(activation, gradient, "before ReLU"), adds=True)
        total = total + (one.clamp(min=0) if options.aggregate == "after ReLU" else one)
        finding = Finding(total * (size / asked), numbers={"pixels": asked})
        yield question.step(f"pixel {asked} of {len(places)}", lambda finding=finding: finding)
    return finding


def cam(activation: Tensor, gradient: Tensor, aggregate: str = "after ReLU") -> Tensor:
    """Return what one pixel adds to the map, from (1, channels, *cells): (*cells)."""
    one = (gradient * activation).sum(1)[0]
    return one.clamp(min=0) if aggregate == "after ReLU" else one


def sample(pixels: Tensor, count: int) -> list[int]:
    """Return flat positions of at most `count` pixels of a mask, evenly spread in their order."""
    places = pixels.flatten().nonzero()[:, 0]
    chosen = torch.linspace(0, len(places) - 1, min(count, len(places))).round().long()
    return places[chosen.to(places.device)].tolist()
