"""Score maps: the label's score, told region by region instead of pixel by pixel.

Regions of the image are ranked greedily: the region with the highest mean score over what is not covered yet comes
next, and what it newly covers gets that mean. NeuroScope (Schorr, Goodarzi, Chen, Dahmen 2021), after XRAI
(Kapishnikov et al. 2019). Segmented: regions of the image at six scales (Felzenszwalb's in 2D, SLIC supervoxels in
3D). Guided: with the network's own segments among them (of labels that overlap, each label and its outside). Similarity:
the network's segments alone. Fusion: like
segmented, with the highest score of any label. Regions are not dilated, as XRAI does, since they are counted by
label maps. The map tells what the network says of each region, not why. Cost: 1 forward, and the segmentation of the
image.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch

from napari_segxai.core.options import option
from napari_segxai.core.progress import Passes, Steps
from napari_segxai.engine.finding import Finding
from napari_segxai.engine.question import Question
from napari_segxai.engine.scores import read_scores
from napari_segxai.methods.registry import explainer

SCALES = (50, 100, 150, 250, 500, 1200)
SUPERVOXELS = (50, 100, 200, 400)


@dataclass(frozen=True)
class Options:
    """Parameters of score-maps."""

    kind: Literal["segmented", "guided", "similarity", "fusion"] = option(
        "segmented",
        help="regions of the image; with the network's own segments; these alone; best of all labels",
    )


@explainer(
    "score-maps",
    title="Score maps",
    question="evidence",
    summary="what the network says about each region of the image, best regions first",
    unit="mean {score} of the region",
    source="Schorr et al. 2021 (NeuroScope); Kapishnikov et al., ICCV 2019 (XRAI)",
    cites=("schorr2021", "kapishnikov2019"),
    reads="pixel scores",
    options=Options,
    passes=lambda options, size: Passes(1, 0),
)
def score_maps(question: Question, options: Options) -> Steps[Finding]:
    """Rank regions by their mean score."""
    logits, model = question.logits, question.model
    yield question.step("forward pass")
    if options.kind == "fusion":
        each = [read_scores(model, logits, k, question.pixel_score)[0] for k in range(1, len(model.labels))]
        scores = torch.stack(each).amax(0)
    else:
        scores = question.scores(logits)[0]
    scores = scores.double().cpu().numpy()
    segmentations = [] if options.kind == "similarity" else image_segments(question.input[0].cpu().numpy())
    yield question.step("regions of the image")
    if options.kind in ("guided", "similarity"):
        segmentations += [segments.cpu().numpy() for segments in model.labeling.label_images(logits[0])]
    map, ranks = rank_regions(scores, segmentations)
    place = {"device": question.device, "dtype": torch.float32}
    return Finding(
        torch.as_tensor(map, **place),
        maps={"rank": torch.as_tensor(ranks, **place)},
        numbers={"regions": int(ranks.max())},
    )


def image_segments(channels: np.ndarray) -> list[np.ndarray]:
    """Segment (channels, *grid) at several scales: a list of label maps (*grid)."""
    from skimage.segmentation import felzenszwalb, slic

    low, high = channels.min(), channels.max()
    image = np.moveaxis((channels - low) / (high - low if high > low else 1), 0, -1).astype(float)
    if channels.ndim == 3:
        return [felzenszwalb(image, scale=s, sigma=0.8, min_size=150, channel_axis=-1) for s in SCALES]
    return [slic(image, n_segments=n, compactness=0.1, channel_axis=-1, start_label=0) for n in SUPERVOXELS]


def rank_regions(scores: np.ndarray, segmentations: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean score with which every pixel was covered, and the rank (from 1) of its region.

    Parameters
    ----------
    scores
        (*grid).
    segmentations
        Label maps (*grid), from 0; their regions compete.
    """
    flat, out, ranks = scores.ravel(), np.zeros(scores.size), np.zeros(scores.size, np.int64)
    labels = [segments.ravel() for segments in segmentations]
    sums = [np.bincount(each, flat) for each in labels]
    counts = [np.bincount(each).astype(float) for each in labels]
    order = [np.argsort(each, kind="stable") for each in labels]
    ends = [np.concatenate([[0], np.cumsum(np.bincount(each))]) for each in labels]
    free, rank = np.ones(scores.size, bool), 0
    while free.any():
        means = [
            np.divide(s, c, out=np.full(len(s), -np.inf), where=c > 0)
            for s, c in zip(sums, counts, strict=True)
        ]
        scale = int(np.argmax([m.max() for m in means]))
        region = int(means[scale].argmax())
        members = order[scale][ends[scale][region] : ends[scale][region + 1]]
        new = members[free[members]]
        rank += 1
        out[new], ranks[new], free[new] = flat[new].mean(), rank, False
        for k, each in enumerate(labels):
            sums[k] -= np.bincount(each[new], flat[new], minlength=len(sums[k]))
            counts[k] -= np.bincount(each[new], minlength=len(counts[k]))
    return out.reshape(scores.shape), ranks.reshape(scores.shape)
