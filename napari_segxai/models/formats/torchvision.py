"""A file of weights for one of torchvision's segmentation networks, or the member of torchvision's enums that stands for it.

Nothing is downloaded: the file is one that torchvision, or the user, has downloaded before, or that a training has left.
"""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath
from typing import Any

from torch import Tensor
from torch.hub import get_dir

from napari_segxai.core.errors import UserError
from napari_segxai.core.extras import need
from napari_segxai.models.card import ModelCard
from napari_segxai.models.formats.registry import model_format
from napari_segxai.models.loading.architecture import build
from napari_segxai.models.loading.file_kinds import kind_of
from napari_segxai.models.loading.weights import load_weights, read_weights
from napari_segxai.models.partial_card import PartialCard
from napari_segxai.models.segmentation import SegmentationModel
from napari_segxai.models.torchvision_weights import PLACE, card_of_weights, is_weights
from napari_segxai.models.zoo.torchvision import NAMES

NAMED = re.compile(rf"({'|'.join(NAMES)})(?![a-z0-9])")
"""How the name of a file begins that torchvision published, or that is called after a network."""

SIZED = re.compile(r"(?:classifier\.4|classifier\.low_classifier)\.weight$")
"""The weights that make the labels: a row per label."""

SIZED_AUXILIARY = re.compile(r"aux_classifier\.4\.weight$")

USUAL = {
    "grid": {"shortest_edge": 520},
    "intensity": [
        {"divide": 255},
        {"normalize": {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}},
    ],
}
"""How torchvision prepares images for all of its own weights."""


def handles(source: object) -> bool:
    """Tell whether `source` is a member of torchvision's enums, or a file of weights that is called after a network."""
    if is_weights(source):
        return True
    if not isinstance(source, Path) or not NAMED.match(source.name) or not source.is_file():
        return False
    if source.with_suffix(".yaml").is_file():  # which says what it is
        return False
    try:
        return kind_of(source) in ("torch", "safetensors")
    except (UserError, OSError):
        return False


def card_of(source: Any) -> PartialCard:
    """Return what the name of a file, its weights and torchvision say.

    Raises
    ------
    UserError
        If the file is missing or holds no weights, or torchvision is not there.
    """
    path, weights = _found(source)
    name = NAMED.match(path.name)
    assert name is not None
    known: dict[str, Any] = {
        "architecture": f"{PLACE}:{name[1]}",
        "arguments": _arguments(path, name[1]),
        "output": "out",
    }
    if weights is not None:
        return PartialCard(str(path), {**card_of_weights(weights), **known})
    outputs = known["arguments"]["num_classes"]
    known |= {"name": path.stem, "spatial_dims": 2, "channels": ["red", "green", "blue"]}
    asked = {
        "labels": f"the names of its {outputs} outputs, in their order",
        "grid": "how images were resized in training, such as {shortest_edge: 520}, or {} for not at all",
        "intensity": "the steps by which their values were prepared",
    }
    if outputs == 1:
        known["activation"] = "sigmoid"
        asked["labels"] = "the names of the background and of what its one output draws"
    labels = ["background", *(f"label {k}" for k in range(1, max(outputs, 2)))]
    return PartialCard(str(path), known, asked, {"labels": labels, **USUAL})


@model_format("torchvision", handles=handles, card=card_of, code=lambda source: source)
def load(source: Any, *, card: ModelCard | None, trust: bool) -> SegmentationModel:
    """Build the network and load its weights.

    Raises
    ------
    UserError
        If the file is missing, its weights are of another network, or torchvision is not there.
    """
    path, _ = _found(source)
    partial = card_of(path)
    card = card or partial.completed()
    numbers = path.stat().st_size // 2
    told = (
        partial.known if card.architecture is None else card.model_dump()
    )  # another network may be told beside it
    place, arguments = told["architecture"], told["arguments"]
    module, _ = build(place, arguments, path, trust=trust, numbers=numbers)
    said = load_weights(module, path)
    module.eval().requires_grad_(False)
    words = f"torchvision {place.partition(':')[2]} {path.name}"
    return SegmentationModel(module, card, source=words, path=path.absolute()).with_note(said)


def _found(source: Any) -> tuple[Path, Any]:
    """Return the file of weights, and the member of torchvision's enums that it is of; None for a user's own."""
    need("torchvision.models.segmentation", "torchvision", f"{source}: the network")
    if isinstance(source, Path):
        return source, _published(source)
    path = Path(get_dir()) / "checkpoints" / PurePosixPath(source.url).name
    if not path.is_file():
        raise UserError(
            f"{source}: {path.name} is not on this machine ({path.parent}), and nothing is downloaded here; download it from {source.url}, or "
            "make the network with these weights once in a script of yours."
        )
    return path, source


def _published(path: Path) -> Any:
    """Return the weights of torchvision that a file holds, by its name, which has a part of its digest."""
    name = NAMED.match(path.name)
    assert name is not None
    known = need("torchvision.models", "torchvision", str(path)).get_model_weights(name[1])
    same = [one for one in known if PurePosixPath(one.url).name == path.name]
    return same[0] if same else None


def _arguments(path: Path, name: str) -> dict[str, Any]:
    saved = read_weights(path)
    tensors = dict(_tensors(saved))
    sizes = [value.shape[0] for key, value in tensors.items() if SIZED.search(key) and "aux" not in key]
    if not sizes:
        raise UserError(f"{path}: holds no weights of {name}, after which it is called.")
    # A head for training alone: who has replaced the other one for labels of his own need not have replaced this.
    auxiliary = [value.shape[0] for key, value in tensors.items() if SIZED_AUXILIARY.search(key)]
    return {"num_classes": sizes[0], **({"aux_loss": True} if auxiliary == sizes else {})}


def _tensors(saved: Any, depth: int = 2) -> list[tuple[str, Tensor]]:
    """Return the tensors in a mapping, also in those inside it."""
    if not isinstance(saved, dict):
        return []
    found = [(str(key), value) for key, value in saved.items() if isinstance(value, Tensor)]
    inside = [value for value in saved.values() if isinstance(value, dict)] if depth else []
    return found + [one for value in inside for one in _tensors(value, depth - 1)]
