"""Weights as training tools save them: found in the file, freed of their wrappers and prefixes, never unpickled."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from napari_segxai.core.errors import UserError, reason_of
from napari_segxai.models.loading.file_kinds import DAMAGED, kind_of
from napari_segxai.models.loading.torch_file import ForeignObjects, read_torch_file

OTHER_KINDS = {
    "damaged": DAMAGED,
    "empty": "cannot be read as weights (the file is empty); save the network's state_dict() again",
    "TorchScript": "is a whole TorchScript network, no weights; load this file itself, with its card beside it",
    "torch.export": "is a program of torch.export, no weights; save the network's state_dict()",
}
"""Files that are not weights, and what would be right."""

DEEP = 4
"""So many mappings inside each other are looked through for weights."""

PREFIXES = 32
"""So many are tried."""

SHOWN = 12
"""So many keys are named when none of them fits."""

AVERAGED = re.compile(r"(^|[._])(ema|swa|average|shadow|teacher)", re.IGNORECASE)
"""Keys of averaged copies of the weights; a mean teacher is one."""

OPTIMIZER = re.compile(r"optim|sched", re.IGNORECASE)
"""Keys of what trains weights, which holds tensors as well."""

LEFT_OVER = ("total_ops", "total_params", "n_averaged")
"""What counters of operations, and of what was averaged, leave in a state dict."""

OF_TRAINING = re.compile(
    r"(^|_)(loss(es|fn|func)?\d*|criterion\w*|criteria|metrics?|(class|pos|ce)_?weights?)(_|$)", re.IGNORECASE
)
"""What losses and metrics are called in the module that is trained, beside its network."""

AUXILIARY = re.compile(r"(^|\.)aux_classifier\.")
"""Weights of a second head, which torchvision's networks have for training alone."""

WRAPPERS = re.compile(r"(?:(?<=\.)|^)(module|_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\.")
"""What data-parallel training, torch.compile, sharded training and checkpointing put into names."""


def read_weights(path: Path, *, wanted: str = "weights") -> Any:
    """Read a safetensors file, or a torch file without running anything that it names; see `read_torch_file`.

    Parameters
    ----------
    path
        The file.
    wanted
        What it is expected to hold, for messages.

    Raises
    ------
    UserError
        If it is neither, or holds objects of other libraries and no weights beside them; these are named.
    """
    kind, foreign, reason = kind_of(path), list[str](), ""
    if kind in OTHER_KINDS:
        raise UserError(f"{path}: {OTHER_KINDS[kind]}.")
    if (kind == "safetensors") != (path.suffix == ".safetensors") and kind != "unknown":
        made, suffix = (
            ("torch.save wrote it", ".pt") if kind == "torch" else ("it is safetensors", ".safetensors")
        )
        raise UserError(
            f"{path}: cannot be read as {wanted} ({made}, but its suffix is {path.suffix!r}); rename it to end in {suffix}."
        )
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        saved, foreign = read_torch_file(path)
        if not foreign or _has_weights(saved):
            return saved
    except ForeignObjects as error:
        foreign = error.names
    except Exception as error:  # both libraries raise many types for a damaged file
        own_words = re.search(r"WeightsUnpickler error:\s*(.+)", str(error))
        reason = own_words[1].rstrip(". ") if own_words else reason_of(error)
    if foreign:
        raise UserError(
            f"{path}: cannot be read as {wanted} (it holds Python objects, {_listed(foreign)}, which are never unpickled); save "
            "the network's state_dict() alone, best as a safetensors file, and tell its architecture beside it."
        )
    if kind == "safetensors" or (kind == "unknown" and path.suffix == ".safetensors"):
        raise UserError(
            f"{path}: cannot be read as {wanted} (it is cut off or damaged: {reason}); copy or download it again."
        )
    if kind == "unknown" and path.suffix != ".safetensors":
        reason = "damaged, or written by neither safetensors nor torch.save"
    raise UserError(f"{path}: cannot be read as {wanted} ({reason}); use a safetensors file.")


