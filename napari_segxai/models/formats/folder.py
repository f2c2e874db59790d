"""A model folder: model.yaml, weights.safetensors, and an architecture named in the card."""

from __future__ import annotations

from pathlib import Path

from napari_segxai.core.errors import UserError
from napari_segxai.models.card import ModelCard, read_card
from napari_segxai.models.formats.registry import model_format
from napari_segxai.models.loading.architecture import build
from napari_segxai.models.loading.json_mapping import SAVED, json_mapping
from napari_segxai.models.loading.weights import load_weights
from napari_segxai.models.segmentation import SegmentationModel

CARD, SETTINGS = "model.yaml", "config.json"


def handles(source: object) -> bool:
    """Tell whether `source` is a folder or the card inside one."""
    return isinstance(source, Path) and (source.is_dir() or (source.name == CARD and source.is_file()))


def card_in(source: Path) -> ModelCard:
    """Return the card in a model folder.

    Raises
    ------
    UserError
        If there is none, or it is not valid.
    """
    folder = source if source.is_dir() else source.parent
    if (
        not (folder / CARD).is_file() and (folder / SETTINGS).is_file()
    ):  # of a library that its settings would name
        known = json_mapping(folder / SETTINGS, SAVED)
        raise UserError(
            f"{folder / SETTINGS}: names no network ({', '.join(map(repr, list(known)[:4])) or 'it is empty'}), as transformers "
            f"(`architectures`) and segmentation-models-pytorch (`_model_class`) do; and there is no {CARD} beside it."
        )
    return read_card(folder / CARD)


def _card_file(source: Path) -> Path:
    return source / CARD if source.is_dir() else source


@model_format("folder", handles=handles, card=card_in, code=_card_file, general=True)
def load(source: Path, *, card: ModelCard | None, trust: bool) -> SegmentationModel:
    """Build the network that the card names and load its weights.

    Raises
    ------
    UserError
        If the card, the architecture or the weights are missing or do not fit each other.
    UntrustedCode
        If the architecture is not known to hold networks and `trust` is False.
    """
    folder = source if source.is_dir() else source.parent
    card = card or card_in(source)
    if card.architecture is None:
        raise UserError(
            f"{folder / CARD}: a model folder needs an architecture, written 'package.module:Class'."
        )
    weights = folder / card.weights
    numbers = weights.stat().st_size // 2 if weights.is_file() else 0  # of two bytes at least
    module, emptied = build(card.architecture, card.arguments, folder / CARD, trust=trust, numbers=numbers)
    said = load_weights(module, weights)
    module.eval().requires_grad_(False)
    model = SegmentationModel(module, card, source=f"model folder {folder.name}", path=folder.absolute())
    return model.with_note(emptied).with_note(said)
