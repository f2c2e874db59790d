"""A file of weights alone, as training loops leave it: the architecture and the rest of the card are told beside it."""

from __future__ import annotations

import copy
import inspect
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from torch import nn

from napari_segxai.core.errors import UserError, plain, reason_of
from napari_segxai.models.card import ModelCard, make_card
from napari_segxai.models.formats.folder import CARD
from napari_segxai.models.formats.registry import model_format
from napari_segxai.models.loading.architecture import harmless_defaults, left_empty, made, opened, would_fetch
from napari_segxai.models.loading.catalogue import place_of
from napari_segxai.models.loading.file_kinds import kind_of
from napari_segxai.models.loading.offline import offline
from napari_segxai.models.loading.own_code import is_own, own_place
from napari_segxai.models.loading.saved_weights import INDEX, files_of, numbers_in, read_all
from napari_segxai.models.loading.signature import Argument, arguments_of, missing, told
from napari_segxai.models.loading.untrusted_code import is_private, needs_yes
from napari_segxai.models.loading.weight_shapes import WeightShapes, shapes_of
from napari_segxai.models.loading.weights import load_weights, read_weights
from napari_segxai.models.loading.yaml_file import read_mapping
from napari_segxai.models.partial_card import CardIncomplete, PartialCard
from napari_segxai.models.segmentation import SegmentationModel

SUFFIXES = (".pth", ".pt", ".ckpt", ".safetensors", ".bin", ".tar")
"""Of files in which weights are usually saved; others are looked into as well."""

ARCHITECTURE = (
    "the class of the network, such as 'monai.networks.nets:UNet', or 'my_net.py:Net' in a file of yours "
    "(architecture=..., --architecture)"
)

INTENSITY = "the steps by which images were prepared in training, such as [{zscore: true}], or [] for none"

TRIES = 4
"""So many sets of arguments are tried."""

KEPT = 8
"""Files whose shapes are kept, as they are asked for several times."""


def handles(source: object) -> bool:
    """Tell whether `source` is a file of weights, or the index of several."""
    if not isinstance(source, Path) or not source.is_file():
        return False
    try:
        return source.name.endswith(INDEX) or kind_of(source) in ("torch", "safetensors")
    except (UserError, OSError):
        return False


def card_of(source: Path) -> PartialCard:
    """Return what a file of weights, and a card beside it, tell of the model.

    Raises
    ------
    UserError
        If it holds no weights, or the card is no mapping.
    """
    shapes = shapes_in(source)
    beside = _card_beside(source)
    known: dict[str, Any] = {"name": plain(source.stem).strip()[:100] or "model"}
    asked = {"architecture": ARCHITECTURE, "labels": _labels_asked(shapes.outputs), "intensity": INTENSITY}
    suggested: dict[str, Any] = {"labels": _labels_suggested(shapes.outputs), "intensity": []}
    if shapes.spatial_dims is None:
        asked["spatial_dims"] = "2 or 3"
    else:
        known["spatial_dims"] = shapes.spatial_dims
    if shapes.outputs == 1:
        known["activation"] = "sigmoid"
    if shapes.inputs is not None and shapes.inputs > 1:
        asked["channels"] = f"the names of its {shapes.inputs} input channels, in their order"
        if shapes.inputs == 3:
            asked["channels"] += (
                ", such as [red, green, blue], or [gray, gray, gray] if it was given a gray image in each of them"
            )
        suggested["channels"] = _channels_suggested(shapes)
    if beside:
        asked.pop("intensity")  # whoever wrote a card without it meant none
    asked = {key: what for key, what in asked.items() if key not in beside}
    return PartialCard(str(source), {**known, **beside}, asked, suggested)


def shapes_in(source: Path) -> WeightShapes:
    """Return what the shapes in a file of weights tell.

    Raises
    ------
    UserError
        If it holds no weights.
    """
    facts = source.stat()
    return _shapes(source, facts.st_mtime_ns, facts.st_size)


@lru_cache(maxsize=KEPT)
def _shapes(source: Path, _time: int, _size: int) -> WeightShapes:
    shapes = shapes_of(_read(source))
    # safetensors keeps no order, by which first and last are told; nor do several files
    ordered = [path.suffix != ".safetensors" for path in files_of(source)] == [True]
    return shapes if ordered else replace(shapes, inputs=None, outputs=None)


def _read(source: Path) -> Any:
    """Return what a file of weights holds; of an index, or of one of the files that it names, what all of them hold."""
    files = files_of(source)
    return read_all(files) if len(files) > 1 else read_weights(files[0])


@dataclass(frozen=True)
class Fitted:
    """A network with the weights of a file.

    Attributes
    ----------
    module
        The network.
    place
        "package.module:Class".
    arguments
        Of its constructor: those that were given and those that were read from the file.
    notes
        What was read, emptied or chosen, in sentences.
    shapes
        What the weights tell, in the order of the network.
    """

    module: nn.Module
    place: str
    arguments: Mapping[str, Any]
    notes: tuple[str, ...]
    shapes: WeightShapes