def fitting_state(
    saved: Any, own: Mapping[str, Tensor], path: Path, unsaved: Collection[str] = ()
) -> tuple[dict[str, Tensor], str]:
    """Return those weights of a file that fit a network, under the network's own names.

    Wrappers such as ``model_state_dict`` and ``network_weights`` are looked into, at any name; prefixes that all names
    have in common, such as ``module.``, ``net.`` and ``_orig_mod.``, are taken off or put before. A tensor that the network has under two
    names may be there under one of them, as safetensors leaves it; weights of losses and metrics beside the network's are left out.

    Parameters
    ----------
    saved
        What `read_weights` returned.
    own
        The network's ``state_dict()``.
    path
        For messages.
    unsaved
        Names of buffers that the network makes by itself and does not save; other versions of its package may have saved them.

    Returns
    -------
    dict, str
        The weights, and what should be said: which were taken, where several fit and differ.

    Raises
    ------
    UserError
        If none fits, with the keys that were found.
    """
    found = dict(state_dicts(saved))
    if not found and saved == own == {}:
        return {}, ""
    if not found:
        keys = _listed(saved) if isinstance(saved, Mapping) else f"a {type(saved).__name__}"
        raise UserError(
            f"{path}: holds no state dict of tensors (found: {keys}); save the network's state_dict()."
        )
    named = [
        (at, place, _without(state, own, unsaved))
        for at in found
        for place, state in _renamings(at, found[at], own)
    ]
    fitting: dict[str, dict[str, Tensor]] = {}
    for _, place, state in named:
        if place not in fitting and _misfit(state, own) is None:
            fitting[place] = state
    if not fitting:
        at, _, state = max(named, key=lambda one: len(one[2].keys() & own.keys()))
        where = f"{at!r} of the file" if at else "the file"
        others = [key for key in saved if key != at.partition(".")[0]] if at else []
        beside = f"; beside it: {_listed(others)}" if others and isinstance(saved, Mapping) else ""
        raise UserError(
            f"{path}: the weights do not fit the architecture: {where} {_misfit(state, own)}{beside}; give the class and the arguments "
            "with which it was trained."
        )
    # Those that were trained before those that were averaged, which not every network is meant to be run with.
    place = min(fitting, key=lambda place: (bool(AVERAGED.search(place)), place.count(".")))
    different = [
        other for other, state in fitting.items() if other != place and _differ(state, fitting[place])
    ]
    said = [
        f"of the weights in {path.name}, {place!r} were taken; {_listed(different)} fit as well."
        if different
        else "",
        f"aux_classifier in {path.name}, a head for training alone, was left out."
        if not _has_auxiliary(own) and any(_has_auxiliary(state) for state in found.values())
        else "",
    ]
    return fitting[place], " ".join(filter(None, said))


