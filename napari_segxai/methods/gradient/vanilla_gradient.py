"""Vanilla gradient: how much the score would change if a pixel were a little brighter.

    S(u) = max over channels |dy / dx_c(u)|,   signed: S(u) = sum over channels dy / dx_c(u)

with y = score of the label over M and x = what enters the network. Simonyan, Vedaldi, Zisserman, ICLR Workshops 2014;
in segmentation the baseline of nearly every comparison. Cost: 1 forward, 1 backward.

It is the exact first-order answer, and trustworthy as such: for a very small change, in the units of the network's
input (after the card's intensity steps). It is not what the object owes to a pixel: where the score is saturated the
gradient vanishes although the pixel matters, it is as high on a dark pixel as on a bright one, and in deep networks
it is noisy; smooth-grad averages the noise, integrated-gradients accounts for whole differences. A probability as
score saturates soonest: ask about the logit.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from napari_segxai.core.options import option
from napari_segxai.core.progress import Passes, Steps
from napari_segxai.engine.finding import Finding
from napari_segxai.engine.primitives.input_gradients import input_gradient
from napari_segxai.engine.question import Question
from napari_segxai.methods.registry import explainer

SIGNED = "keep the sign and sum over channels; off: the largest absolute value of the channels"


@dataclass(frozen=True)
class Options:
    """Parameters of vanilla-gradient."""

    signed: bool = option(False, help=SIGNED)


@explainer(
    "vanilla-gradient",
    title="Vanilla gradient",
    question="evidence",
    needs=("gradients",),
    summary="where a small change of brightness would change the score most",
    unit="change of the {score} per unit of input",
    source="Simonyan et al., ICLR Workshops 2014",
    cites=("simonyan2014",),
    options=Options,
    passes=lambda options, size: Passes(1, 1),
)
def vanilla_gradient(question: Question, options: Options) -> Steps[Finding]:
    """Differentiate the score once."""

    def finding(gradient: Tensor) -> Finding:
        return Finding(over_channels(gradient, options.signed)[0])

    gradient = yield from input_gradient(question, partial=finding)
    return finding(gradient)


def over_channels(gradients: Tensor, signed: bool) -> Tensor:
    """Return one map per input from (n, channels, *grid): the sum of the channels, or their largest magnitude."""
    return gradients.sum(1) if signed else gradients.abs().amax(1)
