"""The model card of a bioimage.io description: what it says, and what is asked."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from napari_segxai.core.errors import UserError
from napari_segxai.models.card import ModelCard
from napari_segxai.models.formats.bioimageio.description import Description, Tensor, number_of
from napari_segxai.models.formats.bioimageio.intensity import intensity_of
from napari_segxai.models.partial_card import PartialCard

OBJECTS = ("stardist_postprocessing", "cellpose_flow_dynamics")
"""What makes objects of outputs, without gradients; the outputs are distances or flows, no labels."""

MAPS = re.compile(r"bound|affin|membrane|edge|contour|border|skelet", re.IGNORECASE)
"""Names of outputs that lie over the objects beside them, so that a softmax is unlikely."""

KEPT = ("sigmoid", "softmax", "binarize", "ensure_dtype", "clip")
"""What comes after the network and is on the card, or changes no answer."""


def card_of(description: Description) -> PartialCard:
    """Return what a description says of the card, and what it does not.

    Raises
    ------
    UserError
        If it describes something that no card can say.
    """
    where = str(description.path)
    image = _input(description)
    output = _output(description)
    dims = sum(axis in "zyx" for axis in image.axes)
    channels = _distinct(image.channels or _numbered(image.name, image.count))
    known: dict[str, Any] = {
        "name": description.text("name") or description.path.parent.name,
        "spatial_dims": dims,
        "channels": channels,
        "intensity": intensity_of(image, channels, where)[0],
        **_of_people(description, image),
    }
    asked: dict[str, str] = {}
    suggested: dict[str, Any] = {}
    if len(description.outputs) > 1:
        names = ", ".join(one.name for one in description.outputs)
        if sum(_is_map(one, image) for one in description.outputs) > 1:
            asked["output"] = f"the position, from 0, of the one to explain among its outputs ({names})"
            suggested["output"] = description.outputs.index(output)
        else:
            known["output"] = description.outputs.index(output)
    _sizes(image, output, known, asked, suggested)
    _labels(output, "output" in asked, known, asked, suggested)
    return PartialCard(where, known, asked, suggested)


def notes_of(description: Description, card: ModelCard) -> list[str]:
    """Return what has to be said of every result: what is measured otherwise, and what is left out."""
    image, output = _input(description), _output(description)
    _, notes = intensity_of(image, card.channels, str(description.path))
    left = [step.name for step in output.steps if step.name not in KEPT]
    if left:
        notes.append(
            f"what the description does after the network is left out ({', '.join(left)}): what is explained is the network's own output."
        )
    return notes


def _input(description: Description) -> Tensor:
    if len(description.inputs) > 1:
        names = ", ".join(one.name for one in description.inputs)
        raise UserError(
            f"{description.path}: its network takes {len(description.inputs)} tensors ({names}); one that takes a single image can be asked."
        )
    (image,) = description.inputs
    if not re.fullmatch(r"bcz?yx", image.axes):
        raise UserError(
            f"{description.path}: its input has the axes {image.axes}; images enter a network here as bcyx or bczyx "
            "(batch, channels, z, y, x)."
        )
    return image


def _is_map(output: Tensor, image: Tensor) -> bool:
    return output.axes == image.axes


def _output(description: Description) -> Tensor:
    """Return the first output that is an image of the same kind as the input."""
    image = _input(description)
    for step in (step for one in description.outputs for step in one.steps):
        if step.name in OBJECTS:
            raise UserError(
                f"{description.path}: {step.name} makes objects of its outputs, which are no labels; docs/other_formats.md says what of "
                "such a network can be explained, by hand."
            )
    fitting = [one for one in description.outputs if _is_map(one, image)]
    if not fitting:
        found = ", ".join(f"{one.name} {one.axes}" for one in description.outputs)
        raise UserError(
            f"{description.path}: none of its outputs ({found}) has the axes of its input, {image.axes}; a segmentation has."
        )
    return fitting[0]


def _of_people(description: Description, image: Tensor) -> dict[str, str]:
    authors = description.fields.get("authors")
    names = (
        [str(one.get("name", "")) for one in authors or () if isinstance(one, dict)]
        if isinstance(authors, list)
        else []
    )
    scales = [f"{axis} {length}" for axis, length in image.scales.items()]
    about = [
        description.text("description"),
        f"Trained at a pixel size of {', '.join(scales)}." if scales else "",
    ]
    said = {
        "description": " ".join(part for part in about if part),
        "credit": ", ".join(name for name in names if name),
        "license": description.text("license"),
        "provenance": description.text("id") or description.text("git_repo"),
    }
    return {key: value for key, value in said.items() if value}


def _sizes(
    image: Tensor, output: Tensor, known: dict[str, Any], asked: dict[str, str], suggested: dict[str, Any]
) -> None:
    """Say what sizes the network takes, and what is put around an image: the halo, and what lacks to such a size."""
    axes = [axis for axis in image.axes if axis in "zyx"]
    sizes = [image.sizes.get(axis) for axis in axes]
    found = [size for size in sizes if size is not None]
    halo = [output.halo.get(axis, 0) for axis in axes]
    pad: dict[str, Any] = {"border": [[width, width] for width in halo]} if any(halo) else {}
    if len(found) == len(axes):
        fixed = [size.step == 0 for size in found]
        if any(fixed):
            windows = _windows([size.least for size in found], halo)
            if all(fixed):
                known["windows"] = windows
            else:
                asked["windows"] = (
                    "the size of what it sees at once, such as {size: [...]}, as not every axis may have any length"
                )
                suggested["windows"] = windows
        else:
            pad |= {
                "size": [size.least for size in found],
                "multiple": [size.step for size in found],
                "at": "end",
            }
    if pad:
        known["grid"] = {"pad": {**pad, "mode": "reflect"}}


def _windows(size: list[int], halo: list[int]) -> dict[str, Any]:
    """Return windows of the one size that a network takes: their middles lie side by side."""
    out = {"size": size, "overlap": 0.0, "rule": "monai", "weighting": "constant", "padding": "reflect"}
    if any(halo) and all(2 * width < n for width, n in zip(halo, size, strict=True)):
        out["overlap"] = max(2 * width / n for width, n in zip(halo, size, strict=True))
        out["margin"] = halo
    return out


def _labels(
    output: Tensor, unsure: bool, known: dict[str, Any], asked: dict[str, str], suggested: dict[str, Any]
) -> None:
    """Say what the channels of the output mean."""
    steps = {step.name: step for step in output.steps}
    activation = next((name for name in ("sigmoid", "softmax") if name in steps), None)
    names = list(_distinct(output.channels or _numbered(output.name, output.count)))
    count = len(names)
    if activation is None and count == 1:
        activation = "sigmoid"  # a softmax of one output is 1 everywhere
    told = unsure is False and activation is not None
    labels = names if _has_background(names) or activation == "softmax" else ["background", *names]
    if (told and count == 1) or (output.channels is not None and (told or _has_background(names))):
        known["labels"] = labels
    else:
        asked["labels"] = (
            f"the names of its {count} output(s), in their order, after 'background' where that is none of them"
        )
        suggested["labels"] = labels
    if told:
        known["activation"] = activation
        if activation == "sigmoid" and _has_background(names):
            known["background_output"] = True
    else:
        asked["activation"] = (
            "softmax, if its labels exclude each other, or sigmoid, if each has a probability of its own"
        )
        suggested["activation"] = (
            "sigmoid" if activation == "sigmoid" or any(map(MAPS.search, names)) else "softmax"
        )
    _values(output, activation in steps, told, known, asked, suggested)


def _values(
    output: Tensor,
    follows: bool,
    told: bool,
    known: dict[str, Any],
    asked: dict[str, str],
    suggested: dict[str, Any],
) -> None:
    """Say whether the network returns logits, and from which probability a label is drawn."""
    cuts = next((step for step in output.steps if step.name == "binarize"), None)
    if follows and told:
        known["values"] = "logits"
    elif told and output.range == (0, 1) and cuts is None:
        known["values"] = "probabilities"
    else:
        asked["values"] = "logits, if a sigmoid or softmax has yet to follow, or probabilities"
        suggested["values"] = "probabilities" if output.range == (0, 1) or cuts is not None else "logits"
    if cuts is None or known.get("activation", suggested.get("activation")) != "sigmoid":
        return
    said = cuts.numbers.get("threshold")
    values = [number_of(one, "binarize: threshold") for one in (said if isinstance(said, list) else [said])]
    drawn = len(known.get("labels", suggested.get("labels", ()))) - 1
    if known.get("background_output") and len(values) == drawn + 1:
        values = values[1:]
    if all(0 < value < 1 for value in values) and len(values) in (1, drawn):
        known["threshold"] = values[0] if len(values) == 1 else values


def _has_background(names: Sequence[str]) -> bool:
    return len(names) > 1 and names[0].casefold() in ("background", "bg")


def _numbered(name: str, count: int | None) -> tuple[str, ...]:
    """Return names for channels that have none: that of their tensor, numbered where there are several."""
    name = " ".join(name.split()) or "output"
    return (name,) if count in (None, 1) else tuple(f"{name} {k}" for k in range(count))


def _distinct(names: Sequence[str]) -> tuple[str, ...]:
    """Number names that are given twice."""
    return tuple(
        name if list(names).count(name) == 1 else f"{name} {list(names[:k]).count(name)}"
        for k, name in enumerate(names)
    )
