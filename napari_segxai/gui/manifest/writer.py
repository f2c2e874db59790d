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
    from napari_segxai.io.layer_image import image_from_layer

    image = image_from_layer(data, meta)
    # a result lies on the grid of the file, but what the file says about its intensities is not about it
    result = "segxai" in (meta.get("metadata") or {})
    array = image.array.view() if result else image.array
    return [io.write_volume(path, array, image, kind=kind)]
