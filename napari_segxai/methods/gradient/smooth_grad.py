"""SmoothGrad: the gradient, averaged over noisy copies of the image.

    g = 1/N sum_i dy(x + n_i) / dx,   n_i ~ Normal(0, sigma),   S(u) = max over channels |g_c(u)|
    squared: g = 1/N sum_i (dy(x + n_i) / dx)^2,   signed: S(u) = sum over channels g_c(u)

with y = score of the label over M, which stays that of the image without noise. Smilkov, Thorat, Kim, Viegas,
Wattenberg 2017 (arXiv 1706.03825); squares after Hooker et al., NeurIPS 2019; for the segmentation of brain tumours
Zeineldin et al. 2022 (squares, 5 copies). `sigma` is a share of every channel's range in what enters the network.
Noise number i depends on the seed and on i alone. Cost: N + 1 forward, N backward.

It takes away the part of the gradient that changes from one image to the next, so the map is easier to look at than
that of vanilla-gradient and answers nearly the same question: sensitivity, not contribution. Squares find regions the
network is sensitive to in either direction, which the mean can cancel. With much noise the network sees images unlike
any it knows, and the number `score_of_copies` (mean score of the noisy copies) leaves that of the image: then
believe a smaller sigma. With sigma 0 it is vanilla-gradient.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from napari_segxai.core.options import option
from napari_segxai.core.progress import Passes, Steps
from napari_segxai.engine.finding import Finding
from napari_segxai.engine.masking.sampling_error import TOLERANCE_HELP, SplitHalfMean
from napari_segxai.engine.primitives.input_gradients import input_gradients
from napari_segxai.engine.question import Question
from napari_segxai.methods.gradient.vanilla_gradient import SIGNED, over_channels
from napari_segxai.methods.registry import explainer


@dataclass(frozen=True)
class Options:
    """Parameters of smooth-grad."""

    samples: int = option(16, ge=1, help="number of noisy copies; more are smoother and slower")
    sigma: float = option(
        0.15,
        ge=0,
        unit="of the range",
        help="standard deviation of the noise, as a share of a channel's range",
    )
    tolerance: float | None = option(None, gt=0, help=TOLERANCE_HELP, advanced=True)
    squared: bool = option(False, help="average the squared gradients (the sign is lost)")
    signed: bool = option(False, help=SIGNED)


@explainer(
    "smooth-grad",
    title="SmoothGrad",
    question="evidence",
    needs=("gradients",),
    summary="where a small change of brightness would change the score most, whatever the noise in the image",
    unit=lambda options: ("squared " if options.squared else "") + "change of the {score} per unit of input",
    source="Smilkov et al. 2017; Zeineldin et al. 2022",
    cites=("smilkov2017", "zeineldin2022"),
    options=Options,
    passes=lambda options, size: Passes(options.samples + 1, options.samples),
    presets={
        "smilkov": {"samples": 50, "sigma": 0.15},
        "zeineldin": {"samples": 5, "sigma": 0.15, "squared": True},
    },
)
def smooth_grad(question: Question, options: Options) -> Steps[Finding]:
    """Average gradients over noisy copies."""
    x = question.input
    dims = tuple(range(2, x.ndim))
    sigma = options.sigma * (x.amax(dims, keepdim=True) - x.amin(dims, keepdim=True))
    own = float(question.score(question.logits))
    halves, scores = SplitHalfMean(x.shape, question.device, fewest=4), 0.0

    def noisy(start: int, n: int) -> Tensor:
        return x + sigma * noise(question.seed, range(start, start + n), x)

    def consume(start: int, gradients: Tensor, values: Tensor) -> bool:
        nonlocal scores
        part = (gradients.square() if options.squared else gradients).sum(0, keepdim=True)
        halves.add(part, len(gradients))
        scores += float(values.sum())
        return halves.below(options.tolerance)

    def finding() -> Finding:
        done = halves.done
        map = over_channels(halves.total / done, options.signed)[0]
        numbers = {"samples": done, "error": halves.error(), "score": own, "score_of_copies": scores / done}
        return Finding(map, numbers=numbers)

    yield from input_gradients(question, options.samples, noisy, consume, note="noisy copy", partial=finding)
    return finding()


def noise(seed: int, numbers: range, like: Tensor) -> Tensor:
    """Return standard normal noise with these numbers: (n, channels, *grid), for an input of one image."""
    drawn = np.empty((len(numbers), *like.shape[1:]), np.float32)

    def draw(number: int, out: np.ndarray) -> None:
        generator = np.random.Generator(np.random.Philox(key=seed, counter=[0, 0, 0, number]))
        generator.standard_normal(dtype=np.float32, out=out)

    if like.device.type == "cpu":  # whose threads have enough to do
        for number, out in zip(numbers, drawn, strict=True):
            draw(number, out)
    else:
        with ThreadPoolExecutor() as pool:
            list(pool.map(draw, numbers, drawn))
    return torch.from_numpy(drawn).to(like.device)
