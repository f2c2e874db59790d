"""One dry run when a model is loaded: a network that does not fit its card is refused, with the shapes."""

from __future__ import annotations

import inspect
import math
import time
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from napari_segxai.core.errors import UserError, reason_of
from napari_segxai.models.background import background_of
from napari_segxai.models.batch_mixing import needs_one_at_a_time
from napari_segxai.models.introspection.modules import first_tensor
from napari_segxai.models.network import Network
from napari_segxai.models.outputs import choose_output, covers
from napari_segxai.models.probabilities import may_be_probabilities

OTHER_SIDES = {2: (96, 128, 112, 160, 224, 256, 384, 512), 3: (48, 64, 96, 128)}
"""Sizes per axis that networks of 2D and 3D were made for, where they cannot run on the usual example."""

MANY = 1 << 17
"""Cells of a window above which the network is tried on a smaller input first."""

RANDOM = 1e-4
"""Difference of two passes on the same input, as a share of the largest output, that rounding does not explain."""


def dry_run(model: Network) -> None:
    """Run the network on an example; remember the time and the output; refuse what does not fit the card.

    Raises
    ------
    UserError
        If it does not run, or returns something else than the card says.
    """
    if any(is_lazy(t) for t in (*model.module.parameters(), *model.module.buffers())):
        raise UserError(
            f"{model.name} has weights that are made when it first runs (lazy modules), and none yet; run it once, and load what "
            "it has learnt."
        )
    with model.in_use(model.device), torch.inference_mode():
        try:
            tensor, before, returned, model.writes_input = _first_run(model)
            model.output_place, note = choose_output(returned, model.card, tuple(tensor.shape[2:]))
            out, again = model.pick(returned), model.network_output(before.clone())
        except UserError:
            raise
        except Exception as error:  # a network can raise anything, an AssertionError above all
            raise _cannot_run(model, error) from error
    _check_outputs(model, before, returned, out)
    model.outputs = out.shape[1]
    model.with_note(background_of(model, out.shape[1]))
    _check_size(model, before, out)
    _check_numbers(model, out, again)
    with model.in_use(model.device), torch.inference_mode():
        model.one_at_a_time = needs_one_at_a_time(model, before, out)
    with model.in_use(model.device):
        model.values_in_doubt = may_be_probabilities(model, before, out)
    model.with_note(note)


def _cannot_run(model: Network, error: Exception) -> UserError:
    """Say why a network does not run on the example."""
    other = other_type(model.module)
    if other is not None:
        right = "make them real" if "complex" in other else "call .float() on the network first"
        return UserError(f"{model.name} has weights of type {other}, but inputs are float32; {right}.")
    if _takes_channels_last(model):
        return UserError(
            f"{model.name} takes images with the channels on their last axis, and they enter a network here as (images, channels, *grid): "
            "wrap it in a module whose forward gives it `x.movedim(1, -1)` and returns `out.movedim(-1, 1)` (docs/own_network.md)."
        )
    return UserError(
        f"{model.name} cannot run on an input of shape {tuple(model.example().shape)}, which its card "
        f"allows: {reason_of(error)}{_called_otherwise(model.module, model.example(), error)}."
    )


def _takes_channels_last(model: Network) -> bool:
    """Tell whether a network runs on inputs with the channels last, and returns its labels there."""
    try:
        out = model.module(model.example().to(model.device).movedim(1, -1))
    except Exception:  # a network can raise anything
        return False
    found = first_tensor(out)
    counts = {len(model.labels), len(model.labels) - (model.card.activation == "sigmoid")}
    dims = model.card.spatial_dims
    return (
        found is not None
        and found.ndim == dims + 2
        and any(n in counts for n in (found.shape[1], found.shape[-1]))
    )


def _check_outputs(model: Network, tensor: Tensor, returned: Any, out: Tensor) -> None:
    """Refuse an output that has not one channel per label, or has none for the background although the card begins otherwise."""
    outputs, labels = out.shape[1] if out.ndim > 1 else 0, len(model.labels)
    short = model.card.activation == "sigmoid" and outputs == labels - 1
    if out.ndim != model.card.spatial_dims + 2 or len(out) != 1 or not (outputs == labels or short):
        hint = _queries(model, returned, out) or _what_then(model, out, tuple(tensor.shape[2:]))
        raise UserError(
            f"{model.name} returns shape {tuple(out.shape)} for an input of shape {tuple(tensor.shape)}, but "
            f"its card names {labels} label(s) ({', '.join(model.labels)}) in {model.card.spatial_dims}D: "
            f"expected (1, {labels}, *grid){hint}."
        )
    if model.card.activation == "sigmoid" and not short and model.labels[0].casefold() != "background":
        raise UserError(
            f"{model.name} has a sigmoid output for each of {', '.join(model.labels)}, and a card begins with the "
            "background: add `background` before them, or give the first this name if it is the background."
        )


