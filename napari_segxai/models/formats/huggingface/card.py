"""The model card of what transformers saved."""

from __future__ import annotations

from typing import Any

from napari_segxai.core.errors import UserError
from napari_segxai.models.formats.huggingface.files import CONFIG, PROCESSOR, Saved
from napari_segxai.models.formats.huggingface.processor import Preparation, preparation_of
from napari_segxai.models.partial_card import PartialCard

PLACE = "napari_segxai.models.zoo.transformers"

NO_PART = {
    "_attn_implementation", "_commit_hash", "_name_or_path", "architectures", "attn_implementation", "auto_map", "dtype", "id2label", "label2id",
    "output_attentions", "output_hidden_states", "problem_type", "return_dict", "task_specific_params", "torch_dtype", "torchscript",
    "transformers_version", "use_auxiliary_loss", "use_cache", "use_return_dict",
}  # fmt: skip
"""Settings that play no part in what the network computes, or of which the number of labels alone does."""

FETCHES = ("use_pretrained_backbone",)
"""Settings by which weights would be fetched."""

MOST = 2**16
"""Labels and channels that are read."""


IGNORED = 255
"""The value of a label image that transformers leaves out of its loss unless it is told another."""


def card_of(saved: Saved) -> PartialCard:
    """Return what the files say.

    Raises
    ------
    UserError
        If labels, channels or the image processor are not written as transformers writes them.
    """
    labels, channels = labels_of(saved), channels_of(saved)
    ready = preparation(saved)
    arguments = settings_of(saved.config) | {"num_labels": len(labels)}
    if ready.flip_channels:
        arguments["flip_channels"] = True
    known: dict[str, Any] = {
        "name": saved.name,
        "labels": labels,
        "spatial_dims": 2,
        "channels": named_channels(channels),
        **ready.known,
        "architecture": f"{PLACE}:{saved.network}",
        "arguments": arguments,
        "description": f"Hugging Face transformers: {saved.network}.",
    }
    # transformers leaves out of its files what is usual.
    ignored = saved.config.get(
        "semantic_loss_ignore_index", (saved.processor or {}).get("ignore_index", IGNORED)
    )
    if isinstance(ignored, int) and not isinstance(ignored, bool) and len(labels) < ignored < MOST:
        known["ignored_values"] = [ignored]
    if len(labels) == 1:
        known |= {"labels": ["background", *labels], "activation": "sigmoid"}
    return PartialCard(str(saved.folder), known, ready.asked, ready.suggested)


def preparation(saved: Saved) -> Preparation:
    """Return how images are prepared.

    Raises
    ------
    UserError
        As `card_of`.
    """
    model_type, side = str(saved.config.get("model_type", "")), saved.config.get("image_size")
    where = saved.folder / PROCESSOR
    return preparation_of(saved.processor, model_type, channels_of(saved), side, where)


def labels_of(saved: Saved) -> list[str]:
    """Return the names of the labels in the order of the outputs.

    Raises
    ------
    UserError
        If they are not numbered 0, 1, 2, ...
    """
    where, told = saved.folder / CONFIG, saved.config.get("id2label")
    if told is None:
        count = saved.config.get("num_labels", 2)  # transformers leaves out what is usual
        if not isinstance(count, int) or not 0 < count < MOST:
            raise UserError(f"{where}: num_labels is {count!r:.60}; it needs a whole number.")
        return [f"LABEL_{k}" for k in range(count)]
    count = len(told) if isinstance(told, dict) else 0
    if not 0 < count < MOST or any(str(k) not in told for k in range(count)):
        raise UserError(
            f"{where}: id2label has to give a name to each of the outputs 0, 1, 2, ..., from 0 on; it is {told!r:.80}."
        )
    names = [" ".join(str(told[str(k)]).split()) or f"LABEL_{k}" for k in range(count)]
    return [f"{name} ({k})" if names.count(name) > 1 else name for k, name in enumerate(names)]


def unnamed(labels: list[str]) -> bool:
    """Tell whether labels have the names that transformers gives to those that have none."""
    return all(name == f"LABEL_{k}" for k, name in enumerate(labels))


def channels_of(saved: Saved) -> int:
    """Return the number of channels of the network's input.

    Raises
    ------
    UserError
        If it is no number.
    """
    inner = saved.config.get("backbone_config")
    told = saved.config.get("num_channels")
    if told is None:
        told = inner.get("num_channels") if isinstance(inner, dict) else None
    told = 3 if told is None else told
    if not isinstance(told, int) or isinstance(told, bool) or not 0 < told < MOST:
        raise UserError(f"{saved.folder / CONFIG}: num_channels is {told!r:.60}; it needs a whole number.")
    return told


def named_channels(count: int) -> list[str]:
    """Return names of channels: the colours, or numbers."""
    usual = {1: ["intensity"], 3: ["red", "green", "blue"]}
    return usual.get(count) or [f"channel {k + 1}" for k in range(count)]


def settings_of(config: dict[str, Any]) -> dict[str, Any]:
    """Return the settings that make the network, also those of a network inside it."""
    found = {}
    for key, value in config.items():
        if key in NO_PART:
            continue
        found[key] = settings_of(value) if isinstance(value, dict) else False if key in FETCHES else value
    return found
