"""A model folder: model.yaml, weights.safetensors, and an architecture named in the card."""

from __future__ import annotations

import importlib
import importlib.util
import site
import sys
import sysconfig
from pathlib import Path
from typing import Any

from torch import nn

import napari_segxai
from napari_segxai.errors import UserError
from napari_segxai.model.card import ModelCard, read_card
from napari_segxai.model.dry_run import reason_of
from napari_segxai.model.segmentation import SegmentationModel
from napari_segxai.model.trust import UntrustedCode
from napari_segxai.model.weights import load_weights

CARD = "model.yaml"


def handles(source: object) -> bool:
    """Tell whether `source` is a folder or the card inside one."""
    return isinstance(source, Path) and (source.is_dir() or (source.name == CARD and source.is_file()))


def load(source: Path, *, card: ModelCard | None, trust: bool) -> SegmentationModel:
    """Build the network that the card names and load its weights.

    Raises
    ------
    UserError
        If the card, the architecture or the weights are missing or do not fit each other.
    UntrustedCode
        If the architecture is not part of an installed package and `trust` is False.
    """
    folder = source if source.is_dir() else source.parent
    card = card or read_card(folder / CARD)
    if card.architecture is None:
        raise UserError(
            f"{folder / CARD}: a model folder needs an architecture, written 'package.module:Class'."
        )
    network = _network_class(card.architecture, folder, trust)
    try:
        module = network(**card.arguments)
    except Exception as error:  # whatever the constructor of a network raises
        raise UserError(
            f"{folder / CARD}: {card.architecture} does not take these arguments: {reason_of(error)}."
        ) from error
    said = load_weights(module, folder / card.weights)
    module.eval().requires_grad_(False)
    model = SegmentationModel(module, card, source=f"model folder {folder.name}")
    return model.with_note(said)


def check_trust(place: str, folder: Path) -> None:
    """Raise `UntrustedCode` if the architecture is not part of an installed package.

    Raises
    ------
    UntrustedCode
        Naming the file that would run.
    UserError
        If there is no such package.
    """
    local, top = _local(place, folder), place.partition(":")[0].partition(".")[0]
    if local.is_file():
        raise UntrustedCode(local)
    if top in sys.stdlib_module_names:
        raise UserError(f"{folder / CARD}: architecture {place!r} is part of Python, which has no networks.")
    try:
        spec = importlib.util.find_spec(top)
    except ValueError:  # a module without a place of its own, such as __main__
        spec = None
    if spec is None:
        raise UserError(
            f"{folder / CARD}: architecture {place!r}: there is no package {top!r}; install it or correct the name."
        )
    if not _installed(spec):
        raise UntrustedCode(Path(spec.origin or next(iter(spec.submodule_search_locations or ["?"]))))


def _local(place: str, folder: Path) -> Path:
    """Return the file in the model folder that would hold the architecture."""
    return folder / (place.partition(":")[0].replace(".", "/") + ".py")


def _network_class(place: str, folder: Path, trust: bool) -> type[nn.Module]:
    if not trust:
        check_trust(place, folder)
    module_name, _, qualname = place.partition(":")
    where, local = f"{folder / CARD}: architecture {place!r}", _local(place, folder)
    try:
        if local.is_file():
            spec = importlib.util.spec_from_file_location(f"napari_segxai_model_{folder.name}", local)
            module = importlib.util.module_from_spec(spec)  # type: ignore[arg-type]
            sys.modules[module.__name__] = module  # dataclasses look their module up
            spec.loader.exec_module(module)  # type: ignore[union-attr]
        else:
            module = importlib.import_module(module_name)
    except Exception as error:  # an ImportError, or whatever the code raises
        raise UserError(f"{where}: {reason_of(error)}.") from error
    found: Any = module
    for part in qualname.split("."):
        found = getattr(found, part, None)
    # Only a network may be built: a card must not be able to call any other function of a package.
    if not (isinstance(found, type) and issubclass(found, nn.Module)):
        raise UserError(f"{where} is no torch.nn.Module class.")
    return found


def _installed(spec: importlib.machinery.ModuleSpec) -> bool:
    """Tell whether a top-level package lies where packages are installed, and not in the working folder."""
    roots = [sysconfig.get_path("purelib"), sysconfig.get_path("platlib"), *site.getsitepackages()]
    if site.ENABLE_USER_SITE:
        roots.append(site.getusersitepackages())
    roots.append(str(Path(napari_segxai.__file__).parent))
    places = [spec.origin] if spec.origin else list(spec.submodule_search_locations or [])
    return bool(places) and all(
        any(Path(p).resolve().is_relative_to(Path(root).resolve()) for root in roots) for p in places
    )
