"""On which device the weights of a network lie, for as long as it is used there."""

from __future__ import annotations

import threading
from collections.abc import Generator
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor, nn

from napari_segxai.models.inference.weights import tensors
from napari_segxai.models.introspection.modules import all_modules

SWAPPED = ("cpu", "cuda", "mps", "xpu")
"""Devices among which torch lets a tensor take another's values."""


class _Lent(NamedTuple):
    home: Tensor
    copy: Tensor


class Residence:
    """Brings the weights of a network to a device, and back: a script goes on with its own network where it had it.

    They are copied there whenever it is first used, since nobody tells whether they have changed; nothing is copied back.

    Parameters
    ----------
    module
        The network.

    Attributes
    ----------
    device
        Where its weights lie now.
    home
        Where they lie when nobody uses it.
    """

    def __init__(self, module: nn.Module):
        self.module = module
        self.home = self.device = _device_of(module)
        self._users = 0
        self._lock = threading.Lock()
        self._lent: dict[int, _Lent] = {}

    @contextmanager
    def on(self, device: torch.device) -> Generator[None]:
        """While open, the weights lie on `device`; they come home when the last user has left."""
        with self._lock:
            if not self._users:  # its owner may have moved it
                self.home = self.device = _device_of(self.module)
            self._move(device)
            self._users += 1
        try:
            yield
        finally:
            with self._lock:
                self._users -= 1
                if not self._users:
                    self._move(self.home)

    def _move(self, device: torch.device) -> None:
        if device == self.device:
            return
        if not _is_plain(self.module) or device.type not in SWAPPED:
            self.module.to(device)
        else:
            if self.device != self.home:
                self._return()
            if device != self.home:
                self._lend(device)
        self.device = device

    def _lend(self, device: torch.device) -> None:
        lent = {id(tensor): _Lent(tensor.data, _copy(tensor, device)) for tensor in tensors(self.module)}
        for tensor in tensors(self.module):  # only now, should memory run out on the way
            tensor.data = lent[id(tensor)].copy
        self._lent = lent

    def _return(self) -> None:
        lent, self._lent = self._lent, {}
        for tensor in tensors(self.module):
            own = lent.get(id(tensor))
            # What was put there meanwhile may have the `id` of a tensor that is gone.
            same = own is not None and tensor.data_ptr() == own.copy.data_ptr()
            tensor.data = own.home if own is not None and same else tensor.detach().to(self.home)


def _copy(tensor: Tensor, device: torch.device) -> Tensor:
    return tensor.detach().to(device)


def _device_of(module: nn.Module) -> torch.device:
    return next((p.device for p in module.parameters()), torch.device("cpu"))


def _is_plain(module: nn.Module) -> bool:
    """Tell whether a network has no way of its own of being moved, as TorchScript and recurrent networks have."""
    own = any(
        isinstance(one, torch.jit.ScriptModule)
        or type(one)._apply is not nn.Module._apply
        or type(one).to is not nn.Module.to
        for one in all_modules(module)
    )
    return not own and not any(tensor.is_inference() for tensor in tensors(module))
