"""Several images of one channel each, joined into one image with channels."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from napari_segxai.core.arguments import checked
from napari_segxai.core.errors import UserError
from napari_segxai.core.image import Image, Lazy
from napari_segxai.core.orientation import is_same_grid


@checked()
def join_channels(images: Sequence[Image | np.ndarray]) -> Image:
    """Join images that lie on one grid at one place, such as the sequences of an MR examination, as channels.

    Parameters
    ----------
    images : sequence of Image or ndarray of shape (*spatial axes)
        One per channel, in the order of the model's channels, each without a channel axis.

    Returns
    -------
    Image
        With the channels in front, and the place of the first. Nothing is read before its values are needed.

    Raises
    ------
    UserError
        If they do not lie on one grid, or have channels already.

    Examples
    --------
    >>> import napari_segxai as sx
    >>> names = ["t1.nii.gz", "t2.nii.gz"]
    >>> image = sx.join_channels([sx.read_image(name) for name in names])  # doctest: +SKIP
    """
    images = [Image.of(image) for image in images]
    if not images:
        raise UserError("name at least one image to join.")
    first = images[0]
    for image in images:
        if image.channels > 1:
            raise UserError(
                f"{image.name} has {image.channels} channels already; join images of one channel each."
            )
        image.refuse_time()
        if image.spatial_shape != first.spatial_shape:
            raise UserError(
                f"{image.name} has shape {image.spatial_shape}, but {first.name} has {first.spatial_shape}; channels lie "
                "on one grid: resample one of them."
            )
        if not same_place(image, first):
            raise UserError(
                f"{image.name} and {first.name} lie at different places, so their pixels do not belong together; align "
                "and resample one of them."
            )
    dtype = np.result_type(*(image.dtype for image in images))

    def read() -> np.ndarray:
        return np.stack([np.asarray(image.channels_first()[0], dtype) for image in images])

    shape = (len(images), *first.spatial_shape)
    header = {**first.header, "joined": tuple(images), "rgb": False}
    return replace(
        first,
        array=Lazy(read, shape, dtype),
        channel_axis=0,
        time_axis=None,
        path=None,
        name=" + ".join(image.name for image in images),
        header=header,
    )


def same_place(one: Image, other: Image) -> bool:
    """Tell whether two images of one shape lie at one place, as far as both know."""
    from napari_segxai.io.layer_data import index_to_world

    n, shape = one.spatial_dims, one.spatial_shape
    if one.affine is not None and other.affine is not None:
        return is_same_grid(one.affine, other.affine, shape)
    if one.layer and other.layer:
        return is_same_grid(index_to_world(one.layer, n), index_to_world(other.layer, n), shape)
    return bool(np.allclose(one.spacing, other.spacing, rtol=1e-3) or "pixel" in (one.units, other.units))


def match_channels(names: Sequence[str], layers: Sequence[str], first: str) -> dict[str, int]:
    """Return which layer holds which channel, by the layers' names or by the numbers in them.

    Parameters
    ----------
    names : sequence of str
        The channels of a model, e.g. "T1", "T2", "FLAIR".
    layers : sequence of str
        Names of layers, e.g. "BRATS_001_t1"; the split channels of one layer are called "cells", "cells [1]", ...
    first : str
        The name of the layer that was chosen as the image.

    Returns
    -------
    dict of str to int
        Positions in `layers` by channel, for the channels that were found.
    """
    tokens = [[token for token in re.split(r"[^a-z0-9]+", name.lower()) if token] for name in layers]
    out: dict[str, int] = {}
    for test in (_whole, _within):
        for name in names:
            free = [k for k in range(len(layers)) if k not in out.values()]
            fits = [k for k in free if test(re.sub(r"[^a-z0-9]+", "", name.lower()), tokens[k])]
            if name not in out and len(fits) == 1:
                out[name] = fits[0]
    if not out:
        base = re.sub(r" \[\d+\]$", "", first)
        family = [k for k, name in enumerate(layers) if re.fullmatch(re.escape(base) + r"( \[\d+\])?", name)]
        if len(family) == len(names):
            number = lambda k: int((re.findall(r" \[(\d+)\]$", layers[k]) or [0])[0])  # noqa: E731
            out = dict(zip(names, sorted(family, key=number), strict=True))
    return out


def _whole(name: str, tokens: Sequence[str]) -> bool:
    return name in tokens or name == "".join(tokens)


def _within(name: str, tokens: Sequence[str]) -> bool:
    return name in "".join(tokens)
