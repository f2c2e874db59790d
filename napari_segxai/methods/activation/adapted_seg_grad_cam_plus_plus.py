"""Adapted Seg-Grad-CAM++: Seg-Grad-CAM++ of every convolution after the bottleneck, merged.

    L = mean over layers of unit(ReLU(L_layer)),   or   L = sum over layers of L_layer

Mullan and Sonka, Journal of Medical Imaging 2022: maps of all convolutions and up-convolutions of the decoder, each
brought to the largest, scaled to [0, 1] and averaged. Scaling every map discards how strong it was, so that a
network layer which hardly matters counts as much as the one that decides; "sum of raw" keeps the strength. Published
code asks about the sum of the whole output; here the target is asked about, as everywhere. Cost: 1 forward, 1
backward for all network layers together.
"""

from __future__ import annotations

from dataclasses import dataclass

from napari_segxai.core.options import option
from napari_segxai.core.progress import Passes, Steps
from napari_segxai.engine.finding import Finding
from napari_segxai.engine.merge_maps import HELP, Merge, decoder_convolutions, merge_maps, merged_unit
from napari_segxai.engine.pooled import Pooled, pooled_maps
from napari_segxai.engine.question import Question
from napari_segxai.methods.activation.seg_grad_cam_plus_plus import POSITIVE_GRADIENTS
from napari_segxai.methods.registry import explainer


@dataclass(frozen=True)
class Options:
    """Parameters of adapted-seg-grad-cam-plus-plus."""

    merge: Merge = option("mean of rescaled", help=HELP)


@explainer(
    "adapted-seg-grad-cam-plus-plus",
    title="Adapted Seg-Grad-CAM++",
    question="layer",
    needs=("network layers", "gradients"),
    summary="what the whole decoder attends to, weighting strong gradients more",
    unit=merged_unit("activation × gradient of the {score}"),
    source="Mullan and Sonka, JMI 2022",
    cites=("mullan2022",),
    reads="score",
    options=Options,
    passes=lambda options, size: Passes(1, 1),
)
def adapted_seg_grad_cam_plus_plus(question: Question, options: Options) -> Steps[Finding]:
    """Merge the maps of all decoder convolutions."""
    layers = decoder_convolutions(question.model.example_layers, question.model.name)

    names = [layer.name for layer in layers]

    def finding(found: Pooled) -> Finding:
        return Finding(merge_maps(found.maps, options.merge), numbers={"network_layers": len(layers)})

    return (yield from pooled_maps(question, names, POSITIVE_GRADIENTS, finding))
