"""A TorchScript file with a card beside it. Network layers cannot be observed in such a model."""

from __future__ import annotations

from pathlib import Path

import torch

from napari_segxai.errors import UserError
from napari_segxai.model.card import ModelCard, read_card
from napari_segxai.model.dry_run import reason_of
from napari_segxai.model.file_kinds import kind_of
from napari_segxai.model.segmentation import SegmentationModel
from napari_segxai.model.weights import read_weights

SUFFIXES = (".pt", ".pth", ".ts", ".torchscript")

FOLDER = "make a model folder with a card that names the architecture"

NO_NETWORKS = {
    "empty": "the file is empty; save the network again",
    "safetensors": f"holds weights alone; {FOLDER}",
    "torch": f"holds weights alone, no TorchScript network; {FOLDER}",
    "torch.export": f"is a program of torch.export, no TorchScript network; save its state_dict() and {FOLDER}",
}
"""Files that are no TorchScript, and what would be right."""


def handles(source: object) -> bool:
    """Tell whether `source` is a file with a suffix of TorchScript."""
    return isinstance(source, Path) and source.is_file() and source.suffix.lower() in SUFFIXES


def load(source: Path, *, card: ModelCard | None, trust: bool) -> SegmentationModel:
    """Load a TorchScript file; its card is `card`, or the YAML file of the same name beside it.

    Raises
    ------
    UserError
        If there is no card, or the file is no TorchScript.
    """
    beside = source.with_suffix(".yaml")
    if card is None and not beside.is_file():
        raise UserError(
            f"{source}: a TorchScript model needs a card; write {beside.name} beside it or pass card=."
        )
    card = card or read_card(beside)
    kind = kind_of(source)
    if kind == "torch":
        read_weights(source, wanted="TorchScript")  # which says what else torch.save may have written
    if kind in NO_NETWORKS:
        raise UserError(f"{source}: {NO_NETWORKS[kind]}.")
    try:
        module = torch.jit.load(source, map_location="cpu")
    except (RuntimeError, ValueError) as error:
        raise UserError(
            f"{source}: cannot be read as TorchScript ({reason_of(error)}); for weights alone {FOLDER}."
        ) from None
    return SegmentationModel(module, card, source=f"TorchScript file {source.name}", path=source.absolute())
