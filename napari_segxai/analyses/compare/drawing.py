"""What a picture shows of an image and its maps: one slice of everything, turned as napari shows it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from napari_segxai.core import orientation
from napari_segxai.core.image import Image
from napari_segxai.figures.compare import Drawn, DrawnMap
from napari_segxai.figures.planes import cut, gray


def drawn_of(
    image: Image,
    label: str,
    prediction: np.ndarray,
    maps: Mapping[str, tuple[np.ndarray, str]],
    *,
    labels: Sequence[str] = (),
    object: np.ndarray | None = None,
    truth: np.ndarray | None = None,
) -> Drawn:
    """Return what a picture needs; a volume is cut where the object is largest.

    Parameters
    ----------
    image
        One frame.
    label
        What is explained.
    prediction
        Label values on the image grid.
    maps
        By name: values on the image grid, raw, and their unit.
    labels
        Names of the label values.
    object, truth
        Boolean, on the image grid: where the label is predicted, and where it is.
    """

    def upright(array: np.ndarray) -> np.ndarray:
        return np.asarray(orientation.apply(np.asarray(array), image.to_display))

    predicted = upright(prediction)
    masks = {name: upright(mask) for name, mask in (("object", object), ("truth", truth)) if mask is not None}
    position = _position([*masks.values(), predicted])
    slices = {name: cut(mask, position) > 0 for name, mask in masks.items()}
    spacing = [image.spacing[axis] for axis in image.to_display[0]][-2:]
    ground = [cut(upright(each), position) for each in image.channels_first()]
    place = ""
    if predicted.ndim == 3:
        count = predicted.shape[0]
        place = f"slice {min(int(position * count), count - 1)} of 0 to {count - 1}"
    return Drawn(
        image.name,
        label,
        gray(ground),
        cut(predicted, position).copy(),
        {
            name: DrawnMap(cut(upright(map), position).copy(), *_ends(map), unit)
            for name, (map, unit) in maps.items()
        },
        slices.get("object"),
        slices.get("truth"),
        (float(spacing[0]), float(spacing[1])),
        str(image.units or ""),
        place,
        tuple(labels),
    )


def _ends(map: np.ndarray) -> tuple[float, float]:
    """Return the lowest value and the largest magnitude."""
    known = map[np.isfinite(map)]
    return (float(known.min()), float(np.abs(known).max())) if known.size else (0.0, 0.0)


def _position(masks: list[np.ndarray]) -> float:
    """Return where the slice of a volume lies in which the first mask that is not empty is largest, in [0, 1]."""
    for mask in masks:
        if mask.ndim == 3 and mask.any():
            sizes = (mask > 0).sum((1, 2))
            return (int(sizes.argmax()) + 0.5) / len(sizes)
    return 0.5
