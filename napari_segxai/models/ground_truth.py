"""The truth: labels drawn by a person, brought to the grid of the image."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import replace
from threading import Lock
from typing import TYPE_CHECKING

import numpy as np

from napari_segxai.core.errors import UserError
from napari_segxai.core.image import Image
from napari_segxai.core.orientation import is_same_grid
from napari_segxai.core.prediction import where

if TYPE_CHECKING:
    from napari_segxai.models.segmentation import SegmentationModel

OneTruth = np.ndarray | Image
Truth = OneTruth | Mapping[str, OneTruth]

KEPT = 4
"""Resampled truths that are remembered."""

_resampled_last: dict[tuple[object, ...], tuple[np.ndarray, list[str]]] = {}
"""The truths that were resampled last, by what they depend on."""

_lock = Lock()


def truth_of(
    truth: Truth, image: Image, model: SegmentationModel, label: int
) -> tuple[np.ndarray, list[str]]:
    """Return the true mask of a label.

    Parameters
    ----------
    truth
        As for `truth_labels`; boolean values say where the label is, whatever its number. So does one value, of a model
        whose labels may overlap, if its card gives no order of painting.
    label
        Position in the model's labels.

    Returns
    -------
    mask
        Boolean, on the grid of the image.
    notes
        As `truth_labels` gives them.

    Raises
    ------
    UserError
        As `truth_labels` does.
    """
    if isinstance(truth, Mapping) or (model.overlapping and _each(truth, image, model)):
        values, notes = truth_labels(truth, image, model, [label])
        return where(values, label, overlapping=model.overlapping), notes
    values, notes = _labelled(truth, image, model)
    if values.dtype.kind == "b":
        return values, notes
    if not model.overlapping:
        values, said = _white_is_one(values, model)
        said += _other_label(values, model, label)
        return _checked(values, model) == label, [*notes, *said]
    if model.card.painting is None and len(np.setdiff1d(values, 0)) == 1:
        said = f"the truth holds one value, {np.setdiff1d(values, 0)[0]:g}: it was taken to be where"
        return values != 0, [*notes, f"{said} {model.labels[label]!r} is."]
    stack, said = _unpainted(values, model)
    return where(stack, label, overlapping=True), [*notes, *said]


def truth_labels(
    truth: Truth, image: Image, model: SegmentationModel, labels: Sequence[int] | None = None
) -> tuple[np.ndarray, list[str]]:
    """Return the true labels on the grid of the image.

    Parameters
    ----------
    truth
        An array on the image's grid, or an `Image` that knows where it lies: that is resampled to the nearest label.
        It holds positions in the model's labels; or, for labels that may overlap, a mask for each but the background,
        along its first axis, its channels, or (of a file) its fourth axis. Or a mapping: a mask by the name of every
        label.
    labels
        Positions of the labels that have to be known; all by default.

    Returns
    -------
    labels
        As `SegmentationModel.predict` returns them: whole numbers, positions in the model's labels; if the model is
        `overlapping`, boolean (labels but the background, *image grid).
    notes
        What was done to bring the truth there, and what was lost by it, in sentences.

    Raises
    ------
    UserError
        If it holds other labels than the model, or lies elsewhere, or is one label image of labels that may overlap and
        the card says no order in which it was painted.
    """
    if not isinstance(truth, Mapping):
        parts = _each(truth, image, model) if model.overlapping else []
        if not parts:
            values, notes = _labelled(truth, image, model)
            if not model.overlapping:
                values, said = _white_is_one(values, model)
                return _checked(values, model), [*notes, *said]
            stack, said = _unpainted(values, model)
            return stack, [*notes, *said]
        truth = dict(zip(model.labels[1:], parts, strict=True))
    masks = {model.label_index(name): _mask(name, part, image, model) for name, part in truth.items()}
    wanted = labels or range(1, len(model.labels))
    if model.overlapping and 0 in wanted:
        wanted = range(1, len(model.labels))  # the background is where none of them is
    missing = [model.labels[k] for k in wanted if k and k not in masks]
    if missing:
        given = ", ".join(model.labels[k] for k in masks)
        raise UserError(f"the truth gives {given}, but not {missing[0]!r}; add its mask.")
    out = model.labeling.blank(len(model.labels), image.spatial_shape)
    for k, (mask, _) in masks.items():
        if model.overlapping:
            if k:
                out[k - 1] = mask
            continue
        if (out[mask] > 0).any():
            raise UserError(
                f"the true masks of {model.labels[k]!r} and {model.labels[out[mask].max()]!r} overlap, but the labels of "
                f"{model.name} exclude each other; give masks that do not."
            )
        out[mask] = k
    return out, list(dict.fromkeys(note for _, notes in masks.values() for note in notes))


def ignored_by(truth: Truth, image: Image, model: SegmentationModel) -> np.ndarray | None:
    """Return what of the image nobody has labelled, as the card's `ignored_values` say: boolean, on its grid.

    Parameters
    ----------
    truth
        As for `truth_labels`, which says where no label is there.

    Returns
    -------
    ndarray or None
        None where that is nothing.
    """
    if not model.card.ignored_values:
        return None
    if isinstance(truth, Mapping):
        parts = list(truth.values())
    else:
        parts = (_each(truth, image, model) if model.overlapping else []) or [truth]
    found = [_ignored(values_on_grid(part, image)[0], model) for part in parts]
    there = [mask for mask in found if mask is not None]
    return np.logical_or.reduce(there) if there else None


def ignoring(model: SegmentationModel, values: Sequence[int]) -> SegmentationModel:
    """Return a model whose card names further values of a truth that are no label; the same network, and the model itself for none.

    Parameters
    ----------
    values
        Whole numbers of which none is a label's.
    """
    more = tuple(dict.fromkeys((*model.card.ignored_values, *values)))
    if more == model.card.ignored_values:
        return model
    other = copy.copy(model)
    other.card = model.card.model_copy(update={"ignored_values": more})
    return other


def _ignored(values: np.ndarray, model: SegmentationModel) -> np.ndarray | None:
    """Return where values are none of a label; None for nowhere. A mask in black and white has no others than 0 and white."""
    named = model.card.ignored_values
    if not named or values.dtype.kind == "b" or _white_is_one(values, model)[1]:
        return None
    found = np.isin(values, named)
    return found if found.any() else None


def _labelled(truth: OneTruth, image: Image, model: SegmentationModel) -> tuple[np.ndarray, list[str]]:
    """Return values on the grid of the image, 0 where they are none of a label, and what has to be said of them."""
    values, notes = values_on_grid(truth, image)
    ignored = _ignored(values, model)
    if ignored is None:
        return values, notes
    named = ", ".join(str(value) for value in model.card.ignored_values if (values == value).any())
    said = (
        f"{_percent(float(ignored.mean()))} of {image.name} has the value {named} in the truth, which is no label: it is left out of what is "
        "compared with the truth."
    )
    return np.where(ignored, 0, values).astype(values.dtype), [*notes, said]


def _each(truth: OneTruth, image: Image, model: SegmentationModel) -> list[OneTruth]:
    """Return the mask of every label but the background, if `truth` holds one for each; else nothing."""
    count, n = len(model.labels) - 1, image.spatial_dims
    if not isinstance(truth, Image):
        values = np.asarray(truth)
        return list(values) if values.shape == (count, *image.spatial_shape) else []
    axis, places = truth.channel_axis, truth.spatial_dims
    if axis is None and truth.frames == count:
        axis = truth.time_axis  # the fourth axis of a file is read as time
    if axis is None and places == n + 1 and truth.affine is None:
        axis, places = truth.spatial_axes[0], n
    if axis is None or places != n:
        return []
    if truth.array.shape[axis] != count:
        raise UserError(
            f"the truth {truth.name} has {truth.array.shape[axis]} channels, but {model.name} has {count} labels beside "
            f"the background: {', '.join(model.labels[1:])}; give a channel for each, in this order."
        )
    rest = truth if axis == truth.time_axis else truth.frame(0)
    along = axis if rest is truth or rest.channel_axis is None else rest.channel_axis
    arrays = np.moveaxis(rest.array, along, 0)
    spacing = truth.spacing[-n:]
    return [replace(truth, array=a, channel_axis=None, time_axis=None, spacing=spacing) for a in arrays]


def _mask(name: str, truth: OneTruth, image: Image, model: SegmentationModel) -> tuple[np.ndarray, list[str]]:
    """Return where one label is, and what has to be said of it."""
    values, notes = _labelled(truth, image, model)
    if values.dtype.kind != "b" and len(np.setdiff1d(values, 0)) > 1:
        raise UserError(f"the truth of {name!r} holds several values; give a mask, 0 where it is not.")
    return values != 0, notes


def _unpainted(values: np.ndarray, model: SegmentationModel) -> tuple[np.ndarray, list[str]]:
    """Return the masks of labels that were painted into one label image: by the card's regions, or each holds those painted after it."""
    order, regions = model.card.painting, model.card.regions
    if regions is not None and values.dtype.kind != "b":
        return _by_regions(values, regions, model)
    if order is None or values.dtype.kind == "b":
        raise UserError(
            f"the labels of {model.name} may overlap, which one label image cannot say: give the truth as a mask for each "
            f"of {', '.join(model.labels[1:])}" + (", or paint_order in the card." if order is None else ".")
        )
    values = _checked(values, model)
    out = model.labeling.blank(len(model.labels), values.shape)
    for position, label in enumerate(order):
        out[label - 1] = np.isin(values, order[position:])
    names = [model.labels[label] for label in order]
    return out, [f"the truth is one label image, in which each label holds the next: {', '.join(names)}."]


