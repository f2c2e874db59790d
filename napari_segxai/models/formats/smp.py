"""A folder that segmentation-models-pytorch (SMP) saved: ``model.save_pretrained(folder)``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from napari_segxai.core.errors import UserError, nearest
from napari_segxai.core.extras import need
from napari_segxai.models.card import ModelCard
from napari_segxai.models.formats import folder as model_folder
from napari_segxai.models.formats.registry import model_format
from napari_segxai.models.loading.architecture import build
from napari_segxai.models.loading.json_mapping import SAVED, json_mapping
from napari_segxai.models.loading.saved_weights import (
    is_weights,
    numbers_in,
    read_all,
    refuse_other,
    weight_files,
)
from napari_segxai.models.loading.weights import load_weights
from napari_segxai.models.partial_card import PartialCard
from napari_segxai.models.segmentation import SegmentationModel

PACKAGE, CONFIG, CLASS = "segmentation_models_pytorch", "config.json", "_model_class"

CLASSES = (
    "DPT", "DeepLabV3", "DeepLabV3Plus", "FPN", "Linknet", "MAnet", "PAN", "PSPNet", "Segformer", "UPerNet", "Unet", "UnetPlusPlus",
)  # fmt: skip

PROBABILITIES = {"sigmoid": "sigmoid", "softmax": "softmax", "softmax2d": "softmax"}
"""Activations after which the network returns probabilities."""

LOGITS = {"logsoftmax": "softmax", "identity": None, None: None}
"""Those after which it returns logits."""

IMAGENET = [{"divide": 255}, {"normalize": {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}}]

MOST = 2**16


def handles(source: object) -> bool:
    """Tell whether `source` is a folder that SMP saved, and no model folder."""
    if not isinstance(source, Path):
        return False
    folder = _folder(source)
    if not (folder / CONFIG).is_file() or (folder / model_folder.CARD).is_file():
        return False
    try:
        return CLASS in json_mapping(folder / CONFIG, SAVED)
    except UserError:
        return False


def _folder(source: Path) -> Path:
    return source.parent if source.name == CONFIG or is_weights(source) else source


def card_of(source: Path) -> PartialCard:
    """Return what a folder says; SMP keeps neither names of labels nor how images are prepared.

    Raises
    ------
    UserError
        If config.json describes no network of SMP.
    """
    folder = _folder(source).absolute()
    name, settings = _settings(folder)
    where = folder / CONFIG
    outputs, channels = (
        _whole(settings, key, usual, where) for key, usual in (("classes", 1), ("in_channels", 3))
    )
    names = {1: ["intensity"], 3: ["red", "green", "blue"]}
    known: dict[str, Any] = {
        "name": folder.name,
        "spatial_dims": 2,
        "channels": names.get(channels) or [f"channel {k + 1}" for k in range(channels)],
        "architecture": f"{PACKAGE}:{name}",
        "arguments": settings,
        "description": f"segmentation-models-pytorch: {name} with {settings.get('encoder_name', 'resnet34')}.",
    }
    asked = {"intensity": "the steps by which images were prepared in training, or [] for none"}
    suggested: dict[str, Any] = {"intensity": IMAGENET if channels == 3 else []}
    activation = settings.get("activation")
    if not isinstance(activation, str | None) or activation not in PROBABILITIES | LOGITS:
        raise UserError(
            f"{where}: activation is {activation!r:.60}, after which there are neither logits nor probabilities; set it to null."
        )
    if activation in PROBABILITIES:
        known |= {"activation": PROBABILITIES[activation], "values": "probabilities"}
    elif LOGITS[activation]:
        known["activation"] = LOGITS[activation]
    elif outputs == 1:
        known["activation"] = "sigmoid"
    else:
        asked["activation"] = "softmax if labels exclude each other, sigmoid if they may overlap"
        suggested["activation"] = "softmax"
    if outputs == 1:
        asked["labels"] = "the names of the background and of what its one output draws"
        suggested["labels"] = ["background", "object"]
    else:
        asked["labels"] = f"the names of its {outputs} outputs, in their order"
        suggested["labels"] = ["background", *(f"label {k}" for k in range(1, outputs))]
    return PartialCard(str(folder), known, asked, suggested)


def _settings(folder: Path) -> tuple[str, dict[str, Any]]:
    """Return the class of the network and its arguments."""
    settings = json_mapping(folder / CONFIG, SAVED)
    name = settings.pop(CLASS)
    if not isinstance(name, str) or name not in CLASSES:
        raise UserError(
            f"{folder / CONFIG}: {CLASS} is {name!r:.60}, no network of SMP; {nearest(str(name), CLASSES)}"
        )
    return name, {**settings, "encoder_weights": None}  # they come from the file


def _whole(settings: Mapping[str, Any], key: str, usual: int, where: Path) -> int:
    value = settings.get(key, usual)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 < value < MOST:
        raise UserError(f"{where}: {key} is {value!r:.60}; it needs a whole number.")
    return value


@model_format("smp", handles=handles, card=card_of)
def load(source: Path, *, card: ModelCard | None, trust: bool) -> SegmentationModel:
    """Build the network that config.json describes and load its weights, without the internet.

    Raises
    ------
    UserError
        If SMP is not installed, a file is missing or damaged, or the weights are of another network.
    """
    folder = _folder(source)
    card = card or card_of(source).completed()
    name, settings = _settings(folder)
    files = weight_files(folder)
    need(PACKAGE, "smp", f"{folder}: the network")
    where, place = folder / CONFIG, f"{PACKAGE}:{name}"
    refuse_other(card.architecture, place, where)
    module, _ = build(place, settings, where, trust=trust, numbers=numbers_in(files), beside=False)
    said = load_weights(module, files[0], read_all(files))
    module.eval().requires_grad_(False)
    model = SegmentationModel(module, card, source=f"SMP {name} {folder.name}", path=source.absolute())
    return model.with_note(said)
