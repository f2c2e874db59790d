"""What tells the weights of a network apart from others, and from what they were."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn

from napari_segxai.models.introspection.modules import all_modules

SMALL = 4096
"""Up to so many values, a tensor is looked at as it is."""

WORD = torch.int64.itemsize

ROW = 1021
"""Words whose sums are kept apart: a prime, since weights come in rows of many small factors."""


def tensors(module: nn.Module) -> Iterator[Tensor]:
    """Yield every parameter and buffer once."""
    seen = set()
    for one in all_modules(module):
        for tensor in chain(one._parameters.values(), one._buffers.values()):
            if tensor is not None and id(tensor) not in seen:
                seen.add(id(tensor))
                yield tensor


def digest(module: nn.Module) -> str:
    """Return the SHA-256 of all parameters and buffers; of the whole module where TorchScript has frozen them."""
    found, held = hashlib.sha256(), module.state_dict()
    if not held and isinstance(module, torch.jit.ScriptModule):
        found.update(module.save_to_buffer())
    for name, value in held.items():
        found.update(name.encode())
        found.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return found.hexdigest()


class Digests:
    """The digest of a network, made again when its weights have changed; one is kept for each device."""

    def __init__(self) -> None:
        self._known: dict[torch.device, tuple[Any, str]] = {}

    def of(self, module: nn.Module, device: torch.device) -> str:
        """Return the digest of a network, whose weights lie on `device`."""
        key = fingerprint(module)
        known, found = self._known.get(device, (None, ""))
        if known != key:
            found = digest(module)
            self._known[device] = key, found
        return found


def state(module: nn.Module) -> tuple[Any, ...]:
    """Return what changes when weights, modules, hooks or plain attributes of a network do.

    Tensors are not looked into, nor are objects that are not Python's own.
    """
    # Asked for at every explanation: one walk, and what is seen most is taken at once.
    found: list[Any] = []
    for one in all_modules(module):
        found += (id(one), type(one))  # also a module without weights can be exchanged
        for name, value in vars(one).items():
            if name not in _INNER:
                found += (name, value if type(value) in _WORDS else _plain(value))
        for tensor in chain(one._parameters.values(), one._buffers.values()):
            if tensor is not None:
                found += (tensor.data_ptr(), 0 if tensor.is_inference() else tensor._version)
        found += (*one._forward_hooks, "before", *one._forward_pre_hooks)
    return tuple(found)


def fingerprint(module: nn.Module) -> tuple[Any, ...]:
    """Return what changes when the values of a network's weights do, also through ``.data`` or numpy, which leave no other trace.

    It takes a seventh of the time of a digest: small tensors are taken as they are, and large ones are read once, for the
    sums over every 1021st of their words (8 bytes, as whole numbers, modulo 2^64). One value that changes by a single bit changes
    such a sum, and so do values that trade places, unless they lie a multiple of 1021 words apart; what remains behind the last
    whole row of words is taken as it is.
    """
    held = list(tensors(module))
    versions = [0 if t.is_inference() else t._version for t in held]
    with torch.no_grad():
        parts = [part for t in held for part in _condensed(t)]
        seen_values = torch.cat(parts) if parts else torch.zeros(0)
        return versions, hashlib.sha256(seen_values.cpu().numpy().data).digest()


def _condensed(tensor: Tensor) -> Iterator[Tensor]:
    """Yield the bytes of a small tensor, or of the sums that stand for a large one: (bytes,) each."""
    flat = tensor.reshape(-1)
    if len(flat) <= SMALL:
        yield flat.view(torch.uint8)
        return
    if flat.storage_offset() * flat.itemsize % WORD:  # a word has to begin at a multiple of its size
        flat = flat.clone()
    values = flat.view(torch.uint8)
    rows = len(values) // (WORD * ROW)
    end = rows * WORD * ROW
    yield values[:end].view(torch.int64).view(rows, ROW).sum(0).view(torch.uint8)
    yield values[end:]


_INNER = frozenset(vars(nn.Module())) - {"training"}
_WORDS = frozenset({int, float, str, bool, type(None)})


def _plain(value: Any) -> Any:
    """Return what can be compared later on: numbers, words and what is made of them; else which object it is."""
    if isinstance(value, int | float | str | None):
        return value
    if isinstance(value, list | tuple):
        # such as the strides of a convolution
        return tuple(value) if _WORDS.issuperset(map(type, value)) else tuple(map(_plain, value))
    if isinstance(value, dict):
        return tuple((_plain(key), _plain(item)) for key, item in value.items())
    return id(value)
