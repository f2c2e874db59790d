"""Whether a map answers the question that is asked, as far as its record tells."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np

from napari_segxai.analyses.explain.result import Explanation
from napari_segxai.core import orientation
from napari_segxai.core.arrays import as_map
from napari_segxai.core.errors import UserError
from napari_segxai.core.image import Image
from napari_segxai.core.target import Target
from napari_segxai.models.preprocessing.spatial import plane_of
from napari_segxai.models.segmentation import SegmentationModel


def difference(
    record: Mapping[str, Any],
    *,
    image: str,
    sha256: Collection[str],
    label: str,
    slice: int | None,
    model: SegmentationModel | None,
    axis: int | None = None,
) -> str:
    """Say what else a map explains than what is asked about; "" if it is of the same.

    Parameters
    ----------
    record
        `Record.as_dict` of the map.
    image, sha256
        Name of the image, and the digests under which it may be known; see `digests`.
    slice
        For a 2D model on a volume; a map of every slice is of this one too.
    model
        None if it is not known yet.
    axis
        Across which the slices lie; None where there are none.
    """
    theirs, weights = record["image"], record["model"]
    if theirs["sha256"] not in sha256:
        same = f" (other intensities under the name {image})" if theirs["name"] == image else ""
        return f"explains {theirs['name']}, another image than {image}{same}"
    if record["target"]["label"] != label:
        return f"explains the label {record['target']['label']}, not {label}"
    if record["slice"] not in (None, slice):
        return f"explains slice {record['slice']}, not {'the whole' if slice is None else slice}"
    if axis is not None and record.get("axis") not in (None, axis):
        return f"explains slices across axis {record['axis']}, not {axis}"
    if model is not None and weights["sha256"] != model.sha256:
        same = " (other weights under the same name)" if weights["name"] == model.name else ""
        return f"explains the model {weights['name']}, not {model.name}{same}"
    if (
        model is not None
        and weights.get("thresholds", model.card.named_thresholds) != model.card.named_thresholds
    ):
        return f"is of labels drawn above other thresholds than those of {model.name}"
    return ""


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
            f"the map {name!r} holds values that are no finite numbers (NaN or infinity, say); replace them, for example by 0."
        ) from None


def target_of(explanation: Explanation) -> Target:
    """Rebuild the target from a record, as far as that tells."""
    return explanation.target