def _check_size(model: Network, tensor: Tensor, out: Tensor) -> None:
    """Refuse an output that does not cover the input."""
    grid, size = tuple(tensor.shape[2:]), tuple(out.shape[2:])
    if all(covers(n, m) for n, m in zip(grid, size, strict=True)):
        return
    if all(m % n == 0 for n, m in zip(grid, size, strict=True)):
        raise UserError(
            f"{model.name} returns shape {tuple(out.shape)} for an input of shape {tuple(tensor.shape)}, more pixels than it "
            "is given; wrap it in a module that brings its output to the size of its input."
        )
    lost = {n - m for n, m in zip(grid, size, strict=True)}
    edge, odd = divmod(lost.pop(), 2)
    pads = f"(x, {(edge,) * 2 * len(grid)}, mode='reflect')"
    hint = (
        f"; convolutions without padding lose {edge} cell(s) at each edge: wrap it in a module that puts as many on before it, by "
        f"torch.nn.functional.pad{pads}"
        if edge > 0 and not odd and not lost
        else ""
    )
    raise UserError(
        f"{model.name} returns shape {tuple(out.shape)} for an input of shape {tuple(tensor.shape)}: {size} "
        f"is neither the size of the input nor a whole fraction of it, so the output does not cover it{hint}."
    )


def _check_numbers(model: Network, out: Tensor, again: Tensor) -> None:
    """Refuse numbers that are not finite, that differ from pass to pass, or that are not the probabilities of which the card speaks."""
    if not torch.isfinite(out).all():
        raise UserError(f"{model.name} returns values that are not finite on a random input in [0, 1].")
    if not torch.allclose(out, again, rtol=RANDOM, atol=RANDOM * float(out.abs().max())):
        raise UserError(
            f"{model.name} returns something else every time it runs on the same input; switch off what is random in it "
            "(dropout or noise with training=True)."
        )
    if model.card.values == "probabilities" and (out.min() < -1e-3 or out.max() > 1 + 1e-3):
        raise UserError(
            f"{model.name} returns values from {out.min():.3g} to {out.max():.3g}, which are not probabilities; "
            "write `values: logits` in the card."
        )


def _first_run(model: Network) -> tuple[Tensor, Tensor, Any, bool]:
    """Run the network on an example input, of another size where it does not run and the card leaves that open.

    Returns
    -------
    tensor, before, returned, writes
        The input after the network had it, the input, what the network returned, and whether it wrote into its input.
    """
    failed: Exception | None = None
    for side, tensor in _examples(model):
        model.example_side = side
        before = tensor.to(model.device)
        with torch.inference_mode(False):
            tensor = before.clone()  # one that counts how often it is written into, also with what was there
        try:
            start, version = time.perf_counter(), tensor._version  # the copying counted, too
            returned = model.run(tensor)
        except Exception as error:  # a network can raise anything
            failed = error if failed is None or model.windows is not None else failed
            continue
        model.seconds = (time.perf_counter() - start) / tensor[0, 0].numel()
        return tensor, before, returned, tensor._version > version or not torch.equal(tensor, before)
    model.example_side = None
    assert failed is not None
    raise failed


def _examples(model: Network) -> Iterator[tuple[int | None, Tensor]]:
    """Yield the inputs on which the network is tried until it runs, with the side of another example than the card's."""
    grid, windows = model.card.grid, model.windows
    if windows is not None:
        # A window of usual size costs seconds per pass: a smaller input tells as much, where the network takes it.
        if windows.cells > MANY:
            yield None, model.example()[(..., *(slice(_part(n)) for n in windows.size))]
        yield None, model.example()
        return
    is_given = grid.size is not None or "multiple" in grid.model_fields_set
    for side in (None, *(() if is_given else OTHER_SIDES[model.card.spatial_dims])):
        model.example_side = side
        yield side, model.example()