def _by_regions(
    values: np.ndarray, regions: Mapping[str, Sequence[int]], model: SegmentationModel
) -> tuple[np.ndarray, list[str]]:
    known = {0, *(value for each in regions.values() for value in each)}
    unknown = sorted(set(np.unique(values).tolist()) - known)
    if unknown:
        raise UserError(
            f"the truth holds the value {unknown[0]:g}, which is in none of the regions of {model.name}; known are "
            f"{', '.join(map(str, sorted(known)))}{_or_ignore(int(unknown[0]))}."
        )
    out = model.labeling.blank(len(model.labels), values.shape)
    for mask, name in zip(out, model.labels[1:], strict=True):
        mask[...] = np.isin(values, regions[name])
    told = "; ".join(f"{name} {', '.join(map(str, regions[name]))}" for name in model.labels[1:])
    return out, [f"the truth is one label image, of whose values each label holds some: {told}."]


def _other_label(values: np.ndarray, model: SegmentationModel, label: int) -> list[str]:
    """Say that a mask of 0 and 1 was taken for the label 1, where another one is asked about."""
    if label < 2 or not np.array_equal(np.setdiff1d(values, 0), [1]):
        return []
    own = model.labels[label]
    said = (
        f"the truth holds 1 alone, which is {model.labels[1]!r}: no {own!r} ({label}) is true; if it is a mask of {own!r}, say so: "
        f"truth={{{own!r}: ...}}, --truth {own}=FILE."
    )
    return [said]


