"""The napari writers of NIfTI volumes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from napari_segxai import io


def write_image(path: str, data: Any, meta: Mapping[str, Any]) -> list[str]:
    """Write an image layer as .nii or .nii.gz where it lies, with the header of the file it came from."""
    return _write(path, data, meta, "image")


def write_labels(path: str, data: Any, meta: Mapping[str, Any]) -> list[str]:
    """Write a labels layer as .nii or .nii.gz where it lies, with the label intent."""
    return _write(path, data, meta, "labels")


def _write(path: str, data: Any, meta: Mapping[str, Any], kind: io.Kind) -> list[str]:
    from napari_segxai.io.layers import image_from_layer

    image = image_from_layer(data, meta)
    return [io.write_volume(path, image.array, image, kind=kind)]
