"""Writing a model folder: card, weights, and the code of the network where it is a user's own."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import yaml

from napari_segxai.core.arguments import checked
from napari_segxai.core.errors import UserError
from napari_segxai.core.paths import user_path
from napari_segxai.models.card import ModelCard
from napari_segxai.models.formats import folder as model_folder
from napari_segxai.models.loading.architecture import file_beside
from napari_segxai.models.loading.offline import offline
from napari_segxai.models.loading.own_code import import_own, own_modules, own_place
from napari_segxai.models.segmentation import SegmentationModel

WEIGHTS = "weights.safetensors"


@checked()
def save_model(model: SegmentationModel, folder: str | Path, *, overwrite: bool = False) -> Path:
    """Write a model folder, from which the model opens again with the same weights and card, and by itself.

    The folder holds ``model.yaml``, ``weights.safetensors`` and, where the network's class lies in files of yours, a copy
    of those that it is made of; opening it asks to trust them. Before it is put in its place the folder is opened once and
    compared with the model.

    Parameters
    ----------
    model : SegmentationModel
        As `load_model` returns it. Its card has to name the architecture, as it does where a file of weights was loaded with one.
    folder : str or Path
        Made if it is not there.
    overwrite : bool
        Whether a model folder that is there is replaced.

    Returns
    -------
    Path
        The folder.

    Raises
    ------
    UserError
        If the card names no architecture or one that makes another network, or the folder cannot be written or holds
        something already.

    Examples
    --------
    >>> import napari_segxai as sx
    >>> sx.save_model(sx.load_model("triangle"), "my_triangle")  # doctest: +SKIP
    """
    card, place = model.card, user_path(folder).absolute()
    if card.architecture is None:
        raise UserError(
            f"{model.name}: its card names no architecture, by which a folder would open again ({model.source}); load its weights "
            "with architecture='package.module:Class' or 'my_net.py:Class'."
        )
    held = os.listdir(place) if place.is_dir() else []
    if os.path.lexists(place) and not place.is_dir():
        raise UserError(f"{place} is a file, not a folder; name another one.")
    if held and model_folder.CARD not in held:
        raise UserError(f"{place} holds other files and no model; name a new folder.")
    if held and not overwrite:
        raise UserError(
            f"{place} already holds a model; name another folder, or replace it with --overwrite (in Python: overwrite=True)."
        )
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{place.name}-", dir=place.parent) as stage:
            new = Path(stage) / place.name
            new.mkdir()
            _write(model, new)
            _compare(model, new)
            if held:
                os.replace(place, Path(stage) / "old")
            elif place.is_dir():
                place.rmdir()
            os.replace(new, place)
    except OSError as error:
        raise UserError(f"{place}: cannot be written ({error.strerror or error}).") from None
    return place


def _write(model: SegmentationModel, folder: Path) -> None:
    from safetensors.torch import save_file

    fields = model.card.model_dump(mode="json", exclude_unset=True)
    fields.pop("weights", None)
    text = yaml.safe_dump(fields, sort_keys=False, allow_unicode=True, default_flow_style=None, width=100)
    (folder / model_folder.CARD).write_text(text, encoding="utf-8")
    state = model.module.state_dict()
    other = [name for name, value in state.items() if not hasattr(value, "contiguous")]
    if other:
        raise UserError(
            f"{model.name}: its state holds {other[0]!r}, which is no tensor, and cannot be saved."
        )
    # Copies, as one tensor of several names is one that safetensors refuses.
    save_file(
        {name: value.detach().cpu().contiguous().clone() for name, value in state.items()}, folder / WEIGHTS
    )
    for source, name in _code(model):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, folder / name)


def _code(model: SegmentationModel) -> list[tuple[Path, str]]:
    """Return the files of the user's own that the network's class takes, each with its place in a folder."""
    card = model.card
    assert card.architecture is not None
    module = card.architecture.partition(":")[0]
    if model.architecture is not None:
        root, _ = own_place(model.architecture)
    elif model.path is not None:
        root = model.path if model.path.is_dir() else model.path.parent
    else:
        return []
    file = file_beside(module, root)
    if file is None:
        return []
    with offline(), own_modules(file, root, module) as found:  # as it was when the model was loaded
        import_own(file, module, root)
    files = [getattr(one, "__file__", None) for one in found]
    places = {file, *(Path(name).absolute() for name in files if name)}
    return [(path, path.relative_to(root).as_posix()) for path in sorted(places)]


def _compare(model: SegmentationModel, folder: Path) -> None:
    """Refuse a folder that opens as another model."""
    try:
        again = model_folder.load(folder, card=None, trust=model.trusted)
    except UserError as error:
        raise UserError(f"{model.name} does not open again from a folder: {error}") from None
    if again.sha256 != model.sha256 or not _same(again.card, model.card):
        raise UserError(
            f"{model.name}: the architecture on its card makes another network than this one; correct `architecture` and `arguments`."
        )


def _same(one: ModelCard, other: ModelCard) -> bool:
    facts: list[dict[str, Any]] = [card.model_dump(mode="json", exclude={"weights"}) for card in (one, other)]
    return facts[0] == facts[1]
