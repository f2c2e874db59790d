"""The weights in a folder of ``save_pretrained``: one file, or several with an index. Nothing in them is unpickled."""

from __future__ import annotations

import re
from pathlib import Path

from torch import Tensor

from napari_segxai.core.errors import UserError
from napari_segxai.models.loading.json_mapping import SAVED, json_mapping
from napari_segxai.models.loading.weights import read_weights

FILES = ("model.safetensors", "pytorch_model.bin")
"""In the order in which they are looked for; each may be cut into several, which an index names."""

INDEX = ".index.json"

PART = re.compile(r"(.+)-\d{5}-of-\d{5}(\.safetensors|\.bin)")
"""How the files are called that an index names."""

OTHERS = {"tf_model.h5": "TensorFlow", "flax_model.msgpack": "Flax"}
"""Weights of other frameworks, and whose they are."""

POINTER = b"version https://git-lfs"
"""How a file begins that Git left in place of a large one."""


def is_weights(path: Path) -> bool:
    """Tell whether a file is, by its name, one of those of which such a folder is made."""
    return path.name in (*FILES, *(name + INDEX for name in FILES))


def weight_files(folder: Path) -> list[Path]:
    """Return the files of weights.

    Raises
    ------
    UserError
        If there is none, or one that the index names is missing or lies elsewhere.
    """
    for name in FILES:
        if (folder / name).is_file():
            return [folder / name]
        if (folder / (name + INDEX)).is_file():
            return parts_of(folder / (name + INDEX))
    of = next((whose for name, whose in OTHERS.items() if (folder / name).is_file()), None)
    why = f" (those of {of} are not read)" if of else ""
    raise UserError(
        f"{folder}: has no {FILES[0]}{why}; copy it from where the model was trained, or save the model again with save_pretrained."
    )


def parts_of(index: Path) -> list[Path]:
    """Return the files of weights that an index names.

    Raises
    ------
    UserError
        If it names none, or one that is missing or lies elsewhere.
    """
    places = json_mapping(index, SAVED).get("weight_map")
    named = sorted(set(map(str, places.values()))) if isinstance(places, dict) else []
    if not named or not all(re.fullmatch(r"\w[\w.-]*\.(safetensors|bin)", name) for name in named):
        raise UserError(f"{index}: names no files of weights that lie beside it.")
    missing = [name for name in named if not (index.parent / name).is_file()]
    if missing:
        raise UserError(
            f"{index.parent}: {len(missing)} of {len(named)} files of weights are missing ({missing[0]}); copy them from where the "
            "model was trained."
        )
    return [index.parent / name for name in named]


def files_of(path: Path) -> list[Path]:
    """Return the files that hold the weights of a file: itself, or, of an index or of one that it names, all of these.

    Raises
    ------
    UserError
        As `parts_of`.
    """
    part = PART.fullmatch(path.name)
    index = path.with_name(part[1] + part[2] + INDEX) if part else path
    return parts_of(index) if index.name.endswith(INDEX) and index.is_file() else [path]


def numbers_in(files: list[Path]) -> int:
    """Return about how many numbers the files hold, of two bytes at least."""
    return sum(path.stat().st_size for path in files) // 2


def read_all(files: list[Path]) -> dict[str, Tensor]:
    """Return the weights of all files by name.

    Raises
    ------
    UserError
        If a file holds no weights.
    """
    state: dict[str, Tensor] = {}
    for path in files:
        with path.open("rb") as file:
            if file.read(len(POINTER)) == POINTER:
                raise UserError(
                    f"{path}: is what Git keeps in place of a large file; get the file itself (git lfs pull, or download it)."
                )
        found = read_weights(path)
        if not isinstance(found, dict) or not all(isinstance(value, Tensor) for value in found.values()):
            raise UserError(f"{path}: holds no state dict of tensors, which save_pretrained writes.")
        state.update(found)
    return state


def refuse_other(told: str | None, place: str, settings: Path) -> None:
    """Refuse a card that names another network than the settings beside the weights.

    Raises
    ------
    UserError
        If it does.
    """
    if told not in (None, place):
        raise UserError(
            f"{settings}: says that the network is {place.partition(':')[2]}, and the card names {told}; leave that out, or take the file of "
            "weights out of this folder."
        )
