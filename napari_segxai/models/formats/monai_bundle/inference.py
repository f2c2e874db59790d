"""How a bundle uses its network: through which windows, and what becomes of its outputs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from napari_segxai.models.formats.monai_bundle.config import (
    Config,
    arguments,
    class_name,
    is_component,
    unread,
)

SLIDING = ("SlidingWindowInferer", "SlidingWindowInfererAdapt", "SliceInferer")

SIMPLE = "SimpleInferer"

OF_THE_MACHINE = [
    "sw_batch_size",
    "sw_device",
    "device",
    "progress",
    "cache_roi_weight_map",
    "cpu_thresh",
    "buffer_steps",
    "buffer_dim",
    "with_coord",
]
"""Arguments of an inferer that change nothing of what it computes."""

HARMLESS = [
    "DeleteItemsd",
    "EnsureTyped",
    "Invertd",
    "SaveImaged",
    "SaveImage",
    "SelectItemsd",
    "ToDeviced",
    "ToTensord",
    "CastToTyped",
    "FromMetaTensord",
    "EnsureType",
    "Invert",
    "CopyItemsd",
    "ToNumpyd",
]
"""What comes after the outputs have become labels, or brings them back to the image."""


@dataclass
class Usage:
    """What is known of the use of a network.

    Attributes
    ----------
    windows
        As on a card; None where the network sees images whole.
    slices
        The axis along which volumes are cut for a 2D network; None where they are not.
    activation, threshold
        As on a card; None where they are not said.
    back
        As of a card's grid: what the bundle brings back to the image.
    asked, notes
        Keys of a card that cannot be told, and what was left out.
    """

    windows: dict[str, Any] | None = None
    slices: int | None = None
    activation: str | None = None
    threshold: float | None = None
    back: str = "logits"
    asked: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def usage_of(config: Config, dims: int) -> Usage:
    """Read the inferer and the transforms of outputs."""
    out = Usage()
    _inferer(out, config.get("inferer"), dims)
    _outputs(out, config.get("postprocessing"))
    return out


def slices_of(config: Config) -> int | None:
    """Return the axis along which the inferer cuts volumes into slices; None where it cuts none."""
    found = config.get("inferer")
    if not is_component(found) or class_name(found) != "SliceInferer":
        return None
    axis = arguments(found).get("spatial_dim", 0)
    return axis if axis in (0, 1, 2) else None


def dims_of(config: Config) -> int | None:
    """Return how many axes of space the windows have; None without windows."""
    found = config.get("inferer")
    size = arguments(found).get("roi_size") if is_component(found) else None
    return len(size) if isinstance(size, list) and len(size) in (2, 3) else None


def _inferer(out: Usage, found: Any, dims: int) -> None:
    if is_component(found) and class_name(found) == SIMPLE:
        return
    name = class_name(found) if is_component(found) else None
    if name not in SLIDING:
        what = "no inferer" if found is None else f"the inferer {name or repr(found)[:80]}, which is not read"
        out.asked["windows"] = f"size and overlap of the windows, null for none (the bundle has {what})"
        return
    own = {key: value for key, value in arguments(found).items() if key not in OF_THE_MACHINE}
    out.slices = own.pop("spatial_dim", 0) if name == "SliceInferer" else None
    roi = own.pop("roi_size", None)
    roi = [roi] * dims if isinstance(roi, int) else roi
    overlap = own.pop("overlap", 0.25)
    if isinstance(overlap, list) and overlap and all(one == overlap[0] for one in overlap):
        overlap = overlap[0]
    weighting, sigma = own.pop("mode", "constant"), own.pop("sigma_scale", 0.125)
    padding, value = own.pop("padding_mode", "constant"), own.pop("cval", 0.0)
    wrong = next((f"{key} is {text!r}" for key, text in unread(own)), None)
    if not isinstance(roi, list) or len(roi) != dims or not all(isinstance(n, int) and n > 0 for n in roi):
        wrong = f"roi_size is {roi!r:.60}"
    elif not isinstance(overlap, int | float) or not 0 <= overlap < 1:
        wrong = f"overlap is {overlap!r:.60}"
    elif weighting not in ("constant", "gaussian") or (weighting == "gaussian" and sigma != 0.125):
        wrong = f"mode is {weighting!r:.40} with sigma_scale {sigma!r:.40}"
    elif padding not in ("constant", "replicate", "reflect") or not isinstance(value, int | float):
        wrong = f"padding_mode is {padding!r:.40}"
    elif own and not wrong:
        wrong = f"{next(iter(own))} is not known here"
    if wrong:
        out.asked["windows"] = f"size and overlap of the windows (of the bundle's {name} {wrong})"
        return
    windows = {"size": roi, "overlap": overlap, "rule": "monai", "weighting": weighting, "padding": padding}
    out.windows = {**windows, "padding_value": value} if value else windows


def _outputs(out: Usage, found: Any) -> None:
    if is_component(found) and class_name(found) == "Compose":
        found = found.get("transforms")
    argmax = threshold = None
    brought = "logits"
    for one in found if isinstance(found, list) else []:
        name = class_name(one) if is_component(one) else repr(one)[:80]
        own: Mapping[str, Any] = arguments(one) if is_component(one) else {}
        if name in ("Activationsd", "Activations"):
            for kind in ("softmax", "sigmoid"):
                if _says(own.get(kind)):
                    out.activation, brought = kind, "probabilities"
            if own.get("other") is not None:
                out.asked["activation"] = (
                    f"softmax or sigmoid (the bundle has {own['other']!r:.80}, which is not run)"
                )
        elif name in ("AsDiscreted", "AsDiscrete"):
            argmax = argmax or _says(own.get("argmax"))
            threshold = own.get("threshold", threshold)
            brought = "labels"
        elif name in ("Invertd", "Invert"):
            out.back = brought
        elif name not in HARMLESS:
            out.notes.append(
                f"{name} of the bundle is left out: what is explained is what the network itself draws."
            )
    threshold = threshold[0] if isinstance(threshold, list) and len(threshold) == 1 else threshold
    if argmax:  # whatever turns outputs into probabilities leaves the largest the largest
        out.activation = "softmax"
    elif out.activation is None and threshold is not None:
        out.asked["values"] = (
            f"logits or probabilities (the bundle compares the outputs of the network themselves with {threshold!r:.40})"
        )
        out.activation = "sigmoid"
    if out.activation == "sigmoid" and threshold is not None:
        if isinstance(threshold, int | float) and 0 < threshold < 1:
            out.threshold = threshold
        else:
            out.asked["threshold"] = (
                f"the probability above which a label is drawn (in the bundle it is {threshold!r:.60})"
            )


def _says(value: Any) -> bool:
    """Tell whether an argument says yes; one per key is the same for all."""
    if isinstance(value, list):
        return any(map(_says, value))
    return value.strip().lower() == "true" if isinstance(value, str) else value is True
