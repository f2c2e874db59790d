"""Whether a map answers the question that is asked, as far as its record tells."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from napari_segxai.analyses.explain.result import Explanation
from napari_segxai.core import orientation
from napari_segxai.core.arrays import as_map
from napari_segxai.core.errors import UserError
from napari_segxai.core.image import Image
from napari_segxai.core.target import Target
from napari_segxai.models.preprocessing.spatial import plane_of
from napari_segxai.models.segmentation import SegmentationModel


@dataclass(frozen=True)
class Difference:
    """What tells a map from one that answers the question.

    Attributes
    ----------
    of : str
        "image", "label", "slice", "axis", "model" or "thresholds".
    words : str
        The same for people, as what follows the name of the map.
    """

    of: Literal["image", "label", "slice", "axis", "model", "thresholds"]
    words: str

    def __str__(self) -> str:
        return self.words


def difference(
    record: Mapping[str, Any],
    *,
    image: str,
    sha256: Collection[str],
    label: str,
    slice: int | None,
    model: SegmentationModel | None,
    axis: int | None = None,
) -> Difference | None:
    """Tell what else a map explains than what is asked about.

    Parameters
    ----------
    record : mapping
        `Record.as_dict` of the map.
    image : str
        Name of the image.
    sha256 : collection of str
        The digests under which the image may be known; see `digests`.
    label : str
        By name.
    slice : int or None
        For a 2D model on a volume; a map of every slice is of this one too.
    model : SegmentationModel or None
        None if it is not known yet.
    axis : int or None
        Across which the slices lie; None where there are none.

    Returns
    -------
    Difference or None
        The first that is found; None if the map is of the same.
    """
    theirs, weights = record["image"], record["model"]
    if theirs["sha256"] not in sha256:
        same = f" (other intensities under the name {image})" if theirs["name"] == image else ""
        return Difference("image", f"explains {theirs['name']}, another image than {image}{same}")
    if record["target"]["label"] != label:
        return Difference("label", f"explains the label {record['target']['label']}, not {label}")
    if record["slice"] not in (None, slice):
        asked = "the whole" if slice is None else slice
        return Difference("slice", f"explains slice {record['slice']}, not {asked}")
    if axis is not None and record.get("axis") not in (None, axis):
        return Difference("axis", f"explains slices across axis {record['axis']}, not {axis}")
    if model is None:
        return None
    if weights["sha256"] != model.sha256:
        same = " (other weights under the same name)" if weights["name"] == model.name else ""
        return Difference("model", f"explains the model {weights['name']}, not {model.name}{same}")
    thresholds = model.card.named_thresholds
    if weights.get("thresholds", thresholds) != thresholds:
        words = f"is of labels drawn with thresholds other than those of {model.name}"
        return Difference("thresholds", words)
    return None


def digests(image: Image) -> list[str]:
    """Return the digests that records may hold of an image in a viewer: as it is shown, and as its file stores it."""
    found, file = [image.sha256], image.header.get("affine")
    if image.layer and file is not None and image.ndim == image.spatial_dims:
        turn = orientation.reorientation(orientation.axis_codes(file), orientation.DISPLAY)
        found.append(Image(orientation.apply(image.array, orientation.invert(turn))).sha256)
    return found


def check_map(
    name: str,
    map: Explanation | np.ndarray,
    model: SegmentationModel,
    image: Image,
    target: Target | str | int,
    slice: int | None,
) -> None:
    """Refuse a map of anything else than what is asked about, as far as it tells."""
    if isinstance(map, Explanation):
        asked = target.label if isinstance(target, Target) else target
        label = model.labels[model.label_index(asked)]
        record = map.record.as_dict()
        what = difference(
            record,
            image=image.name,
            sha256=[image.sha256],
            label=label,
            slice=slice,
            model=model,
            axis=plane_of(model.card, image),
        )
        if what:
            raise UserError(
                f"the map {name!r} {what}; give its array, explanation.map, to compare it all the same."
            )
        map = map.map
    if np.shape(map) != image.spatial_shape:
        raise UserError(
            f"the map {name!r} has shape {np.shape(map)}, but {image.name} has {image.spatial_shape}; give it on that grid."
        )
    try:
        as_map(map)
    except (UserError, TypeError, ValueError):
        raise UserError(
            f"the map {name!r} holds values that are not finite numbers (NaN or infinity, say); replace them, for example by 0."
        ) from None
