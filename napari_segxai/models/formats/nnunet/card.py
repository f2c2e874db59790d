"""The model card of an nnU-Net configuration."""

from __future__ import annotations

import re
from typing import Any

from napari_segxai.core.errors import UserError
from napari_segxai.models.card import ModelCard, make_card
from napari_segxai.models.formats.nnunet.checkpoint import Checkpoint
from napari_segxai.models.formats.nnunet.dataset import Dataset
from napari_segxai.models.formats.nnunet.plans import Plans
from napari_segxai.models.formats.nnunet.results import Results

TURNED = ("SimpleITKIOWithReorient", "NibabelIOWithReorient")
"""Readers that turn images to RAS+; the others take them as they are stored."""

OTHERS = ("SimpleITKIO", "NibabelIO", "NaturalImage2DIO", "Tiff3DIO")
"""Its other readers."""

PICTURES = "NaturalImage2DIO"
"""The reader of pictures, whose pixels have no size in mm."""

LEAST = 1e-8
"""A standard deviation is at least this."""

FUNCTIONS = {
    "resample_data_or_seg_to_shape": "cubic",
    "resample_torch_fornnunet": "linear",
    "no_resampling_hack": "",
}
"""What resamples, and how it does without a word on the order."""

NUMBER = re.compile(r"^Dataset\d+_(?=.)")
"""What stands before the name of a data set."""

ORDERS = {0: "nearest", 1: "linear", 3: "cubic"}


def card_of(results: Results, dataset: Dataset, plans: Plans, checkpoint: Checkpoint) -> ModelCard:
    """Return what the network needs, and what its outputs mean.

    Raises
    ------
    UserError
        If the plans prepare images in a way that no card can say.
    """
    folds = ", ".join(results.folds)
    dims = len(plans.patch)
    fields: dict[str, Any] = {
        "name": f"{NUMBER.sub('', plans.dataset)} {plans.name} (fold{'s' if len(results.folds) > 1 else ''} {folds})",
        "labels": dataset.labels,
        "spatial_dims": dims,
        "channels": dataset.channels,
        "orientation": _orientation(plans),
        "grid": _grid(plans),
        "windows": {"size": plans.patch, "mirror": checkpoint.mirror},
        "intensity": _intensity(plans, dataset),
        "intensity_on": "image" if dims == 3 else "volume",
        "description": f"nnU-Net: {checkpoint.trainer or 'trainer not named'}, {plans.name} of {plans.dataset}.",
    }
    if dataset.ignored:
        fields["ignored_values"] = dataset.ignored
    if all(step.get("standardize") == "nonzero" for step in fields["intensity"]) and fields["intensity"]:
        fields["background_value"] = 0
    if dataset.regions:
        fields["activation"] = "sigmoid"
        if len(dataset.regions) > 1:
            fields |= {"paint_order": dataset.labels[1:], "regions": dataset.regions}
    return make_card(fields, str(plans.path))


def _orientation(plans: Plans) -> str:
    """Return the axes as they were read, slowest first, in the order in which the network takes them."""
    axes = "SAR" if plans.reader in TURNED or "totalsegmentator" in plans.dataset.casefold() else "kji"
    return "".join(axes[k] for k in plans.order)


def _grid(plans: Plans) -> dict[str, Any]:
    grid: dict[str, Any] = {"crop": "nonzero"}
    function = plans.settings.get("resampling_fn_data", "resample_data_or_seg_to_shape")
    if function not in FUNCTIONS:
        raise UserError(
            f"{plans.path}: images are resampled by {function!r:.80}, which is none of nnU-Net's own functions."
        )
    if not FUNCTIONS[function] or plans.reader == PICTURES:
        return grid
    told = plans.settings.get("resampling_fn_data_kwargs") or {}
    order, along, apart = told.get("order"), told.get("order_z", 0), told.get("force_separate_z")
    way = FUNCTIONS[function] if order is None else ORDERS.get(order)
    if way is None or along not in (0, 1) or apart not in (None, False):
        raise UserError(
            f"{plans.path}: images are resampled with order {order!r:.20}, order_z {along!r:.20} and force_separate_z {apart!r:.20}; known "
            "are the orders 0, 1 and 3, 0 and 1 along a coarse axis, and null or false."
        )
    coarse = "together" if apart is False else "linear" if along == 1 else "nearest"
    return {**grid, "spacing": plans.spacing, "interpolation": way, "coarse_axis": coarse}


def _intensity(plans: Plans, dataset: Dataset) -> list[dict[str, Any]]:
    """Return the steps, those of one channel after those of the other."""
    schemes, masks = plans.need("normalization_schemes"), plans.need("use_mask_for_norm")
    count = len(dataset.channels)
    if len(schemes) != count or len(masks) != count:
        raise UserError(
            f"{plans.path}: {plans.name!r} has {len(schemes)} normalization_schemes and {len(masks)} use_mask_for_norm for the {count} "
            f"channel(s) of dataset.json ({', '.join(dataset.channels)}); the files are of different trainings."
        )
    each = [
        _steps(plans, k, name, bool(masked))
        for k, (name, masked) in enumerate(zip(schemes, masks, strict=True))
    ]
    if all(steps == each[0] for steps in each):
        return each[0]
    return [
        {**step, "channels": [name]}
        for name, steps in zip(dataset.channels, each, strict=True)
        for step in steps
    ]


def _steps(plans: Plans, channel: int, scheme: Any, masked: bool) -> list[dict[str, Any]]:
    if scheme == "ZScoreNormalization":
        return [{"standardize": "nonzero" if masked else "image"}]
    if scheme == "CTNormalization":
        found = plans.intensities.get(str(channel))
        keys = ("percentile_00_5", "percentile_99_5", "mean", "std")
        numbers = [found.get(key) for key in keys] if isinstance(found, dict) else []
        if not numbers or not all(isinstance(number, int | float) for number in numbers):
            raise UserError(
                f"{plans.path}: channel {channel} is normalised as CT, but its foreground_intensity_properties lack {', '.join(keys)}."
            )
        low, high, mean, std = numbers
        return [{"clip": [low, high]}, {"normalize": {"mean": [mean], "std": [max(std, LEAST)]}}]
    known = {
        "NoNormalization": [],
        "RescaleTo01Normalization": [{"unit_range": True}],
        "RGBTo01Normalization": [{"divide": 255}],
    }
    if scheme not in known:
        raise UserError(
            f"{plans.path}: channel {channel} is normalised by {scheme!r:.80}, which is none of nnU-Net's own ways."
        )
    return known[scheme]