def _part(size: int) -> int:
    """Return a smaller size that can be halved as often, less what leaves a single cell: 64 for 128 and 160, 32 for 112."""
    power = size & -size
    return 2 * power if 2 * power < size else max(1, size // 2)


def _called_otherwise(module: nn.Module, tensor: Tensor, error: BaseException) -> str:
    """Say how a network is called, where it seems to want something else."""
    try:
        inspect.signature(module.forward).bind(tensor)
        fits = True
    except (TypeError, ValueError):
        fits = False
    # A tensor that is asked for an entry by its name raises an IndexError.
    if fits and not (isinstance(error, IndexError | KeyError | AttributeError)):
        return ""
    return "; it is given a single tensor, so wrap it in a module that takes one, where it wants more or something else"


def _what_then(model: Network, out: Tensor, grid: tuple[int, ...]) -> str:
    """Say what may be meant by an output of another shape."""
    labels, dims = len(model.labels), model.card.spatial_dims
    shape = tuple(out.shape)
    counts = (labels, labels - 1) if model.card.activation == "sigmoid" else (labels,)
    whole = lambda cells: len(cells) == dims and all(map(covers, grid, cells))  # noqa: E731
    if whole(shape[1:-1]) and shape[-1] in counts:
        return "; its labels lie on the last axis, so let it return `out.movedim(-1, 1)`"
    if whole(shape[2:]) and shape[1] == labels - 1 and model.card.activation == "softmax":
        return "; if it has no output for the background, write `activation: sigmoid`"
    if whole(shape[1:]) and shape[0] in counts and shape[0] > 1:
        return "; it lacks the axis of images, so let it return `out.unsqueeze(0)` (a `squeeze()` takes away every axis of one)"
    if whole(shape[1:]) and labels == 2:
        return "; it lacks the axis of outputs, so let it return `out.unsqueeze(1)`" + (
            "" if model.card.activation == "sigmoid" else ", and write `activation: sigmoid`"
        )
    if len(shape) == dims + 3 and whole(shape[3:]):
        return "; it seems to stack several outputs, so let it return one of them"
    if whole(shape) and labels == 2:
        return "; it lacks the axes of images and outputs, so let it return `out[None, None]` (a `squeeze()` takes away every axis of one)"
    if len(shape) == 3 and shape[2] in counts and shape[1] == math.prod(grid):
        return f"; its cells lie in a row, labels last, so let it return `out.movedim(-1, 1).unflatten(2, {grid})`"
    if len(shape) == 3 and shape[1] in counts and shape[2] == math.prod(grid):
        return f"; its cells lie in a row, so let it return `out.unflatten(2, {grid})`"
    if len(shape) == dims + 2 and whole(shape[2:]) and shape[0] != 1:
        return f"; it returns {shape[0]} maps for one image, as a network does that finds objects: wrap it in a module that joins them to one map per label"
    if len(shape) == dims + 2 and whole(shape[2:]):
        return (
            f"; name each of its {shape[1]} outputs in the card, or wrap it in a module that returns those alone "
            "that are labels"
        )
    return ""


def _queries(model: Network, returned: Any, out: Tensor) -> str:
    """Say what is missing where a network returns the classes of queries beside their masks (MaskFormer and its kin)."""
    values = returned.values() if isinstance(returned, Mapping) else returned
    parts = values if isinstance(returned, Mapping | tuple | list) else ()
    beside = [t for t in parts if isinstance(t, Tensor) and t.ndim > 2 and t.shape[:2] == out.shape[:2]]
    if not {3, model.card.spatial_dims + 2} <= {t.ndim for t in (out, *beside)}:
        return ""
    return (
        f"; it returns classes and masks of {out.shape[1]} queries, so wrap it in a module that joins them to one map per "
        "label, torch.einsum('bqc,bq...->bc...', classes.softmax(-1)[..., :-1], masks.sigmoid())"
    )


def other_type(module: nn.Module) -> str | None:
    """Return the type of floating-point weights that are not float32, or of weights that are all complex; else None."""
    tensors = (*module.parameters(), *module.buffers())
    types = [tensor.dtype for tensor in tensors if tensor.is_floating_point() or tensor.is_complex()]
    # Networks with a Fourier transform have complex weights beside real ones, and rightly so.
    complex_alone = bool(types) and all(t.is_complex for t in types)
    others = (t for t in types if t != torch.float32 and (complex_alone or not t.is_complex))
    return next((str(t)[6:] for t in others), None)
