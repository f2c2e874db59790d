"""Seg-XRes-CAM: gradients pooled over a window, between Seg-HiRes-Grad-CAM and Seg-Grad-CAM.

    L = sum_k up(pool(d y / d A^k)) * A^k   (pooled over windows, brought back by repetition)

Hasany, Petitjean, Meriaudeau, CVPR Workshops 2023. A window of 1 is Seg-HiRes-Grad-CAM; mean pooling over
the whole map is Seg-Grad-CAM. Windows that stick out at the edge pool over the cells that they hold, so that
no zero padding dims the edge. Cost: 1 forward, 1 backward.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch.nn.functional as F
from torch import Tensor

from napari_segxai.core.options import LayerName, option
from napari_segxai.core.progress import Passes, Steps
from napari_segxai.engine.finding import Finding
from napari_segxai.engine.intermediates import HELP as INTERMEDIATES
from napari_segxai.engine.primitives.activations import products
from napari_segxai.engine.question import Question
from napari_segxai.methods.registry import explainer


@dataclass(frozen=True)
class Options:
    """Parameters of seg-xres-cam."""

    layer: LayerName = option("bottleneck", help="network layer whose activations are weighted")
    window: int = option(
        2, ge=1, unit="cells", help="pooling window; 1 is Seg-HiRes-Grad-CAM, the whole map Seg-Grad-CAM"
    )
    pooling: Literal["mean", "max"] = option("mean", help="how gradients are pooled; Seg-Grad-CAM needs mean")
    intermediates: int = option(0, ge=0, unit="channels", help=INTERMEDIATES, advanced=True)


@explainer(
    "seg-xres-cam",
    title="Seg-XRes-CAM",
    question="layer",
    needs=("network layers", "gradients"),
    summary="where in a network layer evidence for the label lies, at a resolution of your choice",
    unit="activation × gradient of the {score}",
    source="Hasany et al., CVPR Workshops 2023",
    cites=("hasany2023",),
    options=Options,
    passes=lambda options, size: Passes(1, 1),
)
def seg_xres_cam(question: Question, options: Options) -> Steps[Finding]:
    """Weight every position by the gradient pooled around it."""

    def pooled(gradient: Tensor) -> Tensor:
        return pool_windows(gradient, options.window, options.pooling)

    map, parts = yield from products(question, options.layer, pooled, options.intermediates, partial=Finding)
    return Finding(map, maps=parts)


def cam(activation: Tensor, gradient: Tensor, window: int = 2, pooling: str = "mean") -> Tensor:
    """Return the map of a network layer from (1, channels, *cells): (*cells)."""
    return (pool_windows(gradient, window, pooling) * activation).sum(1)[0]


def pool_windows(gradient: Tensor, window: int, pooling: str) -> Tensor:
    """Pool (1, channels, *grid) over windows and repeat the result over each; the shape stays."""
    shape = gradient.shape[2:]
    windows = [min(window, n) for n in shape]
    pool = {
        ("mean", 2): F.avg_pool2d,
        ("mean", 3): F.avg_pool3d,
        ("max", 2): F.max_pool2d,
        ("max", 3): F.max_pool3d,
    }[pooling, len(shape)]
    pooled = pool(gradient, windows, stride=windows, ceil_mode=True)
    # Every axis becomes one of windows and one of cells within them, so that all are repeated at once.
    split = [size for m in pooled.shape[2:] for size in (m, 1)]
    spread = [size for m, w in zip(pooled.shape[2:], windows, strict=True) for size in (m, w)]
    whole = [m * w for m, w in zip(pooled.shape[2:], windows, strict=True)]
    out = pooled.reshape(*gradient.shape[:2], *split).expand(*gradient.shape[:2], *spread)
    return out.reshape(*gradient.shape[:2], *whole)[(..., *(slice(n) for n in shape))]
