"""The images in File > Open Sample > SegXAI."""

from __future__ import annotations

from typing import Any

import numpy as np

from napari_segxai.datasets.resources import resource
from napari_segxai.io import read_image
from napari_segxai.io.layer_data import layers_from_image

LayerData = tuple[np.ndarray, dict[str, Any], str]


def t1_head() -> list[LayerData]:
    """Return a real T1-weighted MRI of a head, with the brain mask hidden below it."""
    folder = resource("sample_data") / "images"
    [head] = layers_from_image(read_image(folder / "t1_head.nii.gz"))
    [brain] = layers_from_image(read_image(folder / "t1_head_brain.nii.gz"), "labels")
    brain[1]["visible"] = False
    return [brain, head]


def mni_t1() -> list[LayerData]:
    """Return the average T1-weighted MRI of 152 brains, with the tissues of its maps hidden below it."""
    folder = resource("sample_data") / "images"
    [brain] = layers_from_image(read_image(folder / "mni_t1.nii.gz"))
    [tissue] = layers_from_image(read_image(folder / "mni_t1_tissue.nii.gz"), "labels")
    tissue[1]["visible"] = False
    return [tissue, brain]


def astronaut() -> list[LayerData]:
    """Return scikit-image's photograph of Eileen Collins (NASA, public domain)."""
    from skimage.data import astronaut

    return [(astronaut(), {"name": "astronaut", "rgb": True}, "image")]


def triangle() -> list[LayerData]:
    """Return a synthetic image: three items of clothing in a right-angled triangle, among distractors."""
    path = resource("sample_data") / "images" / "triangle_1.png"
    [layer] = layers_from_image(read_image(path))
    return [layer]
