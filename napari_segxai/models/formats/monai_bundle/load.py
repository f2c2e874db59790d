"""A MONAI bundle, opened without running anything of it; MONAI itself is needed for its networks alone."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
from pathlib import Path
from typing import Any

from torch import nn

from napari_segxai.core.errors import UserError
from napari_segxai.models.card import ModelCard
from napari_segxai.models.formats import folder
from napari_segxai.models.formats.monai_bundle.card import read_bundle
from napari_segxai.models.formats.monai_bundle.find import Bundle, find, is_bundle
from napari_segxai.models.formats.monai_bundle.network import NETS
from napari_segxai.models.formats.registry import model_format
from napari_segxai.models.formats.torchscript import read_torchscript
from napari_segxai.models.loading.architecture import build
from napari_segxai.models.loading.file_kinds import kind_of
from napari_segxai.models.loading.weights import load_weights
from napari_segxai.models.partial_card import PartialCard
from napari_segxai.models.segmentation import SegmentationModel

SCRIPT = "model.ts"
"""MONAI's name of the network as a TorchScript file."""

POINTER = b"version https://git-lfs"
"""How a file of Git LFS begins that only stands for another one."""

RETIRED = ("img_size",)
"""Arguments that MONAI's networks took, and that change nothing of them."""


def handles(source: object) -> bool:
    """Tell whether `source` is of a MONAI bundle, and no model folder."""
    return isinstance(source, Path) and not (source / folder.CARD).is_file() and is_bundle(source)


def read_card(source: Path) -> PartialCard:
    """Return the card as far as the files tell it, without building the network.

    Raises
    ------
    UserError
        As `load`.
    """
    return read_bundle(find(source)).card


def _where(bundle: Bundle) -> Path:
    """Return the file beside which code is looked for, as MONAI does: in `scripts` beside the bundle's folders."""
    return bundle.root / bundle.config.name


@model_format("monai-bundle", handles=handles, card=read_card, code=lambda source: _where(find(source)))
def load(source: Path, *, card: ModelCard | None, trust: bool) -> SegmentationModel:
    """Build the network that the bundle describes and load its weights; or its TorchScript file where that cannot be.

    Raises
    ------
    CardIncomplete
        If the files do not say all.
    UserError
        If files are missing, damaged, or do not fit each other.
    UntrustedCode
        If the network is not one of MONAI's, and `trust` is False.
    """
    bundle = find(source)
    reading = read_bundle(bundle)
    card = card or reading.card.completed()
    weights, script = bundle.models / card.weights, bundle.models / SCRIPT
    if script == weights or (script.is_file() and not (weights.is_file() and _has_monai(card))):
        _check_file(bundle, script)
        module: nn.Module = read_torchscript(script, trust=trust)
        why = "is not installed" if weights.is_file() and script != weights else "is not needed for it"
        said = [
            f"the network is the bundle's TorchScript file {script.name}, whose layers cannot be observed (MONAI {why})."
        ]
    else:
        module, said = _network(bundle, card, weights, trust)
    module.eval()
    for parameter in module.parameters():
        parameter.requires_grad_(False)
    model = SegmentationModel(
        module, card, source=f"MONAI bundle {bundle.root.name}, {bundle.config.name}", path=source.absolute()
    )
    for note in (*said, *reading.notes):
        model.with_note(note)
    return model


def _network(bundle: Bundle, card: ModelCard, weights: Path, trust: bool) -> tuple[nn.Module, list[str]]:
    """Build the network of a card and load its weights; return what should be said of it, too."""
    _check_file(bundle, weights)
    if card.architecture is None:
        raise UserError(f"{bundle.config}: the card needs an architecture, written 'package.module:Class'.")
    if not _has_monai(card):
        raise UserError(
            f'{bundle.config}: its network {card.architecture.rpartition(":")[2]} is one of MONAI\'s; install that: pip install "napari-segxai[monai]".'
        )
    arguments, dropped = _current(card)
    numbers = weights.stat().st_size // 2
    module, emptied = build(card.architecture, arguments, _where(bundle), trust=trust, numbers=numbers)
    return module, [dropped, emptied, load_weights(module, weights)]


def _has_monai(card: ModelCard) -> bool:
    """Tell whether MONAI is installed, or not needed for the network."""
    needed = (card.architecture or NETS).partition(".")[0] == "monai"
    if not needed:
        return True
    found = importlib.util.find_spec("monai")
    return found is not None and found.origin is not None  # a mere folder of that name is none


def _current(card: ModelCard) -> tuple[dict[str, Any], str]:
    """Return the arguments that the installed MONAI knows: what older versions took without use is left out."""
    arguments, place = dict(card.arguments), card.architecture or ""
    retired = [name for name in RETIRED if name in arguments]
    if not retired or not place.startswith(f"{NETS}:"):
        return arguments, ""
    network = getattr(importlib.import_module(NETS), place.rpartition(":")[2], None)
    known = inspect.signature(network).parameters if isinstance(network, type) else retired
    gone = [name for name in retired if name not in known]
    said = f"{', '.join(gone)} is left out, which MONAI no longer takes: it changes nothing of the network."
    return {name: value for name, value in arguments.items() if name not in gone}, said if gone else ""


def _check_file(bundle: Bundle, path: Path) -> None:
    """Refuse a file that is missing, cut off, or stands for another one."""
    if not path.is_file():
        there = sorted(one.name for one in bundle.models.glob("*.*")) if bundle.models.is_dir() else []
        beside = f" (there: {', '.join(there[:8])}; name it: card={{'weights': ...}})" if there else ""
        raise UserError(
            f"{path}: the weights are missing{beside}; MONAI's model zoo keeps them apart from its files: download the whole bundle "
            "(python -m monai.bundle download NAME)."
        )
    with path.open("rb") as file:
        start = file.read(len(POINTER))
    if start == POINTER:
        raise UserError(
            f"{path}: is a pointer of Git LFS that stands for the weights, not the weights; fetch them (git lfs pull)."
        )
    if kind_of(path) in ("empty", "unknown"):
        raise UserError(
            f"{path}: is cut off or damaged, so that it cannot be read as weights; download the bundle again."
        )
