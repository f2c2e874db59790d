"""Guided backpropagation: the gradient, of which only positive parts pass every ReLU.

    at every ReLU:  gradient in = [input > 0] * max(gradient out, 0)
    S(u) = max over channels |g_c(u)|,   signed: S(u) = sum over channels g_c(u),   g = guided dy / dx

with y = score of the label over M. Springenberg, Dosovitskiy, Brox, Riedmiller, ICLR Workshops 2015; for
segmentation Wickstrøm, Kampffmeyer, Jenssen, Medical Image Analysis 2020, who also switch dropout on
(`dropout_passes` = T): the map is then the mean of T random passes and `standard_deviation` (divided by T) says how
far the network agrees with itself. Only dropout layers are switched on; M stays that of the prediction without
dropout. Cost: 1 forward, 1 backward; with dropout T + 1 forward, T backward.

ReLUs are found as operations of the backward pass, however they are called (modules, functions, in place), and as a clamp
at 0, a maximum with 0, x (x > 0), a choice or a filling by x > 0, or x + |x|. Other comparisons are named in a warning; dropout
that is not a layer and TorchScript models cannot be guided.
GELU, SiLU, PReLU, LeakyReLU and their like have no zero side, so that only negative gradients are clamped; a warning says
so. Sigmoid, Hardsigmoid and tanh, the activations of gates, are left alone.

The map is sharp because it draws the edges and textures that early layers respond to. It is hardly about the
decision: it changes little when the upper layers' weights are made random (Adebayo et al., NeurIPS 2018), and
hides everything that speaks against the label. Layers after the last ReLU are not guided. Do not use it to find
out whether a network has learnt the right thing; use it to see which structures inside a region, found by another
method, early layers saw. A network without a ReLU is refused.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass

import torch
from torch import Tensor

from napari_segxai.core.errors import UserError
from napari_segxai.core.options import option
from napari_segxai.core.progress import Passes, Steps
from napari_segxai.engine.backward_rules.guided import RELUS, SHRINKS, Guided
from napari_segxai.engine.backward_rules.mc_dropout import dropout_layers, dropping
from napari_segxai.engine.finding import Finding
from napari_segxai.engine.masking.sampling_error import TOLERANCE_HELP
from napari_segxai.engine.primitives.input_gradients import input_gradient, input_gradients
from napari_segxai.engine.question import Question
from napari_segxai.methods.gradient.vanilla_gradient import SIGNED, over_channels
from napari_segxai.methods.registry import explainer

FEWEST = 4
"""Passes with dropout below which the error is not worth telling."""

HIDDEN = (
    "the map is zero everywhere: all that reaches an activation function on the way back speaks against the target, which "
    "guided backpropagation hides, or nothing reaches it; vanilla-gradient hides nothing."
)


@dataclass(frozen=True)
class Options:
    """Parameters of guided-backprop."""

    signed: bool = option(False, help=SIGNED)
    dropout_passes: int = option(
        0,
        ge=0,
        unit="passes",
        help="passes with dropout switched on, for a mean and a deviation; 0: one pass without dropout",
    )
    tolerance: float | None = option(None, gt=0, help=f"with dropout: {TOLERANCE_HELP}", advanced=True)


@explainer(
    "guided-backprop",
    title="Guided backpropagation",
    question="evidence",
    needs=("gradients",),
    summary="which structures of the image early layers saw on the way to the label",
    unit="guided gradient of the {score}",
    source="Springenberg et al., ICLR Workshops 2015; Wickstrøm et al., MedIA 2020",
    cites=("springenberg2015", "wickstrom2020"),
    options=Options,
    passes=lambda options, size: Passes(options.dropout_passes + 1, options.dropout_passes or 1),
    presets={"monte carlo": {"dropout_passes": 20}},
)
def guided_backprop(question: Question, options: Options) -> Steps[Finding]:
    """Differentiate once with guided ReLUs, or T times with dropout."""
    if options.dropout_passes:
        return (yield from _monte_carlo(question, options))

    def shown(gradient: Tensor) -> Finding:
        return Finding(over_channels(gradient, options.signed)[0])

    gradient = yield from guided_gradient(question, shown)
    hidden = not bool(gradient.any())
    return Finding(
        over_channels(gradient, options.signed)[0],
        numbers={"status": "hidden"} if hidden else {},
        warnings=[HIDDEN] if hidden else [],
    )


def guided_gradient(question: Question, partial: Callable[[Tensor], Finding] | None = None) -> Steps[Tensor]:
    """Return the guided gradient of the question's input: (1, channels, *grid).

    Parameters
    ----------
    partial
        As of `input_gradient`.

    Raises
    ------
    UserError
        If there is nothing to guide.
    """
    guided = _guided(question)
    gradient = yield from input_gradient(question, around=lambda start: guided, partial=partial)
    _check(question, guided)
    return gradient


def _monte_carlo(question: Question, options: Options) -> Steps[Finding]:
    guided, layers = _guided(question), dropout_layers(question.model.module)
    if not layers:
        raise UserError(
            f"{question.model.name} has no dropout layer, so all passes would be the same; set dropout_passes to 0."
        )
    mean = torch.zeros(question.grid, device=question.device)
    spread = torch.zeros_like(mean)  # sum of squared differences from the mean (Welford 1962)
    done = 0

    def around(start: int) -> ExitStack:
        stack = ExitStack()
        stack.enter_context(dropping(layers, question.device, question.seed, start))
        stack.enter_context(guided)
        return stack

    def consume(start: int, gradients: Tensor, _scores: Tensor) -> bool:
        nonlocal done
        _check(question, guided)
        map = over_channels(gradients, options.signed)[0]
        done = start + 1
        away = map - mean
        mean.add_(away / done)
        spread.add_(away * (map - mean))
        if options.tolerance is None:
            return False
        left = error()
        return left is not None and left < options.tolerance

    def error() -> float | None:
        """Standard error of the mean as a share of its range."""
        if done < FEWEST:
            return None
        low, high = mean.aminmax()
        return float(
            (spread.clamp(min=0) / (done * (done - 1))).mean().sqrt() / (high - low).clamp(min=1e-12)
        )

    def finding() -> Finding:
        deviation = (spread / done).clamp(min=0).sqrt()
        return Finding(
            mean.clone(),
            maps={"standard_deviation": deviation},
            numbers={"passes": done, "error": error(), "dropout_layers": len(layers)},
        )

    yield from input_gradients(
        question,
        options.dropout_passes,
        lambda start, n: question.input,
        consume,
        note="pass with dropout",
        partial=finding,
        largest=1,  # what is dropped depends on the pass alone, not on its neighbours in a batch
        around=around,
    )
    return finding()


def _guided(question: Question) -> Guided:
    if not question.model.has_layers:
        raise UserError(
            f"{question.model.name} is a TorchScript model, whose ReLUs may be fused with what surrounds them and cannot "
            "be guided; use vanilla-gradient, or load it as an nn.Module."
        )
    return Guided()


def _check(question: Question, guided: Guided) -> None:
    compared = ", ".join(sorted(guided.comparisons))
    if not guided.seen:
        names = ", ".join(sorted(guided.left_alone))
        found = f" (one that is written with {compared} is not recognised)" if compared else ""
        found = f" (its {names} is left alone)" if names else found
        raise UserError(
            f"{question.model.name} has no ReLU between its input and the target{found}, so there is nothing to guide; "
            "use vanilla-gradient."
        )
    said = []
    others = sorted(guided.seen - set(RELUS))
    if others:
        said.append(f"{', '.join(others)}: no ReLU, so only negative gradients were clamped there.")
    shrinks = sorted(guided.left_alone & set(SHRINKS))
    if shrinks:
        said.append(f"{', '.join(shrinks)}: off around 0 and on at both sides, so that it was left alone.")
    if compared:
        said.append(
            f"{question.model.name} computes with {compared}; an activation function that is written so is not guided."
        )
    question.warnings.extend(one for one in said if one not in question.warnings)
