"""Where results lie in napari when their image was taken from a layer with more axes than space: time, channels, places.

napari aligns layers at their last axes. A result whose layer has other axes behind or between those of space needs them,
too, or it would lie across channels or time points.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from napari_segxai.core import orientation
from napari_segxai.core.image import Image
from napari_segxai.io.layer_data import of_layer, with_leading_axis


def kept_axes(letters: str, spatial: Sequence[int]) -> tuple[int, ...]:
    """Return the axes of a layer that a result on its grid needs: from the first of space, time or place to the last.

    Channels in front of them are left out: what has fewer axes is shown at every one.
    """
    first = next(k for k, c in enumerate(letters) if k in spatial or c in "TP")
    return tuple(range(first, len(letters)))


def on_axes_of_layer(array: np.ndarray, layer: Mapping[str, Any]) -> tuple[np.ndarray, dict[str, Any]]:
    """Return an array on the grid of an image with the axes of the layer that the image was taken from, and its transform.

    It lies at the time point and place that were taken, and at every channel; along these it is a view that cannot be
    written to.

    Parameters
    ----------
    array
        On the spatial axes of the layer, in their order; axes behind them, such as colours, stay.
    layer
        `Image.layer` of the image.

    Returns
    -------
    array
        Unchanged where the layer has the axes of space alone, but for channels in front.
    transform
        Layer arguments; empty where the array is unchanged.
    """
    around = layer.get("around")
    if around is None:
        return array, {}
    axes, letters, at = around["axes"], layer["letters"], layer["at"]
    sizes, rest = dict(zip(layer["spatial"], array.shape, strict=False)), array.shape[len(layer["spatial"]) :]
    alone = array.reshape([*(sizes.get(k, 1) for k in axes), *rest])
    everywhere = [
        n if letters[k] == "C" else sizes.get(k, 1) for k, n in zip(axes, around["counts"], strict=True)
    ]
    steps = [float(at.get(k, 0)) if letters[k] in "TP" else 0.0 for k in axes]
    moved = np.asarray(around["transform"]["translate"]) + around["inner"] @ steps
    return np.broadcast_to(alone, [*everywhere, *rest]), {
        **of_layer(around["transform"]),
        "translate": tuple(moved.tolist()),
    }


def frames_on_axes_of_layer(
    frames: np.ndarray, image: Image, transform: Mapping[str, Any]
) -> tuple[np.ndarray, dict[str, Any]]:
    """Return images over steps as a layer with an axis of steps in front, over which a slider goes.

    Parameters
    ----------
    frames
        (steps, *image grid).
    image
        On whose grid they lie.
    transform
        Of the layers on its grid; see `layer_data.layer_transform`.
    """
    turned = np.moveaxis(orientation.apply(frames, image.to_display), 0, -1)
    shown, placed = on_axes_of_layer(turned, image.layer)
    low, high = float(frames.min()), float(frames.max())
    limits = {"contrast_limits": (low, high if high > low else low + 1.0)}
    there = with_leading_axis({**transform, **placed}, "step")
    return np.ascontiguousarray(np.moveaxis(shown, -1, 0)), {**there, **limits}


def on_grid_of_image(array: np.ndarray, layer: Mapping[str, Any]) -> np.ndarray:
    """Undo `on_axes_of_layer`; an array with other axes is returned unchanged."""
    around = layer.get("around")
    if around is None or np.ndim(array) != len(around["axes"]):
        return array
    return array[tuple(slice(None) if k in layer["spatial"] else 0 for k in around["axes"])]