WHITE = 255
"""What pictures of masks hold where something is."""


def _white_is_one(values: np.ndarray, model: SegmentationModel) -> tuple[np.ndarray, list[str]]:
    """Return a black and white mask with 1 for white, where the model has one label that it can be of; and say so."""
    if len(model.labels) != 2 or not np.array_equal(np.setdiff1d(values, 0), [WHITE]):
        return values, []
    said = f"the truth is a mask of 0 and {WHITE}: {WHITE} was taken to be where {model.labels[1]!r} is."
    return (values == WHITE).astype(np.uint8), [said]


def _checked(values: np.ndarray, model: SegmentationModel) -> np.ndarray:
    if values.dtype.kind not in "bui" and not np.array_equal(values, np.rint(values)):
        raise UserError("the truth holds values that are not label values; give whole numbers from 0.")
    if values.size and values.min() < 0:
        raise UserError("the truth holds negative values; label values begin at 0.")
    if values.size and values.max() >= len(model.labels):
        known = ", ".join(f"{k} {name}" for k, name in enumerate(model.labels))
        last = model.labels[-1]
        one = (
            f", or write 1 for all of them if each value is one {last}"
            if len(model.labels) == 2
            else f", or give a mask of a label by its name: truth={{{last!r}: ...}}, --truth {last}=FILE"
        )
        raise UserError(
            f"the truth holds label {int(values.max())}, but the labels of {model.name} are {known}; renumber the truth{one}"
            f"{_or_ignore(int(values.max()))}."
        )
    return values.astype(np.uint16)


def _or_ignore(value: int) -> str:
    """Say how a value is left out that marks what nobody has labelled."""
    return (
        f"; or, if {value} marks what nobody has labelled, leave it out: ignored_values: [{value}] in the card "
        f"(card={{'ignored_values': [{value}]}}, --card '{{ignored_values: [{value}]}}', or the entry that says so under Truth in a dock)"
    )


