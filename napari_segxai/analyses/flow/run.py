"""Making an information flow: one forward pass, one backward pass per label, and a causal check on demand."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from napari_segxai.analyses.flow.advice import advise
from napari_segxai.analyses.flow.plan import METHODS, Ablation, FlowPlan, ablation_passes, fillings
from napari_segxai.analyses.flow.result import Flow
from napari_segxai.analyses.flow.routes import follow_routes
from napari_segxai.analyses.flow.tiles import Tile
from napari_segxai.analyses.flow.windows import label_in_windows, whole_layer
from napari_segxai.analyses.provenance import facts_of_model, now, versions
from napari_segxai.core.errors import UserError
from napari_segxai.core.prediction import where
from napari_segxai.core.progress import Passes, Steps
from napari_segxai.engine.execution.modes import in_usual_modes
from napari_segxai.engine.finding import EmptyRegion
from napari_segxai.engine.primitives.activations import LayerRecorder
from napari_segxai.engine.primitives.cancellation import cancels, first_names
from napari_segxai.engine.primitives.mean_ablation import ablations
from napari_segxai.engine.question import Question
from napari_segxai.engine.scores import dice
from napari_segxai.io.image_record import image_as_dict
from napari_segxai.methods.activation import grad_pam
from napari_segxai.metrics.functional.layer_maps import NUMBERS, Features, describe_map, shares
from napari_segxai.models.inference.memory import guarded
from napari_segxai.models.introspection.layers import NetworkLayer
from napari_segxai.models.preprocessing.spatial import plane_of


@in_usual_modes
def flow_steps(plan: FlowPlan) -> Steps[Flow]:
    """Run a plan; see `information_flow_steps`."""
    start = time.perf_counter()
    asked, layers = plan.first, plan.layers
    model, index = asked.model, asked.slices[0]
    with model.in_use(asked.device), guarded(asked.device):
        prepared = model.prepare(asked.image, index)
        questions = {
            name: Question(
                model,
                asked.image,
                prepared,
                one.target,
                device=one.device,
                seed=one.seed,
                planned=plan.passes,
            )
            for name, one in plan.plans.items()
        }
        first = next(iter(questions.values()))
        for question in questions.values():
            question.executor.passes = first.passes  # all count together
        tape: LayerRecorder | None = None
        if model.windows is None:
            tape = LayerRecorder(first, [layer.name for layer in layers])
            shown = tuple(_with_shape(layer, a) for layer, a in zip(layers, tape.activations, strict=True))
        else:
            shown = tuple(whole_layer(layer, first) for layer in layers)
        yield first.step("forward pass")
        logits = first.logits if tape is None else tape.logits
        first.remember_logits(logits)
        flow = Flow(
            image=asked.image,
            method=asked.method.name,
            options=asked.options,
            layers=shown,
            labels=tuple(questions),
            tiles={},
            passes=first.passes,
            placement=prepared.placement,
            drawn={},
            facts=_facts(plan),
            region=asked.target.region if isinstance(asked.target.region, np.ndarray) else None,
            warnings=[*plan.warnings, *prepared.notes],
            truth=plan.truth,
            truth_notes=list(plan.warnings),
            bottlenecks=tuple(model.roles.bottlenecks),
            attention=any(call.attention for call in model.example_calls),
            plan=plan,
            question=first,
        )
        with torch.no_grad():
            features = [Features.of(activation) for activation in tape.activations] if tape else []
        noise: dict[int, bool] = {}
        known = None if plan.ignored is None else ~first.from_image(plan.ignored)
        for position, (name, question) in enumerate(questions.items()):
            question.remember_logits(logits)
            last, truth = position + 1 == len(questions), _truth(plan, question)
            if tape is None:
                yield from label_in_windows(flow, question, truth, known)
            else:
                yield from _one_label(flow, tape, features, noise, question, truth, known, last=last)
            flow.drawn[name] = question.predicted.cpu().numpy()
            if flow.drawn[name].any() and question.is_missed:
                flow.missed[name] = question.nothing_drawn
            flow.notes[name] = [*prepared.notes, *question.warnings]
            yield question.step(f"backward pass of {name}")
        flow.warnings += [w for w in first.warnings if w not in flow.warnings]
        flow.facts["engine"] = dict(first.executor.notes)
        del tape
        if plan.routes:
            yield from follow_routes(flow, questions)
        if plan.causal:
            yield from _ablate(flow, plan.ablation)
    flow.seconds = time.perf_counter() - start
    advise(flow)
    return flow


def _facts(plan: FlowPlan) -> dict[str, Any]:
    """Return what every record of a flow says; see `Flow.facts`."""
    asked = plan.first
    target = {key: value for key, value in asked.target.as_dict().items() if key != "label"}
    return {
        "target": target,
        "model": facts_of_model(asked.model),
        "image": image_as_dict(asked.image),
        "device": str(asked.device),
        "seed": asked.seed,
        "slice": asked.slice,
        "axis": plane_of(asked.model.card, asked.image),
        "unit": asked.unit,
        "engine": {},
        "created": now(),
        "versions": versions(),
    }


def _truth(plan: FlowPlan, question: Question) -> Tensor | None:
    """Return where a label truly is: boolean (*model grid); None where no truth was given."""
    if plan.truth is None:
        return None
    true = where(plan.truth, question.label, overlapping=question.model.overlapping)
    return question.from_image(true)


def _with_shape(layer: NetworkLayer, activation: Tensor) -> NetworkLayer:
    """Return the layer with its shape for this image."""
    return replace(layer, shape=tuple(activation.shape[1:]))


def _one_label(
    flow: Flow,
    tape: LayerRecorder,
    features: Sequence[Features],
    noise: dict[int, bool],
    question: Question,
    truth: Tensor | None,
    known: Tensor | None,
    *,
    last: bool,
) -> Steps[None]:
    """Fill in the tiles of one label; passes counted and reported.

    Parameters
    ----------
    noise
        By layer, whether activations and gradients cancel: that is where the layer lies, and looked at for the first label that has a map.
    last
        Whether no label follows, so that the graph can go.
    """
    label = question.model.labels[question.label]
    layers, options = flow.layers, flow.options
    maps: list[Tensor] = [torch.zeros(layer.shape[1:], device=question.device) for layer in layers]
    norms = [torch.zeros((), device=question.device) for _ in layers]
    combine = METHODS[flow.method]

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
        if flow.method == "grad-pam":
            scores = question.scores(tape.logits)
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
        names = first_names([layer.name for k, layer in enumerate(layers) if noise.get(k)])
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
            describe_map(
                m,
                n,
                f,
                inside(tuple(m.shape)),
                true(tuple(m.shape)),
                None if known is None else shares(known, m.shape),
            )
            for m, n, f in zip(maps, norms, features, strict=True)
        ]
        table = torch.stack(numbers).tolist()  # one transfer for all layers
    for layer, values, row in zip(layers, maps, table, strict=True):
        numbers_by_name: dict[str, Any] = dict(zip(NUMBERS, row, strict=True))
        if truth is None:
            numbers_by_name["dice_truth"] = None
        flow.tiles[label, layer.name] = Tile(label, layer, values.float().cpu().numpy(), **numbers_by_name)


@in_usual_modes
def ablation_steps(flow: Flow, ablation: Ablation) -> Steps[Flow]:
    """Run a causal check on a flow; see `causal_check_steps`."""
    if flow.question is None:
        flow.question = _question_again(flow)
    question = flow.question
    more = ablation_passes(flow.layers, ablation, windowed=question.model.windows is not None)
    question.planned = Passes(flow.passes.cost + more)
    with question.model.in_use(question.device), guarded(question.device):
        yield from _ablate(flow, ablation)
    advise(flow)
    return flow


def _question_again(flow: Flow) -> Question:
    """Return what a causal check runs on, for a flow that was opened from a folder."""
    asked = flow.plan.first
    with asked.model.in_use(asked.device):
        prepared = asked.model.prepare(asked.image, asked.slices[0])
        if prepared.placement != flow.placement:
            raise UserError(
                f"{asked.model.name} sees {flow.image.name} on another grid than when the information flow was made; make it "
                "again."
            )
        question = Question(
            asked.model,
            asked.image,
            prepared,
            asked.target,
            device=asked.device,
            seed=asked.seed,
            planned=Passes(),
        )
    question.executor.passes = flow.passes
    return question


def _ablate(flow: Flow, ablation: Ablation) -> Steps[None]:
    question = flow.question
    drawn = {
        label: torch.from_numpy(mask).to(question.device) for label, mask in flow.drawn.items() if mask.any()
    }
    at_most = {
        label: 1 - float(dice(torch.ones_like(before)[None], before)) for label, before in drawn.items()
    }
    found: list[tuple[Tile, str, float]] = []  # written down at the end: half a check is none
    for filling in fillings(ablation):
        end = "_zero" if filling == "zero" else ""

        def take(name: str, *outputs: Tensor | None, end: str = end) -> None:
            for label, before in drawn.items():
                index, tile = question.model.label_index(label), flow.tiles[label, name]
                found.append((tile, "lost_at_most", at_most[label]))
                for what, logits in zip(("lost", "lost_skip"), outputs, strict=True):
                    if logits is not None:
                        after = question.model.labeling.drawn(logits, index)
                        found.append((tile, f"{what}{end}", 1 - float(dice(after, before))))

        yield from ablations(question, flow.layers, filling, take)
    for tile, what, value in found:
        setattr(tile, what, value)
