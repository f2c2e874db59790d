"""Models: loading them from wherever they are stored, and what they need and return."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import Enum
from pathlib import Path
from typing import Any

import torch
from torch import nn

from napari_segxai.core.arguments import checked
from napari_segxai.core.errors import UserError, nearest
from napari_segxai.core.paths import user_path
from napari_segxai.models.card import ModelCard, make_card, read_card
from napari_segxai.models.formats import checkpoint
from napari_segxai.models.formats.registry import Format, all_formats
from napari_segxai.models.loading.architecture import check_trust
from napari_segxai.models.loading.catalogue import place_of
from napari_segxai.models.loading.own_code import is_own, own_place
from napari_segxai.models.partial_card import PartialCard, given_card
from napari_segxai.models.segmentation import SegmentationModel

_registered: dict[str, SegmentationModel] = {}
_listeners: list[Callable[[], None]] = []


@checked("source", "card", "architecture")
def load_model(
    source: str | Path | nn.Module | SegmentationModel | Enum,
    *,
    card: ModelCard | Mapping[str, Any] | str | Path | Enum | None = None,
    architecture: str | nn.Module | Callable[..., nn.Module] | None = None,
    arguments: Mapping[str, Any] | None = None,
    trust: bool = False,
) -> SegmentationModel:
    """Load a segmentation model.

    Parameters
    ----------
    source : str, Path, torch.nn.Module, SegmentationModel or Enum
        The name of a built-in or registered model, a model folder (model.yaml, weights.safetensors), a folder of
        nnU-Net's results (a configuration, one of its folds or checkpoints, or a folder above), a MONAI bundle (its folder,
        one of its configurations or files of weights, or a folder above), a model of bioimage.io (its folder, its description or
        one of its files of weights), a folder that Hugging Face transformers or
        segmentation-models-pytorch saved (``save_pretrained``), a file of weights of a torchvision network that is called after it
        (``deeplabv3_resnet50_coco-cd0a2569.pth``) or the member of torchvision's enums for it, a file of weights with
        `architecture`, a TorchScript file, or a torch.nn.Module.
    card : ModelCard, mapping, str, Path or Enum, optional
        The model card: a mapping, the path of a YAML file, a `ModelCard`, or, for a network of torchvision with weights that it
        publishes, the member of its enum (``FCN_ResNet50_Weights.DEFAULT``). Needed for a module and for a
        TorchScript file without a card beside it. Where the model's own files say what its card is, a mapping or a YAML
        file gives some keys in place of theirs or beside them, and a `ModelCard` takes the place of all.
    architecture : str, torch.nn.Module or callable, optional
        For a file of weights (.pth, .ckpt, .safetensors): the class of the network, "package.module:Class" of an
        installed package or "my_net.py:Class" in a file of yours, which runs only with `trust`; in a script also the class
        itself, a function that makes the network, or the network, which is copied.
    arguments : mapping, optional
        Of the class or function. Those that the shapes of the weights tell (numbers of input channels, outputs and spatial
        axes), or that training left beside the weights, are read from there where they are not given; the model's notes name them.
    trust : bool
        Allow a module to run that is not known to hold networks; see `allow_package`.

    Returns
    -------
    SegmentationModel
        Ready to be asked: one dry run has shown that network and card fit.

    Raises
    ------
    UserError
        If there is no such model, or it does not fit its card; the sentence names the file and the reason.
    CardIncomplete
        A UserError, if the model's files do not say all that a card needs; the sentence names the keys.
    UntrustedCode
        If the model would run such a module and `trust` is False; the sentence names the module and its file.
    """
    given = None if card is None else given_card(card)
    where = str(card) if isinstance(card, str | Path) else "model card"
    if architecture is not None or arguments is not None:
        return _with_architecture(source, given, architecture, arguments, trust)
    if isinstance(source, str) and source in _registered:
        source = _registered[source]
    if isinstance(source, SegmentationModel):
        if given is None:
            return source
        if not isinstance(given, ModelCard):
            given = PartialCard.of(source.card, where).completed(given)
        other = SegmentationModel(
            source.module,
            given,
            source=source.source,
            path=source.path,
            capabilities=source.capabilities,
            first_stage=source.first_stage,
        )
        other.trusted, other.architecture = source.trusted, source.architecture
        other.notes = tuple(dict.fromkeys((*source.notes, *other.notes)))
        return other
    if isinstance(source, Mapping):
        raise UserError(
            "weights alone are not a model; give the network itself, or a folder whose card names it."
        )
    candidates: list[Any] = [source]
    if isinstance(source, str):
        candidates.append(user_path(source))
    elif isinstance(source, Path):
        candidates = [user_path(source)]
    for format_ in all_formats():
        for candidate in candidates:
            if format_.handles(candidate):
                whole = _whole(given, format_, candidate, where)
                with torch.inference_mode(False):  # of which weights would keep that they have no gradients
                    model = format_.load(candidate, card=whole, trust=trust)
                model.trusted = trust
                return model
    if not isinstance(source, str | Path):
        kind = type(source).__name__
        hint = (
            "its .module()"
            if kind == "ExportedProgram"
            else "a network (nn.Module), a model folder or a file"
        )
        raise UserError(f"this {kind} is not a model; give {hint}.")
    if isinstance(candidates[-1], Path) and candidates[-1].exists():
        if candidates[-1].suffix.lower() == ".zip":
            raise UserError(f"{source}: is an archive; unpack it, and give the folder of the model in it.")
        raise UserError(
            f"{source}: is not a model; give a model folder with model.yaml, a folder of nnU-Net's results, of transformers or of SMP, "
            "a MONAI bundle, a file of weights or a TorchScript file."
        )
    if isinstance(source, Path) or len(Path(str(source)).parts) > 1 or Path(str(source)).suffix:
        raise UserError(
            f"{source}: there is no such file or folder; built-in models are {', '.join(model_names())}."
        )
    raise UserError(f"there is no model {str(source)!r}; {nearest(str(source), model_names())}")


def _with_architecture(
    source: Any,
    given: ModelCard | dict[str, Any] | None,
    architecture: Any,
    arguments: Mapping[str, Any] | None,
    trust: bool,
) -> SegmentationModel:
    """Load a model whose network is told beside its files."""
    path = user_path(source) if isinstance(source, str | Path) else None
    if path is None or source in _registered:
        raise UserError(
            "architecture and arguments are for a file of weights; a network that is given is one already."
        )
    if isinstance(architecture, str | None):
        own = None
        fields: dict[str, Any] = {} if arguments is None else {"arguments": dict(arguments)}
        if architecture is not None:
            own = own_place(architecture) if is_own(architecture) else None
            fields["architecture"] = place_of(architecture) if own is None else own[1]
        if isinstance(given, ModelCard):
            given = make_card({**given.model_dump(exclude_unset=True), **fields})
        else:
            given = {**(given or {}), **fields}
        if own is None:
            return load_model(source, card=given, trust=trust)
    if not checkpoint.handles(path):
        raise UserError(
            f"{path}: is no file of weights, for which architecture is; give one that torch.save or safetensors wrote."
            if path.exists()
            else f"{path}: there is no such file."
        )
    with torch.inference_mode(False):
        if not isinstance(architecture, str):
            model = checkpoint.load_into(path, architecture, arguments or {}, card=given or {})
            model.trusted = (
                trust or model.architecture is not None
            )  # who hands over a class has said yes to it
            return model
        whole = given if isinstance(given, ModelCard) else checkpoint.card_of(path).completed(given)
        model = checkpoint.load(path, card=whole, trust=trust, code=own_place(architecture)[0])
    model.trusted = trust
    model.architecture = (
        f"{user_path(architecture.rpartition(':')[0]).absolute()}:{architecture.rpartition(':')[2]}"
    )
    return model


def _whole(
    given: ModelCard | dict[str, Any] | None, format_: Format, source: Any, where: str
) -> ModelCard | None:
    """Return a whole card from what was given and what a model's files say; None where nothing was given."""
    if given is None or isinstance(given, ModelCard):
        return given
    stored = None if format_.card is None else format_.card(source)
    if stored is None:
        return make_card(given, where)
    partial = PartialCard.of(stored, where) if isinstance(stored, ModelCard) else stored
    return partial.completed(given)