def nearest_state(saved: Any, own: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return those weights of a file that have the most names of a network, under these names, whether they fit it or not.

    Parameters
    ----------
    saved
        What `read_weights` returned.
    own
        The network's ``state_dict()``.
    """
    named = [state for at, found in state_dicts(saved) for _, state in _renamings(at, found, own) if found]
    return max(named, key=lambda state: len(state.keys() & own.keys()), default={})


def load_weights(module: nn.Module, path: Path, saved: Any = None) -> str:
    """Load weights from a file into a network; return what should be said of it.

    Parameters
    ----------
    module
        The network.
    path
        The file.
    saved
        What `read_weights` returned, where it was read already.

    Raises
    ------
    UserError
        If the file is missing, holds no weights, or does not fit the network.
    """
    if not path.is_file():
        raise UserError(f"{path}: the weights are missing; put the file beside the card or name it there.")
    # What a module of a library keeps beside its tensors is no weight.
    own = {name: value for name, value in module.state_dict().items() if isinstance(value, Tensor)}
    unsaved = {name for name, _ in module.named_buffers()} - own.keys()
    state, said = fitting_state(read_weights(path) if saved is None else saved, own, path, unsaved)
    # Only counters of batches, which play no part in evaluation, may be missing here.
    try:
        module.load_state_dict(state, strict=False)
    except RuntimeError as error:
        raise UserError(f"{path}: the weights do not fit the architecture: {reason_of(error)}.") from error
    return said


def _has_weights(saved: Any) -> bool:
    """Tell whether a file holds tensors by name, beside those of an optimizer."""
    return any(not OPTIMIZER.search(place) for place, _ in state_dicts(saved))


def state_dicts(
    saved: Any, place: str = "", depth: int = 0, seen: set[int] | None = None
) -> Iterator[tuple[str, dict[str, Tensor]]]:
    """Find the tensors of every mapping by name, with where they lie: keys joined by dots.

    A mapping that lies in several others is looked at once: a small file can hold billions of ways to it.
    """
    seen = set() if seen is None else seen
    if not isinstance(saved, Mapping | list | tuple) or depth > DEEP or id(saved) in seen:
        return
    seen.add(id(saved))
    if not isinstance(saved, Mapping):
        saved = {str(k): item for k, item in enumerate(saved) if isinstance(item, Mapping)}
    tensors = {key: value for key, value in saved.items() if isinstance(value, Tensor)}
    if tensors and all(isinstance(key, str) for key in tensors):
        yield place, tensors
    for key, value in saved.items():
        yield from state_dicts(value, f"{place}.{key}" if place else str(key), depth + 1, seen)


def _renamings(
    place: str, state: Mapping[str, Tensor], own: Mapping[str, Tensor]
) -> Iterator[tuple[str, dict[str, Tensor]]]:
    """Yield the weights by the names that the network has for them, with where they lie, in every way in which one change
    of all names does that: a mapping may hold a network and its average, under two prefixes.
    """
    auxiliary = _has_auxiliary(own)
    plain = unwrapped(
        {
            key: value
            for key, value in state.items()
            if key.rpartition(".")[2] not in LEFT_OVER and (auxiliary or not AUXILIARY.search(key))
        }
    )
    names = unwrapped({key: key for key in own})  # the network itself may hold wrappers
    back = lambda found: {names.get(key, key): value for key, value in found.items()}  # noqa: E731
    yield place, back(plain)
    if names.keys() <= plain.keys():
        return
    ends = {key[k + 1 :] for key in plain for k, letter in enumerate(key) if letter == "."}
    some = next((name for name in names if name in ends), "")
    # In front of the file's names, where one of them ends in one of the network's.
    for prefix in [key.removesuffix(some) for key in plain if some and key.endswith("." + some)][:PREFIXES]:
        inside = {key[len(prefix) :]: value for key, value in plain.items() if key.startswith(prefix)}
        yield f"{place}.{prefix}".strip("."), back(inside)
    # In front of the network's, the other way round.
    first = next(iter(plain), "")
    for prefix in [key.removesuffix(first) for key in names if first and key.endswith("." + first)][
        :PREFIXES
    ]:
        yield place, back({prefix + key: value for key, value in plain.items()})


def _without(
    state: dict[str, Tensor], own: Mapping[str, Tensor], unsaved: Collection[str]
) -> dict[str, Tensor]:
    """Return weights without those of a loss or metric and without buffers that are made, and with both names of what has two."""
    parts = {name.partition(".")[0] for name in own}
    of_training = {
        name for name in state if (top := name.partition(".")[0]) not in parts and OF_TRAINING.search(top)
    }
    out = {name: value for name, value in state.items() if name not in of_training and name not in unsaved}
    if own.keys() <= out.keys():
        return out
    twins: dict[tuple[Any, ...], str] = {}
    for name in out.keys() & own.keys():
        twins[_storage(own[name])] = name
    for name in own.keys() - out.keys():
        twin = twins.get(_storage(own[name]))
        if twin is not None and own[name].numel() and not own[name].is_meta:
            out[name] = out[twin]
    return out


def _storage(tensor: Tensor) -> tuple[Any, ...]:
    return (
        (tensor.data_ptr(), tensor.shape, tensor.stride())
        if tensor.layout is torch.strided
        else (id(tensor),)
    )


def _has_auxiliary(names: Iterable[str]) -> bool:
    return any(AUXILIARY.search(name) for name in names)


def unwrapped(by_name: dict[str, Any]) -> dict[str, Any]:
    """Take wrappers of networks and of their parts out of names, where these stay different."""
    short = {WRAPPERS.sub("", key): value for key, value in by_name.items()}
    return short if len(short) == len(by_name) else by_name


def without_prefix(state: dict[str, Tensor], own: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return weights under a network's own names where all of theirs have something before these alone, such as ``net.``; else as they are."""
    if own.keys() & state.keys():
        return state
    return next((found for _, found in _renamings("", state, own) if own.keys() & found.keys()), state)


def _misfit(state: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> str | None:
    """Say in what way weights do not fit a network; None where they do."""
    missing = sorted(
        key for key in own.keys() - state.keys() if not key.endswith("num_batches_tracked")
    )  # which torch did not save before 0.4.1
    unknown = sorted(state.keys() - own.keys())
    if missing or unknown:
        what = "lacks " + repr(missing[0]) if missing else "holds the unknown " + repr(unknown[0])
        found = f"; found: {_listed(state)}" if missing else ""
        return f"{what} ({len(missing)} missing, {len(unknown)} unknown{found})"
    for name, value in state.items():
        if value.shape != own[name].shape:
            return f"is of other sizes: {name!r} has shape {tuple(value.shape)}, but the architecture has {tuple(own[name].shape)}"
        if value.is_complex() and not own[name].is_complex():
            return f"has complex numbers in {name!r}, but the architecture has real ones"
        if value.is_meta:
            return f"has a shape but no numbers for {name!r}"
        if value.is_quantized != own[name].is_quantized or value.layout != own[name].layout:
            how = "quantised" if value.is_quantized else "sparse"
            return f"has {how} numbers in {name!r}, but the architecture has plain ones; save them with .{'dequantize' if value.is_quantized else 'to_dense'}()"
    return None


def _differ(state: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> bool:
    return any(not torch.equal(value, other[key]) for key, value in state.items() if key in other)


def _listed(keys: Any) -> str:
    """Name some keys, without what a terminal would obey."""
    names = [ascii(key)[:80] for key in keys]
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return (", ".join(names[:SHOWN]) or "nothing") + more
