"""Kernel-weighted contribution: what every kernel of a convolution is worth, alone and by its absence.

    w_k = dep_k ind_k / sum P,   dep_k = sum (P - min(P_dep, P)),   ind_k = sum min(P_ind, P)
    L = sum_k unit(w)_k ReLU(A^k)

with P = probability of the label over M; P_dep with kernel k replaced by a random one, P_ind with all kernels but k
replaced. Mullan and Sonka, Journal of Medical Imaging 2022 and 2023. The random kernels are Glorot uniform with the
right fans (published code takes them from the wrong axes, which makes the kernels several times too small). Kernels
are not edited: the layer's output for the random kernels is computed once (through windows: in each) and channels are exchanged. Needs a
convolution; "decoder" merges all convolutions after the bottleneck by their mean. Cost per layer: 1 forward, 2
(channels) passes from the layer on.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor, nn

from napari_segxai.core.errors import UserError
from napari_segxai.core.options import LayerName, option
from napari_segxai.core.progress import Passes, Steps, relay
from napari_segxai.engine.finding import Finding
from napari_segxai.engine.merge_maps import decoder_convolutions, merge_maps
from napari_segxai.engine.primitives.interventions import Change, Interventions
from napari_segxai.engine.primitives.layer_replay import Replay
from napari_segxai.engine.question import Question
from napari_segxai.methods.activation.seg_grad_cam import weighted_sum
from napari_segxai.methods.registry import Size, explainer
from napari_segxai.models.introspection.call_names import module_of
from napari_segxai.models.introspection.dispatch import DispatchMode
from napari_segxai.models.introspection.layers import NetworkLayer, find_layer
from napari_segxai.models.introspection.modules import as_weights, find_module

EPSILON = 1e-12


@dataclass(frozen=True)
class Options:
    """Parameters of kernel-weighted."""

    layer: LayerName = option("last", help="a convolution, or a layer whose last convolution is taken")
    layers: Literal["one", "decoder"] = option(
        "one", help="that network layer alone, or all convolutions after the bottleneck (slow)"
    )


def _chosen(options: Options, layers: tuple[NetworkLayer, ...], model: str) -> list[NetworkLayer]:
    if options.layers == "decoder":
        return decoder_convolutions(layers, model)
    named = find_layer(options.layer, layers, model)
    if named.convolution:
        return [named]
    on_the_way = [layer for layer in layers if layer.stage not in ("side", "unused")]
    found = [layer for layer in on_the_way if layer.order <= named.order and layer.convolution]
    if not found:
        raise UserError(f"{model} has no convolution up to {options.layer}; kernel-weighted needs one.")
    return [found[-1]]


def _passes(options: Options, size: Size) -> Passes:
    chosen = _chosen(options, tuple(size.network_layers()), "the model")
    return Passes(len(chosen), 0, sum(2 + 2 * layer.shape[0] for layer in chosen))


@explainer(
    "kernel-weighted",
    title="Kernel-weighted contribution",
    question="layer",
    needs=("network layers",),
    summary="which kernels of a convolution the label depends on, and which bring it about alone",
    unit="weighted activation",
    source="Mullan and Sonka, JMI 2022, 2023",
    cites=("mullan2022", "mullan2023"),
    options=Options,
    passes=_passes,
)
def kernel_weighted(question: Question, options: Options) -> Steps[Finding]:
    """Exchange kernels for random ones, one by one."""
    layers = _chosen(options, question.model.example_layers, question.model.name)
    maps = []
    for layer in layers:
        maps.append((yield from _one_layer(question, layer.name)))
    return Finding(merge_maps(maps, "mean"), numbers={"convolutions": [layer.name for layer in layers]})


def _one_layer(question: Question, name: str) -> Steps[Tensor]:
    layer = Interventions(question, name, inputs=True)
    pixels = question.weights
    yield question.step("forward pass")
    probability = question.model.probability(question.logits, question.label)[0] * pixels
    count = layer.channels
    lost = torch.zeros(count, device=question.device)
    alone = torch.zeros(count, device=question.device)

    def exchanged(replay: Replay) -> Change:
        own, entered = replay.activation, replay.entered
        assert entered is not None  # it was asked for
        module = find_module(question.model.module, module_of(name))
        with _RandomKernels(question.seed):
            instead = module(as_weights(entered, module))

        def change(start: int, n: int) -> Tensor:
            """First the changes that take one kernel away, then those that leave one alone."""
            out = []
            for k in range(start, start + n):
                kept, other = (own, instead) if k < count else (instead, own)
                changed = kept.clone()
                changed[:, k % count] = other[:, k % count]
                out.append(changed)
            return torch.cat(out)

        return change

    def consume(start: int, logits: Tensor) -> None:
        new = question.model.probability(logits, question.label) * pixels
        kept = torch.minimum(new, probability).flatten(1).sum(1)
        for k, value in enumerate(kept, start):
            if k < count:
                lost[k] = probability.sum() - value
            else:
                alone[k - count] = value

    where = question.pixels
    yield from layer.run(2 * count, exchanged, consume, note=f"kernel of {name}", where=where)
    weights = lost * alone / probability.sum().clamp(min=EPSILON)
    span = weights.max() - weights.min()
    unit = (weights - weights.min()) / span if span > 0 else torch.zeros_like(weights)
    steps = layer.map(lambda activation: weighted_sum(activation.clamp(min=0), unit), Finding)
    return (yield from relay(steps, lambda step: replace(step, partial=None))).map


class _RandomKernels(DispatchMode):
    """While open, convolutions compute with Glorot-uniform kernels and their own bias.

    The kernel is exchanged where it is used, so that it does not matter how a module keeps it (weight normalisation,
    standardised weights, a class of its own).
    """

    def __init__(self, seed: int):
        super().__init__()
        self._generator = torch.Generator().manual_seed(seed)

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        if func is torch.ops.aten.convolution.default:
            kernel = torch.empty_like(args[1], device="cpu")
            nn.init.xavier_uniform_(kernel, generator=self._generator)
            args = (args[0], kernel.to(args[1]), *args[2:])
        return func(*args, **(kwargs or {}))