def stored_card(path: Path) -> ModelCard:
    """Return the card of a model that is stored at a path, without building its network where its format can tell.

    Raises
    ------
    CardIncomplete
        If its files do not say all.
    UserError
        As `load_model`.
    """
    for format_ in all_formats():
        if format_.card is not None and format_.handles(path):
            stored = format_.card(path)
            if stored is None:
                break
            return stored if isinstance(stored, ModelCard) else stored.completed()
    return load_model(path).card


def check_stored(path: Path, place: str, code: Path | None = None) -> None:
    """Raise `UntrustedCode` if loading the model that is stored at a path needs the user's yes.

    Parameters
    ----------
    place
        Its architecture, "package.module:Class".
    code
        The folder in which its module is looked for first, where the user named a file of his own.

    Raises
    ------
    UntrustedCode
        Naming the module and the file that would run.
    UserError
        If there is no such package, or no such model.
    """
    format_ = next((one for one in all_formats() if one.handles(path)), None)
    beside = None if format_ is None or format_.code is None else format_.code(path)
    check_trust(place, beside or path, code, beside=beside is not None or code is not None)


def register_model(model: SegmentationModel, name: str | None = None) -> SegmentationModel:
    """Make a model known by name to this session, so that the docks offer it.

    Parameters
    ----------
    model : SegmentationModel
        As `load_model` returns it.
    name : str, optional
        What to call it; the name on its card by default.

    Returns
    -------
    SegmentationModel
        The same model.

    Raises
    ------
    UserError
        If it is not a model, the name is not text, or a built-in model has it.
    """
    from napari_segxai.models.formats import builtin

    if not isinstance(model, SegmentationModel) or not isinstance(name, str | None):
        raise UserError(
            "register_model takes a model, as load_model returns it, and then, if wanted, its name."
        )
    name = name or model.name
    if (taken := builtin.names().get(name)) is not None and model.path != taken:
        raise UserError(
            f"the name {name!r} is that of a built-in model; register the model under another: name=..."
        )
    _registered[name] = model
    for listener in tuple(_listeners):
        listener()
    return model


def when_registered(listener: Callable[[], None]) -> Callable[[], None]:
    """Call `listener` whenever `register_model` was called; returns it."""
    _listeners.append(listener)
    return listener


def registered() -> dict[str, SegmentationModel]:
    """Return the models that `register_model` made known to this session, by name."""
    return dict(_registered)


def model_names() -> list[str]:
    """Names of the built-in and registered models."""
    from napari_segxai.models.formats import builtin

    return list(dict.fromkeys([*builtin.names(), *_registered]))


def list_models() -> list[dict[str, Any]]:
    """List the built-in and registered models.

    Returns
    -------
    list of dict
        With the keys name, title, labels, overlapping (whether a pixel can have several), spatial_dims, channels, license, provenance and description.
    """
    from napari_segxai.models.formats import builtin, folder

    cards = {name: read_card(path / folder.CARD) for name, path in builtin.names().items()}
    cards.update({name: model.card for name, model in _registered.items()})
    return [
        {
            "name": name,
            "title": card.name,
            "labels": list(card.labels),
            "overlapping": card.overlapping,
            "spatial_dims": card.spatial_dims,
            "channels": list(card.channels),
            "license": card.license,
            "provenance": card.provenance,
            "description": card.description,
        }
        for name, card in cards.items()
    ]
