"""What tests on the GPU share: the device, trained networks, and how alike two maps are.

SEGXAI_GPU=cpu tries the tests themselves where there is no GPU: both sides run on the CPU then.
"""

from __future__ import annotations

import math
import os
from functools import cache

import numpy as np
import pytest
import torch

import napari_segxai as sx
from napari_segxai.datasets.resources import resource

CUDA = os.environ.get("SEGXAI_GPU", "cuda:0")

needs_gpu = [
    pytest.mark.gpu,
    pytest.mark.skipif(CUDA != "cpu" and not torch.cuda.is_available(), reason="no CUDA device"),
]
gpu_alone = pytest.mark.skipif(CUDA == "cpu", reason="a CPU does it in another way")


def correlation(one: np.ndarray, other: np.ndarray) -> float:
    """Pearson's; 1 where both are the same, also where they are constant."""
    if np.array_equal(one, other):
        return 1.0
    a, b = (values.astype(float).ravel() - values.mean(dtype=float) for values in (one, other))
    size = math.sqrt((a @ a) * (b @ b))
    return float(a @ b / size) if size > 0 else 0.0


@cache
def trained(name: str) -> tuple[sx.SegmentationModel, sx.Image, str]:
    """A network that comes with the project, an image for it, and a label that it draws there."""
    file, label = {
        "triangle": ("triangle_1.png", "triangle"),
        "brain-extraction": ("t1_head.nii.gz", "brain"),
        "brain-tissue": ("mni_t1.nii.gz", "grey matter"),
    }[name]
    return sx.load_model(name), sx.read_image(resource("sample_data/images") / file), label
