"""A model of bioimage.io: a state dict with its architecture, or TorchScript."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from napari_segxai.core.arguments import quoted
from napari_segxai.core.errors import UserError
from napari_segxai.models.card import ModelCard
from napari_segxai.models.formats import torchscript
from napari_segxai.models.formats.bioimageio.card import card_of, notes_of
from napari_segxai.models.formats.bioimageio.description import Description, found_in, read_description
from napari_segxai.models.formats.registry import model_format
from napari_segxai.models.loading.architecture import build
from napari_segxai.models.loading.untrusted_code import spec_of
from napari_segxai.models.loading.weights import load_weights
from napari_segxai.models.partial_card import PartialCard
from napari_segxai.models.segmentation import SegmentationModel

STATE, SCRIPT = "pytorch_state_dict", "torchscript"

OTHERS = {
    "onnx": "ONNX",
    "keras_hdf5": "Keras (HDF5)",
    "keras_v3": "Keras 3",
    "tensorflow_js": "TensorFlow.js",
    "tensorflow_saved_model_bundle": "TensorFlow",
}

CHUNK = 1 << 20


def handles(source: object) -> bool:
    """Tell whether `source` is a model description of bioimage.io, a folder with one, or a file of weights that one beside it names."""
    return isinstance(source, Path) and (found_in(source) is not None or _described(source) is not None)


def read_card(source: Path) -> PartialCard:
    """Return what a model's description says of its card, without building its network.

    Raises
    ------
    UserError
        As `load`.
    """
    return card_of(_read(source)[0])


@model_format("bioimageio", handles=handles, card=read_card)
def load(source: Path, *, card: ModelCard | None, trust: bool) -> SegmentationModel:
    """Build the network that a model description names and load its weights, or load its TorchScript.

    A state dict is preferred, as its network layers can be looked at. A file of weights given in place of the folder chooses it.

    Raises
    ------
    UserError
        If the description is not valid, says something that no card can say, or has no weights for torch; if a file is missing or
        not the one that was described (its sha256).
    CardIncomplete
        If it does not say all that a card needs.
    UntrustedCode
        If the architecture's source would run and `trust` is False.
    """
    description, kind = _read(source)
    card = card or card_of(description).completed()
    kinds = [kind] if kind else [one for one in (STATE, SCRIPT) if one in description.weights]
    if not kinds or kinds[0] not in (STATE, SCRIPT):
        found = " and ".join(OTHERS.get(one, one) for one in description.weights)
        raise UserError(
            f"{description.path}: holds {found} weights alone, of which torch can run none; a pytorch_state_dict or torchscript entry "
            "would be right. docs/other_formats.md says how to convert a network by hand."
        )
    notes = notes_of(description, card)
    chosen = kinds[0]
    if chosen == STATE and SCRIPT in kinds and (missing := _missing_package(description)):
        chosen = SCRIPT
        notes.append(
            f"its TorchScript was loaded, whose network layers cannot be looked at: the package {missing!r} of its architecture is not "
            "installed."
        )
    model = (_from_state if chosen == STATE else _from_script)(description, card, trust)
    model.source = f"bioimage.io model {description.path.parent.name}, {chosen}"
    model.path = source.absolute()
    for note in notes:
        model.with_note(note)
    return model


def _read(source: Path) -> tuple[Description, str | None]:
    """Return the description, and the kind of weights that a file chooses."""
    path = found_in(source)
    if path is not None:
        return read_description(path), None
    found = _described(source)
    assert found is not None  # as `handles` says
    return found


def _described(source: Path) -> tuple[Description, str] | None:
    """Return the description beside a file of weights that it names, and what kind they are."""
    path = found_in(source.parent) if source.is_file() and not source.with_suffix(".yaml").is_file() else None
    if path is None:
        return None
    try:
        description = read_description(path)
    except UserError:  # which says nothing of this file
        return None
    kinds = (
        kind
        for kind, entry in description.weights.items()
        if Path(str(entry.get("source"))).name == source.name
    )
    kind = next(kinds, None)
    return None if kind is None else (description, kind)


def _from_script(description: Description, card: ModelCard, trust: bool) -> SegmentationModel:
    entry = description.weights[SCRIPT]
    return torchscript.load(_file(description, entry, f"weights {SCRIPT}"), card=card, trust=trust)


def _from_state(description: Description, card: ModelCard, trust: bool) -> SegmentationModel:
    entry = description.weights[STATE]
    weights = _file(description, entry, f"weights {STATE}")
    place, arguments, source = _architecture(description)
    if source is not None:
        _file(description, source, "architecture")  # integrity first, then the user's yes
    numbers = weights.stat().st_size // 2  # of two bytes at least
    module, emptied = build(place, arguments, description.path, trust=trust, numbers=numbers)
    said = load_weights(module, weights)
    module.eval().requires_grad_(False)
    return SegmentationModel(module, card).with_note(emptied).with_note(said)


def _architecture(description: Description) -> tuple[str, Mapping[str, Any], Mapping[str, Any] | None]:
    """Return "module:name", its arguments, and the source file with its digest where it comes as one."""
    entry, where = description.weights[STATE], f"{description.path}: architecture"
    said, arguments = entry.get("architecture"), entry.get("kwargs") or {}
    if isinstance(said, str):  # version 0.4: file.py:Name or package.module.Name
        source, _, name = said.rpartition(":")
        file = {"source": source, "sha256": entry.get("architecture_sha256")} if source else None
        module, _, name = (source, "", name) if source else said.rpartition(".")
    elif isinstance(said, dict):
        name, arguments = str(said.get("callable")), said.get("kwargs") or {}
        file = {key: said.get(key) for key in ("source", "sha256")} if "source" in said else None
        module = str(said.get("source") if file else said.get("import_from"))
    else:
        raise UserError(f"{where} is {quoted(said)}; it names a class, or a function that makes the network.")
    if not module or module == "None":
        raise UserError(
            f"{where} is {quoted(said)}, which says not where the class lies; 'net.py:Net' or 'package.module.Net' would be right."
        )
    if not isinstance(arguments, dict) or not re.fullmatch(r"[A-Za-z]\w*", name):
        raise UserError(
            f"{where} names {quoted(name)}; it names a class, or a function that makes the network, and its arguments."
        )
    if file:
        plain = re.fullmatch(r"(?:\./)?((?:\w[\w-]*/)*\w[\w-]*)\.py", module)
        if plain is None and not module.startswith("http"):
            raise UserError(
                f"{where} lies in {quoted(module)}; the name of a Python file in the folder would be right."
            )
        module = plain[1].replace("/", ".") if plain else module
    return f"{module}:{name}", arguments, file


def _missing_package(description: Description) -> str:
    """Return the package of the architecture that is not installed; empty where it is, or where a file holds it."""
    place, _, file = _architecture(description)
    top = place.partition(":")[0].partition(".")[0]
    return top if file is None and spec_of(top) is None else ""


def _file(description: Description, entry: Mapping[str, Any], what: str) -> Path:
    """Return a file that the description names, once it is the one that was described.

    Raises
    ------
    UserError
        If it is elsewhere, missing, or another one.
    """
    said, where = entry.get("source"), f"{description.path}: {what}"
    if not isinstance(said, str) or not said.strip():
        raise UserError(f"{where} name no file (`source` is {quoted(said)}).")
    if re.match(r"\w+://", said):
        raise UserError(
            f"{where} lie at {quoted(said)}, and nothing is fetched here; download the whole model as a package, unpack it and give its folder."
        )
    folder = description.path.parent
    path = folder / said
    if not path.resolve().is_relative_to(folder.resolve()):
        raise UserError(f"{where} names {quoted(said)}, which lies outside of the model's folder.")
    if not path.is_file():
        raise UserError(
            f"{where} names {quoted(said)}, which is missing in {folder}; download the whole model again."
        )
    expected = entry.get("sha256")
    if expected is not None and _digest(path) != str(expected).lower():
        raise UserError(
            f"{path}: is not the file that {description.path.name} describes (its sha256 differs): it was changed, or cut off while it was "
            "downloaded; download the model again."
        )
    return path


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
