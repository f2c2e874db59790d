"""Making an information flow: one forward pass, one backward pass per label, and a causal check on demand."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from napari_segxai.analyses.flow.advice import advise
from napari_segxai.analyses.flow.plan import METHODS, Ablation, FlowPlan, ablation_passes, fills
from napari_segxai.analyses.flow.result import Flow, Tile
from napari_segxai.core.image import Image
from napari_segxai.core.prediction import where
from napari_segxai.core.progress import Passes, Step, Steps, finish
from napari_segxai.core.target import Region
from napari_segxai.engine.execution.modes import in_usual_modes
from napari_segxai.engine.finding import EmptyRegion
from napari_segxai.engine.primitives.activations import Tape
from napari_segxai.engine.primitives.cancellation import cancels, few
from napari_segxai.engine.primitives.mean_ablation import lesions
from napari_segxai.engine.question import Question
from napari_segxai.engine.scores import dice
from napari_segxai.methods.activation import grad_pam
from napari_segxai.metrics.functional.layer_maps import NUMBERS, Features, describe_map, shares
from napari_segxai.models.ground_truth import Truth
from napari_segxai.models.inference.memory import guarded
from napari_segxai.models.introspection.layers import NetworkLayer
from napari_segxai.models.segmentation import SegmentationModel


def information_flow(
    model: SegmentationModel | nn.Module | str | Path,
    image: Image | np.ndarray,
    labels: Sequence[str | int] | None = None,
    *,
    method: str = "seg-grad-cam",
    layers: Sequence[str] | str | None = None,
    region: Region = None,
    truth: Truth | None = None,
    score: str = "logit",
    reduction: str = "mean",
    slice: int | None = None,
    axis: int | None = None,
    seed: int = 0,
    device: str = "auto",
    causal: bool = False,
    ablation: Ablation = "mean",
    progress: Callable[[Step], None] | None = None,
    **params: Any,
) -> Flow:
    """Show for every network layer and every label where the evidence lies and how strong it is.

    Parameters
    ----------
    model, image, seed, device, slice, axis
        As for `explain`. A 2D model on a volume needs the slice.
    labels
        Labels by name; all but the first (the background) by default.
    method
        seg-grad-cam, seg-hires-grad-cam, seg-xres-cam, layer-cam or grad-pam.
    layers
        Names of network layers, of any modules; "all"; the main blocks of the network by default.
    region, score, reduction
        As for `Target`.
    truth
        True labels, to compare the maps with as well; see `truth.truth_labels` for what they may be.
    causal
        Whether `causal_check` is run as well.
    ablation
        How: see there.
    progress
        Called with every `Step`.
    **params
        Parameters of the method.

    Returns
    -------
    Flow

    Raises
    ------
    UserError
        For anything that was asked wrongly.
    """
    asked = {name: value for name, value in locals().items() if name not in ("progress", "params")}
    return finish(information_flow_steps(**asked, **params), progress)


def information_flow_steps(
    model: SegmentationModel | nn.Module | str | Path,
    image: Image | np.ndarray,
    labels: Sequence[str | int] | None = None,
    **asked: Any,
) -> Steps[Flow]:
    """`information_flow`, one step at a time. What is wrong with the question is raised at the call."""
    return flow_steps(FlowPlan.make(model, image, labels, **asked))


@in_usual_modes
def flow_steps(plan: FlowPlan) -> Steps[Flow]:
    """Run a plan; see `information_flow_steps`."""
    start = time.perf_counter()
    asked, layers, truth = plan.first, plan.layers, plan.truth
    model, index = asked.model, asked.slices[0]
    known = partial(where, overlapping=model.overlapping)
    with model.in_use(asked.device), guarded(asked.device):
        prepared = model.prepare(asked.image, index)
        planned = plan.passes
        questions = {
            name: Question(
                model, asked.image, prepared, one.target, device=one.device, seed=one.seed, planned=planned
            )
            for name, one in plan.plans.items()
        }
        first = next(iter(questions.values()))
        for question in questions.values():
            question.executor.passes = first.passes  # all count together
        tape = Tape(first, [layer.name for layer in layers])
        yield first.step("forward pass")
        flow = Flow(
            model,
            asked.image,
            asked.method.name,
            asked.options,
            tuple(_with_shape(layer, a) for layer, a in zip(layers, tape.activations, strict=True)),
            tuple(plan.plans),
            {},
            first.passes,
            warnings=[*plan.warnings, *prepared.notes],
            plans=plan.plans,
            questions=questions,
        )
        with torch.no_grad():
            features = [Features.of(activation) for activation in tape.activations]
        for position, (name, question) in enumerate(questions.items()):
            question.remember_logits(tape.logits)
            place = prepared.placement
            true = (
                None if truth is None else place.mask_to_grid(known(truth, question.label)).to(asked.device)
            )
            yield from _one_label(flow, tape, features, question, true, last=position + 1 == len(questions))
            yield question.step(f"backward pass of {name}")
        flow.warnings += [w for w in first.warnings if w not in flow.warnings]
        del tape
        if plan.causal:
            yield from _causal(flow, plan.ablation)
    flow.seconds = time.perf_counter() - start
    advise(flow)
    return flow


def _with_shape(layer: NetworkLayer, activation: Tensor) -> NetworkLayer:
    """Return the layer with its shape for this image."""
    return replace(layer, shape=tuple(activation.shape[1:]))


def _one_label(
    flow: Flow,
    tape: Tape,
    features: Sequence[Features],
    question: Question,
    truth: Tensor | None,
    *,
    last: bool,
) -> Steps[None]:
    """Fill in the tiles of one label; passes counted and reported."""
    label = flow.model.labels[question.label]
    layers, options = flow.layers, flow.options
    maps: list[Tensor] = [torch.zeros(layer.shape[1:], device=question.device) for layer in layers]
    norms = [torch.zeros((), device=question.device) for _ in layers]
    combine = METHODS[flow.method]
    noise: dict[int, bool] = {}

    def take(k: int, gradient: Tensor) -> None:
        activation = tape.activations[k]
        one = combine(activation, gradient, options)
        maps[k] += one
        if k not in noise and bool(one.any()):
            noise[k] = cancels(one, combine(activation.abs(), gradient.abs(), options))
        norms[k] += torch.linalg.vector_norm(gradient, 1) / gradient.numel()

    try:
        pixels = question.pixels
    except EmptyRegion as reason:
        flow.warnings.append(str(reason))
    else:
        scores = question.scores(tape.logits)
        if flow.method == "grad-pam":
            places = grad_pam.sample(pixels, options.pixels)
            for number, place in enumerate(places, start=1):
                keep = not last or number < len(places)
                tape.each_gradient(scores[0].flatten()[place], take, keep=keep)
                yield question.step(f"{label}, pixel {number} of {len(places)}")
            for values in (*maps, *norms):
                values /= len(places)
        else:
            tape.each_gradient(question.score(tape.logits).sum(), take, keep=not last)
    if any(noise.values()):
        names = few([layer.name for k, layer in enumerate(layers) if noise.get(k)])
        said = (
            f"activations and gradients of {names} cancel, as they do before a normalisation: the maps of {flow.method} there "
            "are numerical noise; look at another method or at the network layer after the normalisation."
        )
        flow.warnings += [said] * (said not in flow.warnings)
    # Layers of one resolution have their cells in common.
    inside = cache(lambda shape: shares(question.predicted, shape))
    true = cache(lambda shape: None if truth is None else shares(truth, shape))
    with torch.no_grad():
        numbers = [
            describe_map(m, n, f, inside(tuple(m.shape)), true(tuple(m.shape)))
            for m, n, f in zip(maps, norms, features, strict=True)
        ]
        table = torch.stack(numbers).tolist()  # one transfer for all layers
    for layer, values, row in zip(layers, maps, table, strict=True):
        numbers_by_name: dict[str, Any] = dict(zip(NUMBERS, row, strict=True))
        if truth is None:
            numbers_by_name["dice_truth"] = None
        flow.tiles[label, layer.name] = Tile(label, layer, values.float().cpu().numpy(), **numbers_by_name)


def causal_check(
    flow: Flow, ablation: Ablation = "mean", *, progress: Callable[[Step], None] | None = None
) -> Flow:
    """Fill in what the prediction loses without each layer, and without its skip connection alone.

    One or two forward passes per network layer and kind of ablation, for all labels together.

    Parameters
    ----------
    ablation
        "mean": the output is filled with its channel means (`Tile.lost`); "zero": with zeros (`Tile.lost_zero`); "both",
        after which `Tile.disagreements` and the advice say where they differ.

    Raises
    ------
    UserError
        For another kind of ablation.
    """
    return finish(causal_check_steps(flow, ablation), progress)


def causal_check_steps(flow: Flow, ablation: Ablation = "mean") -> Steps[Flow]:
    """`causal_check`, one step at a time; another kind of ablation is refused at the call."""
    fills(ablation)
    return _checked(flow, ablation)


@in_usual_modes
def _checked(flow: Flow, ablation: Ablation) -> Steps[Flow]:
    first = flow.questions[flow.labels[0]]
    done = flow.passes.cost
    first.planned = Passes(done + ablation_passes(flow.layers, ablation))
    with flow.model.in_use(first.device), guarded(first.device):
        yield from _causal(flow, ablation)
    advise(flow)
    return flow


def _causal(flow: Flow, ablation: Ablation) -> Steps[None]:
    first = flow.questions[flow.labels[0]]
    for fill in fills(ablation):
        end = "_zero" if fill == "zero" else ""
        found = yield from lesions(first, flow.layers, fill)
        for label, question in flow.questions.items():
            if not bool(question.predicted.any()):
                continue
            everywhere = torch.ones_like(question.predicted)[None]
            at_most = 1 - float(dice(everywhere, question.predicted))
            for name, outputs in found.items():
                tile = flow.tiles[label, name]
                tile.lost_at_most = at_most
                for what, logits in zip(("lost", "lost_skip"), outputs, strict=True):
                    if logits is not None:
                        lost = 1 - float(dice(question.drawn(logits), question.predicted))
                        setattr(tile, f"{what}{end}", lost)