def located(architecture: str) -> tuple[str, Path | None]:
    """Return the place of an architecture, "package.module:Class", and the folder of its code where it is "file.py:Class".

    Raises
    ------
    UserError
        If there is no such file or class.
    """
    if not is_own(architecture):
        return place_of(architecture), None
    root, place = own_place(architecture)
    return place, root


def fit(
    source: Path,
    place: str,
    arguments: Mapping[str, Any],
    *,
    trust: bool,
    code: Path | None = None,
) -> Fitted:
    """Build a network and load the weights of a file into it.

    Arguments of the network that the weights tell are taken from there, which the notes say.

    Parameters
    ----------
    source
        The file.
    place
        "package.module:Class".
    arguments
        Of its constructor.
    trust
        Whether code that is not known to hold networks may run.
    code
        The folder in which the architecture's module is looked for first; that of the file by default.

    Raises
    ------
    UserError
        If it lacks arguments, or the weights do not fit it.
    UntrustedCode
        If the architecture is not known to hold networks and `trust` is False.
    """
    saved = _read(source)
    with opened(place, source, trust=trust, code=code) as (found, own_code):

        def make(values: Mapping[str, Any]) -> tuple[nn.Module, str]:
            numbers = numbers_in(files_of(source))
            return made(found, place, values, source, numbers=numbers, own_code=own_code)

        module, used, said = _fitting(make, arguments_of(found), arguments, source, saved)
    module.eval().requires_grad_(False)
    return Fitted(module, place, used, tuple(filter(None, said)), shapes_of(saved, module.state_dict()))


def signature(source: Path, place: str, *, trust: bool, code: Path | None = None) -> tuple[Argument, ...]:
    """Return what the constructor of a network takes; its module is imported for that.

    Raises
    ------
    UserError
        If it cannot be imported, or is not a network.
    UntrustedCode
        If it is not known to hold networks and `trust` is False.
    """
    with opened(place, source, trust=trust, code=code) as (found, _):
        return arguments_of(found)


def told_arguments(source: Path, known: tuple[Argument, ...]) -> dict[str, Any]:
    """Return the arguments that a file of weights tells, as far as its order does."""
    found = told(known, shapes_in(source))
    return {name: value for name, value in found.items() if not would_fetch(name, value)}


def with_card(source: Path, fitted: Fitted, card: ModelCard) -> SegmentationModel:
    """Return the model of a network that was fitted, and its card.

    Raises
    ------
    UserError
        If they do not fit each other.
    """
    model = _model(fitted.module, card, fitted.arguments, source, f"weights {source.name} in {fitted.place}")
    return _noted(model, fitted.notes)


@model_format("checkpoint", handles=handles, card=card_of, code=lambda source: source, general=True)
def load(source: Path, *, card: ModelCard | None, trust: bool, code: Path | None = None) -> SegmentationModel:
    """Build the network that the card names and load the weights into it; see `fit`.

    Raises
    ------
    UserError
        If the architecture is missing, lacks arguments, or the weights do not fit it.
    UntrustedCode
        If the architecture is not known to hold networks and `trust` is False.
    """
    card = card or card_of(source).completed()
    if card.architecture is None:
        raise CardIncomplete(PartialCard.of(card, str(source)), {"architecture": ARCHITECTURE})
    fitted = fit(source, card.architecture, card.arguments, trust=trust, code=code)
    return with_card(source, fitted, card)


def load_into(
    source: Path, architecture: object, arguments: Mapping[str, Any], *, card: Mapping[str, Any] | ModelCard
) -> SegmentationModel:
    """Load weights into a network that a script gives: a module, a class or a function that makes one.

    Parameters
    ----------
    source
        The file of weights.
    architecture
        A module is copied, so that its own weights stay; a class or function is called with `arguments`.
    arguments
        Of the class or function.
    card
        The keys that the file does not tell.

    Raises
    ------
    UserError
        If it makes no network, or the weights do not fit it.
    """
    saved = _read(source)
    name = getattr(architecture, "__name__", type(architecture).__name__)
    if not isinstance(card, ModelCard):
        partial = card_of(source)
        asked = {key: what for key, what in partial.asked.items() if key != "architecture"}
        card = PartialCard(partial.where, partial.known, asked, partial.suggested).completed(card)
    if isinstance(architecture, nn.Module):
        if arguments:
            raise UserError(
                "arguments are for a class or a function; this architecture is a network already."
            )
        module = copy.deepcopy(architecture)
        said = [load_weights(module, source, saved)]
        model = _model(module, card, {}, source, f"weights {source.name} in a {name} given in a script")
        model.path = None  # from which nothing could be opened again
        return _noted(model, said)
    if not callable(architecture):
        raise UserError(
            f"architecture is a {name}; give 'package.module:Class', 'my_net.py:Class', a class, a function or a network."
        )

    emptied = harmless_defaults(architecture)

    def make(values: Mapping[str, Any]) -> tuple[nn.Module, str]:
        try:
            with offline():
                network = architecture(**{**emptied, **values})
        except UserError:
            raise
        except Exception as error:  # whatever it raises
            raise UserError(f"{name} does not take these arguments: {reason_of(error)}.") from error
        if not isinstance(network, nn.Module):
            raise UserError(f"{name} returns no torch.nn.Module, but a {type(network).__name__}.")
        return network, left_empty(", ".join(name for name in emptied if name not in values))

    module, arguments, said = _fitting(make, arguments_of(architecture), arguments, source, saved)
    place, own = _place_of(architecture)
    if place is not None:
        card = card.model_copy(update={"architecture": place})
    model = _model(module, card, arguments, source, f"weights {source.name} in {name}")
    if place is None:
        model.path = None
    model.architecture = own
    return _noted(model, said)


