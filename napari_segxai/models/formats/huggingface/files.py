"""Which folder a path means, and what its files say."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from napari_segxai.core.errors import UserError
from napari_segxai.models.formats import folder as model_folder
from napari_segxai.models.loading.json_mapping import SAVED, json_mapping
from napari_segxai.models.loading.saved_weights import is_weights
from napari_segxai.models.zoo.transformers import OF_QUERIES, is_known

CONFIG, PROCESSOR, ADAPTER = "config.json", "preprocessor_config.json", "adapter_config.json"

CHECKPOINT = re.compile(r"checkpoint-(\d+)")
"""What transformers' Trainer calls a folder in its own."""

ELSEWHERE = {
    "OneFormerForUniversalSegmentation": "needs the words of its task beside the image",
    "CLIPSegForImageSegmentation": "needs a text beside the image",
    "SegGptForImageSegmentation": "needs an example beside the image",
    "VideomtForUniversalSegmentation": "segments videos",
}
"""Networks that are given more than one image, which nothing here gives them."""


@dataclass(frozen=True)
class Saved:
    """What the files of a folder say.

    Attributes
    ----------
    folder
        It holds config.json.
    name
        What to call the model.
    network
        Class of transformers.
    config
        config.json.
    processor
        preprocessor_config.json; None where there is none.
    """

    folder: Path
    name: str
    network: str
    config: dict[str, Any]
    processor: dict[str, Any] | None


def is_saved(path: Path) -> bool:
    """Tell whether a path is of a folder that transformers saved, and no model folder."""
    try:
        found = _folders(path)
        return bool(found) and not (found[0] / model_folder.CARD).is_file()
    except OSError:
        return False


def read_saved(path: Path) -> Saved:
    """Return what the files say.

    Raises
    ------
    UserError
        If several models are meant, a file cannot be read, or the network is not one of transformers' own for semantic
        segmentation.
    """
    folders = _folders(path)
    if len(folders) > 1:
        names = ", ".join(one.name for one in folders[:8])
        raise UserError(f"{path}: holds {len(folders)} checkpoints; name one of them: {names}.")
    folder = folders[0]
    if not (folder / CONFIG).is_file():
        raise UserError(
            f"{folder}: holds an adapter (PEFT), which is a change of another model; merge it into that one (merge_and_unload) and save "
            "the whole with save_pretrained."
        )
    config = json_mapping(folder / CONFIG, SAVED)
    network = _network(folder, config)
    place = folder / PROCESSOR
    return Saved(
        folder, _name(folder), network, config, json_mapping(place, SAVED) if place.is_file() else None
    )


def _network(folder: Path, config: dict[str, Any]) -> str:
    where, named = folder / CONFIG, config.get("architectures")
    if config.get("auto_map"):
        raise UserError(
            f"{where}: its network is code of its own (auto_map), which is not run; make the network in a script, and give it with a card."
        )
    if config.get("quantization_config"):
        raise UserError(
            f"{where}: its weights are quantised, and explanations need those from before; save the model without that."
        )
    name = str(named[0]) if isinstance(named, list) and named else ""
    if is_known(name):
        return name
    known = f"SegformerForSemanticSegmentation (any ...ForSemanticSegmentation), {', '.join(OF_QUERIES[:2])}"
    if not name:
        raise UserError(
            f"{where}: names no network under `architectures`; save the model with save_pretrained."
        )
    why = ELSEWHERE.get(name, "is no network for semantic segmentation")
    raise UserError(
        f"{where}: its network is a {name[:80]}, which {why}; networks that can be loaded are, among others, {known}."
    )


def _folders(path: Path) -> list[Path]:
    """Return the folders that a path may mean: itself, that of a file, a snapshot in the cache, checkpoints of a training."""
    if path.is_file():
        known = path.name in (CONFIG, PROCESSOR) or is_weights(path)
        return [path.parent] if known and _is_folder(path.parent) else []
    if not path.is_dir():
        return []
    if _is_folder(path) or (path / ADAPTER).is_file():
        return [path]
    if (path / "snapshots").is_dir():
        found = [one for one in sorted((path / "snapshots").iterdir()) if _is_folder(one)]
        main = path / "refs" / "main"
        named = main.read_text(encoding="utf-8", errors="replace").strip() if main.is_file() else ""
        return [one for one in found if one.name == named] or found
    found = [one for one in path.glob("checkpoint-*") if CHECKPOINT.fullmatch(one.name) and _is_folder(one)]
    return sorted(found, key=lambda one: int(one.name.partition("-")[2]))


def _is_folder(folder: Path) -> bool:
    """Tell whether a folder holds settings of transformers; other libraries have a config.json, too."""
    try:
        config = json_mapping(folder / CONFIG, SAVED) if (folder / CONFIG).is_file() else {}
    except UserError:
        return False
    return "_model_class" not in config and any(key in config for key in ("model_type", "architectures"))


def _name(folder: Path) -> str:
    folder = folder.absolute()
    if folder.parent.name == "snapshots":
        return folder.parents[1].name.removeprefix("models--").replace("--", "/")
    return f"{folder.parent.name} {folder.name}" if CHECKPOINT.fullmatch(folder.name) else folder.name
