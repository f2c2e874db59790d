"""Adversarial attack: how far an explanation, or the segmentation, moves when the image is changed on purpose.

    explanation    min over delta of  |S(x + delta) - T|^2 / |S(x) - T|^2  +  gamma |f(x + delta) - f(x)|^2 / var f(x)
    segmentation   min over delta of  mean over M of max(0, margin),   margin = logit of the label - largest other logit
    both with      |delta| <= epsilon x range of the channel, and the image within its own range

S is |map| divided by its mean, f are the logits, T a pattern that has nothing to do with the image; the margin of a
sigmoid output s with the threshold t is 2 (s - logit t). *explanation*
(Gipiškis et al., IEEE Systems Journal 2023; Dombrowski et al., NeurIPS 2019) keeps the prediction and moves the map
of a gradient method, by Adam: if it succeeds, that map is not a fingerprint of the prediction. It differentiates
twice; a ReLU has no second derivative, so ReLUs and other activations with a kink (PReLU, ReLU6, hardswish, ELU, a clamp
at 0, ...) are built from softplus(beta) while the image is changed; smooth ones (SiLU, GELU, ...) stay. *segmentation*
(Goodfellow et al., ICLR 2015 with one step: FGSM; Madry et al., ICLR 2018) makes the object vanish and shows how far
the map follows, by steps of 2.5 epsilon / steps along the sign of the gradient. Everything that is reported is
measured on the network as it is. Cost per step: 1 forward and 2 backward passes, or 1 and 1; around it 2 forward, 2
backward.

It looks for no cause: it asks how far an explanation can be moved. The map shown is map after minus map before.
Trust a success: the changed image is there to be looked at. A failure proves nothing: more steps, another gamma or
beta may do better, and a deep network layer can hardly be moved. The paper does not give its own loss weights;
the terms here are relative, so that gamma means the same for every network. Changes are made to what enters the
network, after resampling and intensity steps. Through windows, only *segmentation* can be attacked: the gradient of a map would need the graphs of all windows at once. Inside TorchScript ReLUs stay as they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from napari_segxai.core.capabilities import SECOND
from napari_segxai.core.options import LayerName, option
from napari_segxai.core.progress import Passes, Steps
from napari_segxai.engine.backward_rules.smooth_relu import SmoothReLU
from napari_segxai.engine.finding import Finding
from napari_segxai.engine.question import Question
from napari_segxai.engine.scores import dice, reduce_scores
from napari_segxai.methods.activation import seg_grad_cam
from napari_segxai.methods.counterfactual.change import adam, budget, range_of, signs
from napari_segxai.methods.counterfactual.watched_map import CAM, Kind, WatchedMap, gradient_of
from napari_segxai.methods.registry import Size, explainer

KEPT = 0.9
"""Dice of the predictions above which an attack on the explanation has kept the prediction."""


@dataclass(frozen=True)
class Options:
    """Parameters of adversarial-attack."""

    maps_change: ClassVar[bool] = True

    attack: Literal["explanation", "segmentation"] = option(
        "explanation", help="move the map and keep the prediction, or make the object vanish"
    )
    explanation: Kind = option("vanilla gradient", help="the method whose map is watched")
    layer: LayerName = option("bottleneck", help="network layer, for seg-grad-cam")
    epsilon: float = option(
        0.0314,
        gt=0,
        le=1,
        unit="of the range",
        help="largest change of a pixel; 0.0314 is 8 of 255 grey values",
    )
    steps: int = option(40, ge=1, help="steps of the attack; 1 is FGSM")
    pattern: Literal["corner", "mirrored"] = option(
        "corner", help="what the map is moved to: a box far from M, or its own mirror image"
    )
    gamma: float = option(10.0, ge=0, advanced=True, help="weight of keeping the logits")
    beta: float = option(30.0, gt=0, advanced=True, help="softplus(beta) stands for a ReLU during the attack")

    @property
    def needs(self) -> tuple[str, ...]:
        """What it needs beside gradients."""
        return (SECOND,) if self.attack == "explanation" else ()

    @property
    def looks_inside(self) -> bool:
        """Whether the map is one of a network layer."""
        return self.explanation == CAM


def _passes(options: Options, size: Size) -> Passes:
    return Passes(options.steps + 2, options.steps * (2 if options.attack == "explanation" else 1) + 2)


@explainer(
    "adversarial-attack",
    title="Adversarial attack",
    question="trust",
    needs=("gradients",),
    summary="how far a gradient map, or the segmentation, moves under a change that can hardly be seen",
    unit="change of the map",
    source="Gipiškis et al., IEEE Systems Journal 2023; Dombrowski et al., NeurIPS 2019; Goodfellow et al., ICLR 2015",
    cites=("gipiskis2023attacks", "dombrowski2019", "goodfellow2015"),
    options=Options,
    passes=_passes,
    presets={
        "gipiskis": {"attack": "explanation", "steps": 100},
        "fgsm": {"attack": "segmentation", "steps": 1},
        "pgd": {"attack": "segmentation", "steps": 40},
    },
)
def adversarial_attack(question: Question, options: Options) -> Steps[Finding]:
    """Change the image within the budget, and measure what moved."""
    x = question.input
    before = yield from _map(question, options)
    yield question.step("map before")
    _, moving = question.pixels, options.attack == "explanation"
    low, high = budget(x, options.epsilon)
    target = _pattern(question, before, options.pattern) if moving else None
    map_of = WatchedMap(question, options.explanation, options.layer, graph=True)
    soft = SmoothReLU(options.beta)
    scale = question.logits.var(unbiased=False).clamp(min=1e-12)
    reference: list[Tensor] = []

    def explanation_loss(tensor: Tensor) -> tuple[Tensor, Sequence[Tensor]]:
        assert target is not None
        logits: list[Tensor] = []
        values = share(map_of.of(tensor, logits.append))
        away = (values - target).square().mean() / (share(before) - target).square().mean().clamp(min=1e-12)
        reference.append(logits[0].detach())  # the first is that of the image itself, in the softened network
        kept = (logits[0] - reference[0]).square().mean() / scale
        return away + options.gamma * kept, (away.detach(), kept.detach())

    def mean_over_m(values: Tensor) -> Tensor:
        return reduce_scores(values, question.weights, "mean", question.count)[0]

    def segmentation_loss(tensor: Tensor) -> tuple[Tensor, Sequence[Tensor]]:
        wins = question.margin(question.forward(tensor)).clamp(min=0)
        return mean_over_m(wins), (mean_over_m((wins.detach() > 0).float()),)

    loss = explanation_loss if moving else segmentation_loss
    columns: list[Sequence[Tensor]] = []
    walk = adam if moving else signs
    move = walk(options.epsilon * range_of(x), options.steps)

    def so_far() -> Finding:
        """What the change does to the image is known in the end; until then, the change itself."""
        return _changes(question, x)

    for k in range(options.steps):
        # The fused attentions of torch have no second derivative, the plain one has.
        twice = sdpa_kernel(SDPBackend.MATH) if moving else nullcontext()
        with torch.enable_grad(), twice, soft if moving else nullcontext():
            leaf = x.detach().clone().requires_grad_(True)
            value, parts = loss(leaf)
            gradient = gradient_of(question, value, leaf)
        question.passes.backward += 1
        columns.append((value.detach(), *parts))
        x = torch.minimum(torch.maximum(leaf.detach() - move(gradient), low), high)
        del leaf, value, gradient
        yield question.step(f"step {k + 1} of {options.steps}", so_far)

    changed = question.about(x)
    after = yield from _map(changed, options)
    finding = _compare(question, changed, before, after, target)
    names = ("loss", "distance_to_pattern", "change_of_logits") if moving else ("loss", "share_predicted")
    rows = torch.stack([torch.stack(list(row)) for row in columns]).tolist()
    finding.curves["attack"] = {
        "step": list(range(options.steps)),
        **{name: [row[i] for row in rows] for i, name in enumerate(names)},
    }
    if moving:
        finding.numbers["relus_softened"] = soft.count // options.steps
        finding.warnings.extend(
            _what_stays(question, soft, moved=bool((changed.input != question.input).any()))
        )
    else:
        finding.numbers["relus_softened"] = None
    yield question.step("map after")
    return finding


def _map(question: Question, options: Options) -> Steps[Tensor]:
    """Return the map of the input as it is."""
    if question.model.windows is not None and options.looks_inside:
        found = yield from seg_grad_cam.seg_grad_cam(question, seg_grad_cam.Options(options.layer))
        return found.map
    return WatchedMap(question, options.explanation, options.layer).of(
        question.input, question.remember_logits
    )


def _what_stays(question: Question, soft: SmoothReLU, *, moved: bool) -> list[str]:
    """Say which activation functions were not made smooth."""
    said = []
    if soft.jumps:
        said.append(
            f"{', '.join(sorted(soft.jumps))} has jumps and was not made smooth, so that the attack does not see through it."
        )
    if not moved and not question.model.has_layers:
        said.append(
            "the ReLUs of a TorchScript model are not made smooth, and their gradient has no gradient of its own; load it "
            "as an nn.Module."
        )
    elif soft.comparisons:
        said.append(
            f"the network computes with {', '.join(sorted(soft.comparisons))}; an activation function that is written so was "
            "not made smooth, and where a network is linear by pieces, its gradient does not move with the image."
        )
    return said


def share(values: Tensor) -> Tensor:
    """Return |map| divided by its mean; zero where the map is zero."""
    size = values.abs()
    return size / size.mean().clamp(min=1e-30)


def _pattern(question: Question, before: Tensor, kind: str) -> Tensor:
    """Return what the map is moved to, of mean 1, on the grid of the map."""
    if kind == "mirrored":
        return share(before).flip(-1)
    where = question.pixels.nonzero().float().mean(0).tolist()
    target = torch.zeros_like(before)
    box = []
    for center, size, cells in zip(where, question.grid, before.shape, strict=True):
        width = max(1, cells // 4)
        box.append(slice(0, width) if center >= (size - 1) / 2 else slice(cells - width, cells))
    target[tuple(box)] = 1
    return share(target)


def _compare(
    question: Question, changed: Question, before: Tensor, after: Tensor, target: Tensor | None
) -> Finding:
    predicted, now = question.predicted, changed.predicted
    change = _changes(question, changed.input)
    delta = (changed.input - question.input)[0]
    numbers = {
        "dice_prediction": float(dice(question.drawn(changed.logits), predicted)),
        "share_of_M_predicted": float((now & question.pixels).sum() / question.pixels.sum()),
        "pearson_maps": pearson(before, after),
        "ssim_maps": ssim(before, after),
        "largest_change": float(delta.abs().max()),
    }
    maps = {"map_before": before, "map_after": after, **change.maps}
    warnings = []
    if not bool(predicted.any()):
        warnings.append("nothing is predicted as the label, so that no prediction can be kept or lost.")
    elif target is not None and numbers["dice_prediction"] < KEPT:
        warnings.append(
            f"the prediction moved too (Dice {numbers['dice_prediction']:.2f}); a higher gamma or a lower epsilon "
            "attacks the explanation alone."
        )
    if target is not None:
        maps["pattern"] = target
        numbers["pearson_pattern_before"] = pearson(before, target)
        numbers["pearson_pattern_after"] = pearson(after, target)
    if not bool(delta.any()):
        warnings.append("the gradient of the attack is zero everywhere, so that nothing was changed.")
    return Finding(
        after - before,
        maps=maps,
        masks={"prediction_before": predicted, "prediction_after": now},
        numbers=numbers,
        curves={},
        warnings=warnings,
    )


def _changes(question: Question, tensor: Tensor) -> Finding:
    """Return the changed image and the change, channel by channel; the map is the largest change of a pixel."""
    delta = (tensor - question.input)[0]
    channels = [""] if len(delta) == 1 else [f"_{name}" for name in question.model.card.channels]
    maps = {}
    for k, name in enumerate(channels):
        maps[f"changed_image{name}"] = tensor[0, k]
        maps[f"change{name}"] = delta[k]
    return Finding(delta.abs().amax(0), maps=maps, numbers={"largest_change": float(delta.abs().max())})


def pearson(first: Tensor, second: Tensor) -> float | None:
    """Correlation of two maps' absolute values; None where one of them is constant."""
    a, b = (values.abs().cpu().double().flatten() for values in (first, second))
    a, b = a - a.mean(), b - b.mean()
    size = float(a.norm() * b.norm())
    return float(a @ b) / size if size > 0 else None


def ssim(first: Tensor, second: Tensor) -> float | None:
    """Structural similarity of two maps' absolute values, each divided by its largest; None below 3 cells a side."""
    from skimage.metrics import structural_similarity

    window = min(7, *first.shape)
    window -= 1 - window % 2
    if window < 3:
        return None
    a, b = (values.abs().cpu().double().numpy() for values in (first, second))
    a, b = (values / (values.max() or 1.0) for values in (a, b))
    return float(structural_similarity(np.asarray(a), np.asarray(b), win_size=window, data_range=1.0))
