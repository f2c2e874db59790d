"""Input x gradient: what each pixel adds to the score if the network is taken to be linear.

    S(u) = sum over channels (x_c(u) - x'_c(u)) dy / dx_c(u),   x' = baseline

with y = score of the label over M. Shrikumar, Greenside, Shcherbina, Kundaje 2016 (arXiv 1605.01713), there with x'
= 0. Cost: 1 forward, 1 backward.

One step of integrated-gradients, taken at the image itself. Exact for a linear network, and for one of ReLUs without
biases (from a baseline of 0); otherwise the map need not add up to the change of the score, and where the score is
saturated it misses the cause. What equals the baseline counts for nothing, whatever the network makes of it: with
"zero" that is mid-grey for most networks, so choose the baseline that means "nothing there". The number
`sum` is the change of the score that the map accounts for.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from napari_segxai.core.options import option
from napari_segxai.core.progress import Passes, Steps
from napari_segxai.engine.finding import Finding
from napari_segxai.engine.masking.baselines import HELP, Baseline
from napari_segxai.engine.primitives.input_gradients import input_gradient
from napari_segxai.engine.question import Question
from napari_segxai.methods.registry import explainer


@dataclass(frozen=True)
class Options:
    """Parameters of input-x-gradient."""

    baseline: Baseline = option("zero", help=HELP, advanced=True)


@explainer(
    "input-x-gradient",
    title="Input x gradient",
    question="evidence",
    needs=("gradients",),
    summary="what every pixel adds to the score, as far as the network is linear",
    unit="part of the {score}",
    source="Shrikumar et al. 2016",
    cites=("shrikumar2016",),
    options=Options,
    passes=lambda options, size: Passes(1, 1),
)
def input_x_gradient(question: Question, options: Options) -> Steps[Finding]:
    """Multiply the gradient with the difference from the baseline."""

    def finding(gradient: Tensor) -> Finding:
        map = ((question.input - question.baseline(options.baseline)) * gradient).sum(1)[0]
        return Finding(map, numbers={"sum": float(map.sum())})

    return finding((yield from input_gradient(question, partial=finding)))
