"""The model card of a MONAI bundle, as far as its files tell it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from napari_segxai.models.formats.monai_bundle.config import Config, arguments, class_name, is_component
from napari_segxai.models.formats.monai_bundle.find import Bundle
from napari_segxai.models.formats.monai_bundle.inference import Usage, dims_of, slices_of, usage_of
from napari_segxai.models.formats.monai_bundle.metadata import Metadata, read_metadata
from napari_segxai.models.formats.monai_bundle.network import NetworkFacts, network_facts
from napari_segxai.models.formats.monai_bundle.preprocessing import read_transforms
from napari_segxai.models.partial_card import PartialCard

BACKGROUND = "background"

DEFAULT = "model.pt"
"""MONAI's name of the file of weights."""

LOADER = "CheckpointLoader"


@dataclass(frozen=True)
class Reading:
    """What a bundle's files say.

    Attributes
    ----------
    card
        Of the model card.
    notes
        What a user should know of how it was read.
    """

    card: PartialCard
    notes: tuple[str, ...]


def read_bundle(bundle: Bundle) -> Reading:
    """Read what a bundle says of its network, without building it.

    Raises
    ------
    UserError
        If a file cannot be read, or says nothing of a network.
    """
    config, metadata = Config(bundle.config), read_metadata(bundle.metadata)
    network = network_facts(config)
    known: dict[str, Any] = {"name": metadata.name, **metadata.for_people, **network.known}
    known["weights"] = bundle.weights.name if bundle.weights else _weights(config)
    asked, suggested = dict(network.asked), dict(network.suggested)
    slices = slices_of(config)
    dims = 2 if slices is not None else network.dims or dims_of(config) or metadata.dims
    if dims is None:
        asked["spatial_dims"] = "2 or 3"
        dims = 3
    else:
        known["spatial_dims"] = dims
    usage = usage_of(config, dims)
    channels, notes = _channels(network, metadata)
    known["channels"] = channels
    found = config.get("preprocessing")
    prepared = read_transforms(found, channels, dims, slices, is_training=bundle.is_training)
    if bundle.is_training:
        notes.append(
            f"how images are prepared was read from {bundle.config.name}, which is not for inference."
        )
    for part in (prepared.asked, usage.asked):
        for key, what in part.items():
            asked.setdefault(key, what)
    known |= prepared.fields
    if usage.back != "logits" and ("spacing" in prepared.grid or "size" in prepared.grid):
        known["grid"] = {**prepared.grid, "back": usage.back}
    known |= {"windows": usage.windows} if usage.windows else {}
    _labels(known, asked, suggested, network, metadata, usage)
    for key in asked:
        if key in known:
            suggested.setdefault(key, known.pop(key))
    return Reading(
        PartialCard(str(bundle.root), known, asked, suggested), (*notes, *prepared.notes, *usage.notes)
    )


def _channels(network: NetworkFacts, metadata: Metadata) -> tuple[tuple[str, ...], list[str]]:
    """Return the names of the network's channels; where the files name others, numbers stand for names, which is said."""
    told = metadata.channels
    count = network.inputs or len(told or "?")
    if told is not None and len(told) == count:
        return told, []
    if count == 1:
        return ("image",), []
    names = tuple(f"channel {k}" for k in range(1, count + 1))
    return names, [
        (
            f"the network takes {count} channels, and metadata.json names {len(told) if told else 'none'}; they have numbers here, in the "
            "order of the bundle."
        )
    ]


def _labels(
    known: dict[str, Any],
    asked: dict[str, str],
    suggested: dict[str, Any],
    network: NetworkFacts,
    metadata: Metadata,
    usage: Usage,
) -> None:
    """Put labels, activation and threshold into the card, or ask for them."""
    told, outputs = metadata.labels, network.outputs
    first = told[0].strip().lower() if told else ""
    activation = usage.activation
    if activation is None and "activation" not in asked:
        asked["activation"] = (
            "softmax or sigmoid (the bundle has no Activationsd and no AsDiscreted that would tell)"
        )
        if told:
            suggested["activation"] = "softmax" if first == BACKGROUND and len(told) > 1 else "sigmoid"
    if activation == "softmax" and (outputs or len(told or "??")) < 2:
        asked["activation"] = (
            "softmax or sigmoid (the bundle takes the highest of outputs, of which the network has one)"
        )
        suggested["activation"] = "sigmoid"
    if activation is not None and "activation" not in asked:
        known["activation"] = activation
    if activation == "sigmoid" and usage.threshold not in (None, 0.5):
        known["threshold"] = usage.threshold
    many = f"{outputs} outputs" if outputs else "outputs"
    if told is None or (outputs is not None and len(told) != outputs):
        lie = "" if told is None else f"; metadata.json names {len(told)}: {', '.join(told[:8])}"
        before = "" if activation == "softmax" else "background, and then "
        asked["labels"] = f"{before}the names of the network's {many}, in their order{lie}"
        return
    if activation == "sigmoid" and first != BACKGROUND:
        known["labels"] = (BACKGROUND, *told)
        known["background_output"] = False
    elif activation == "sigmoid":
        known |= {"labels": told, "background_output": True}
    elif activation == "softmax":
        known["labels"] = told
    else:
        known["labels"] = told if first == BACKGROUND else (BACKGROUND, *told)


def _weights(config: Config) -> str:
    """Return the name of the file of weights that is loaded for inference; its folder is always that of the bundle's models."""
    found = [config.get("checkpointloader")]
    handlers = config.get("handlers")
    found += handlers if isinstance(handlers, list) else []
    for one in found:
        if is_component(one) and class_name(one) == LOADER:
            path = arguments(one).get("load_path")
            name = path.replace("\\", "/").rpartition("/")[2] if isinstance(path, str) else ""
            if name.endswith((".pt", ".pth", ".safetensors")):
                return name
    return DEFAULT