def values_on_grid(truth: OneTruth, image: Image) -> tuple[np.ndarray, list[str]]:
    """Return the values of `truth` on the grid of `image`, and what has to be said of it."""
    if not isinstance(truth, Image):
        values = np.asarray(truth)
        if values.shape != image.spatial_shape:
            raise UserError(
                f"the truth has shape {values.shape}, but {image.name} has {image.spatial_shape}; give it on the image's "
                "grid, or as an Image that knows where it lies."
            )
        return values, []
    array = truth.frame(0).channels_first()[0]
    places = _places(truth, image)
    if places is None:
        if array.shape != image.spatial_shape:
            raise UserError(
                f"the truth {truth.name} has shape {array.shape}, but {image.name} has {image.spatial_shape}, and only "
                "one of them, or none, knows where it lies; give the truth on the image's grid."
            )
        one_knows = _knows_place(truth) != _knows_place(image)
        lies = f"the truth {truth.name} was taken to lie on the grid of {image.name}: only one of them knows where it lies."
        return array, [lies] if one_knows else []
    own, theirs = places
    if array.shape == image.spatial_shape and is_same_grid(own, theirs, array.shape):
        return array, []
    key = (truth.sha256, own.tobytes(), theirs.tobytes(), image.spatial_shape, truth.name, image.name)
    with _lock:  # docks ask from threads of their own
        found = _resampled_last.get(key)
    if found is None:  # a second for a large volume, and a form asks at every change
        found = _resampled(array, own, theirs, truth.name, image)
        with _lock:
            _resampled_last[key] = found
            while len(_resampled_last) > KEPT:
                del _resampled_last[next(iter(_resampled_last))]
    values, notes = found
    return values.copy(), list(notes)


def _places(truth: Image, image: Image) -> tuple[np.ndarray, np.ndarray] | None:
    """Return the matrices from indices to one world; None where there is no such world.

    Files have one in common, and so have layers of a viewer.
    """
    from napari_segxai.io.layer_data import index_to_world

    n = image.spatial_dims
    if truth.spatial_dims != n:
        return None
    if truth.affine is not None and image.affine is not None:
        return truth.affine, image.affine
    if truth.layer and image.layer:
        own, theirs = index_to_world(truth.layer, n), index_to_world(image.layer, n)
        if np.array_equal(own, np.eye(n + 1)) and truth.spatial_shape == image.spatial_shape:
            return None  # a transform that nobody set says nothing
        return own, theirs
    return None


def _knows_place(image: Image) -> bool:
    from napari_segxai.io.layer_data import index_to_world

    n = image.spatial_dims
    return image.affine is not None or (
        bool(image.layer) and not np.array_equal(index_to_world(image.layer, n), np.eye(n + 1))
    )


def _resampled(
    array: np.ndarray, own: np.ndarray, theirs: np.ndarray, name: str, image: Image
) -> tuple[np.ndarray, list[str]]:
    """Return what lies at every pixel of the image: the nearest value, 0 outside.

    Parameters
    ----------
    own, theirs
        From the indices of `array` and of the image to one world.
    """
    from scipy.ndimage import affine_transform

    n = array.ndim
    inside = _share_inside(array, np.linalg.inv(theirs) @ own, image.spatial_shape)
    if inside == 0:
        raise UserError(
            f"nothing of the truth {name} lies in {image.name}: they do not show the same place; give a truth that does."
        )
    way = np.linalg.inv(own) @ theirs
    out = affine_transform(
        array.astype(np.float32), way[:n, :n], way[:n, n], image.spatial_shape, order=0, mode="grid-constant"
    ).astype(array.dtype)
    notes = [
        f"the truth {name} lies on another grid than {image.name} and was resampled to the nearest label."
    ]
    if inside < 1:
        notes.append(f"{_percent(inside)} of the truth {name} lies in {image.name}; the rest does not count.")
    if array.any() and not out.any():
        notes.append(
            f"the truth {name} is too small to be seen on the grid of {image.name}: nothing is left of it."
        )
    ends = np.stack(np.meshgrid(*[(0, size - 1) for size in image.spatial_shape], indexing="ij")).reshape(
        n, -1
    )
    if not _within(way[:n, :n] @ ends + way[:n, n:], array.shape).all():
        notes.append(f"the truth {name} does not reach all of {image.name}; no label is assumed beyond it.")
    return out, notes


def _share_inside(array: np.ndarray, way: np.ndarray, shape: tuple[int, ...]) -> float:
    """Return the share of the labelled pixels that a matrix brings into a grid; 1 where nothing is labelled."""
    n, count, found = array.ndim, 0, 0
    for k, plane in enumerate(array):  # the indices of a whole volume would take a hundred times its memory
        rest = np.stack(np.nonzero(plane))
        index = np.concatenate([np.full((1, rest.shape[1]), k), rest])
        count += index.shape[1]
        found += int(_within(way[:n, :n] @ index + way[:n, n:], shape).sum())
    return found / count if count else 1.0


def _within(index: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Tell which of the indices, (axes, n), lie in a grid: a pixel reaches half a pixel around its centre."""
    edge = 0.5 + 1e-3
    size = np.asarray(shape)[:, None]
    return np.all((index >= -edge) & (index <= size - 1 + edge), axis=0)


def _percent(share: float) -> str:
    return "less than 1%" if share < 0.01 else "more than 99%" if share > 0.99 else f"{share:.0%}"
