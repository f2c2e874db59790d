"""Adapted Seg-Score-CAM: Seg-Score-CAM of every convolution after the bottleneck, merged.

    L = mean over layers of unit(ReLU(L_layer)),   or   L = sum over layers of L_layer

Mullan and Sonka, Journal of Medical Imaging 2022: maps of all convolutions and up-convolutions of the decoder, each
brought to the largest, scaled to [0, 1] and averaged. Scaling every map discards how strong it was, so that a
network layer which hardly matters counts as much as the one that decides; "sum of raw" keeps the strength. Published
code asks about the sum of the whole output; here the target is asked about, as everywhere. Cost: 1 + (channels of
all decoder convolutions) forward passes, hundreds in most networks.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from napari_segxai.core.options import option
from napari_segxai.core.progress import Passes, Steps
from napari_segxai.engine.finding import Finding
from napari_segxai.engine.masking.baselines import HELP as BASELINES
from napari_segxai.engine.masking.baselines import Baseline
from napari_segxai.engine.merge_maps import HELP, Merge, decoder_convolutions, merge_maps, merged_unit
from napari_segxai.engine.primitives.activations import activations
from napari_segxai.engine.question import Question
from napari_segxai.methods.activation.seg_score_cam import WEIGHTS, score_cam
from napari_segxai.methods.registry import Size, explainer


@dataclass(frozen=True)
class Options:
    """Parameters of adapted-seg-score-cam."""

    merge: Merge = option("mean of rescaled", help=HELP)
    weights: Literal["softmax", "min-max", "raw"] = option("softmax", help=WEIGHTS)
    baseline: Baseline = option("zero", help=BASELINES, advanced=True)


def _passes(options: Options, size: Size) -> Passes:
    return Passes(
        1 + sum(layer.shape[0] for layer in decoder_convolutions(size.network_layers(), "the model"))
    )


@explainer(
    "adapted-seg-score-cam",
    title="Adapted Seg-Score-CAM",
    question="layer",
    needs=("network layers",),
    summary="what the whole decoder attends to, tried out with masks instead of gradients",
    unit=merged_unit("weighted activation"),
    source="Mullan and Sonka, JMI 2022",
    cites=("mullan2022",),
    reads="score",
    options=Options,
    passes=_passes,
)
def adapted_seg_score_cam(question: Question, options: Options) -> Steps[Finding]:
    """Merge the maps of all decoder convolutions."""
    layers = decoder_convolutions(question.model.example_layers, question.model.name)
    recorded, tiles = yield from activations(question, [layer.name for layer in layers])
    maps = []
    for layer, activation in zip(layers, recorded, strict=True):
        note = f"{layer.name}, channel"
        maps.append(
            (yield from score_cam(question, activation, tiles, options.weights, options.baseline, note))
        )
    return Finding(merge_maps(maps, options.merge), numbers={"network_layers": len(layers)})