def _place_of(architecture: Callable[..., Any]) -> tuple[str | None, str | None]:
    """Return by which name a card can name a class, None if by none, and "file.py:Class" where that is a file of the user's."""
    module, name = getattr(architecture, "__module__", ""), getattr(architecture, "__qualname__", "<lambda>")
    place = f"{module}:{name}"
    if not isinstance(architecture, type) or "<" in name or is_private(place):
        return None, None
    file = getattr(sys.modules.get(module), "__file__", None)
    if not needs_yes(module):
        return place, None
    try:
        own = f"{inspect.getsourcefile(architecture) or file}:{name}"
        return own_place(own)[1], own
    except (UserError, TypeError, OSError):
        return None, None


def _fitting(
    make: Callable[[Mapping[str, Any]], tuple[nn.Module, str]],
    known: tuple[Argument, ...],
    given: Mapping[str, Any],
    source: Path,
    saved: Any,
) -> tuple[nn.Module, dict[str, Any], list[str]]:
    """Make the network that the weights fit, and load them: with what the weights tell of arguments that are not given."""
    needed = missing(known, given)

    def read(shapes: WeightShapes) -> dict[str, Any]:
        found = told(known, shapes).items()
        return {k: value for k, value in found if k not in given and not would_fetch(k, value)}

    found = read(shapes_of(saved))
    if lacking := [name for name in needed if name not in found]:
        raise UserError(
            f"{source}: the architecture needs {_listed(lacking)}, which the weights do not tell; give "
            f"arguments={{{', '.join(f'{name!r}: ...' for name in lacking)}}} (--arguments {lacking[0]}=...)."
        )
    waiting, tried = [found, {name: found[name] for name in needed}], []
    failed: UserError | None = None
    while waiting and len(tried) < TRIES:
        more = waiting.pop(0)
        if more in tried:
            continue
        tried.append(more)
        arguments = {**more, **given}
        try:
            module, emptied = make(arguments)
        except UserError as error:
            failed = failed or error
            continue
        try:
            said = load_weights(module, source, saved)
        except UserError as error:
            failed = failed or error
            # Not every file keeps the order, by which first and last are told; the network has it.
            waiting.insert(0, read(shapes_of(saved, module.state_dict())))
            continue
        values = ", ".join(f"{name}={value!r}" for name, value in more.items())
        verb = "was" if len(more) == 1 else "were"
        read_there = f"{values} of the network {verb} read from {source.name}." if more else ""
        return module, arguments, [emptied, said, read_there]
    assert failed is not None
    raise failed


def _model(
    module: nn.Module, card: ModelCard, arguments: Mapping[str, Any], source: Path, words: str
) -> SegmentationModel:
    if arguments:
        fields = card.model_dump(exclude_unset=True) | {"arguments": _plain(arguments)}
        card = make_card(fields, str(source))
    module.eval().requires_grad_(False)
    return SegmentationModel(module, card, source=words, path=source.absolute())


def _noted(model: SegmentationModel, said: Iterable[str]) -> SegmentationModel:
    for note in said:
        model.with_note(note)
    return model


def _plain(value: Any) -> Any:
    """Return arguments as YAML holds them."""
    if isinstance(value, Mapping):
        return {str(key): _plain(inner) for key, inner in value.items()}
    return [_plain(inner) for inner in value] if isinstance(value, list | tuple) else value


def _card_beside(source: Path) -> dict[str, Any]:
    """Return the keys of a card beside a file: of its name, or a model.yaml that names it."""
    own, folders = source.with_suffix(".yaml"), source.with_name(CARD)
    if own.is_file():
        return read_mapping(own, "model card")
    if folders.is_file():
        fields = read_mapping(folders, "model card")
        if fields.get("weights", "weights.safetensors") == source.name:
            return {key: value for key, value in fields.items() if key != "weights"}
    return {}


def _labels_asked(outputs: int | None) -> str:
    if outputs == 1:
        return "the names of the background and of what its one output draws"
    return f"the names of its {outputs or ''} outputs, in their order".replace("  ", " ")


def _labels_suggested(outputs: int | None) -> list[str]:
    return ["background", *(f"label {k + 1}" for k in range(min(max((outputs or 2) - 1, 1), 256)))]


def _channels_suggested(shapes: WeightShapes) -> list[str]:
    if shapes.inputs == 3 and shapes.spatial_dims == 2:
        return ["red", "green", "blue"]
    return [f"channel {k + 1}" for k in range(min(shapes.inputs or 1, 256))]


def _listed(names: list[str]) -> str:
    return f"the argument {names[0]}" if len(names) == 1 else f"the arguments {', '.join(names)}"
