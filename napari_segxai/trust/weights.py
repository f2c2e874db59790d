"""A copy of a network whose weights can be made random, layer by layer, and set back.

It is a copy, so that the user's network is never touched: not when a run is cancelled or fails, and not for another
thread that uses it meanwhile. It takes as much memory as the weights, as saving them would.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from itertools import chain

import torch
from torch import Tensor, nn

from napari_segxai.engine.memory import guarded, is_out_of_memory
from napari_segxai.engine.modules import named_modules
from napari_segxai.model.segmentation import SegmentationModel


class NotCopied(Exception):
    """The network cannot be copied; the message says why."""


class Twin:
    """A copy of a model that can be made random.

    Parameters
    ----------
    model
        Never changed.
    device
        Where the copy is held.

    Attributes
    ----------
    model
        The copy.
    """

    def __init__(self, model: SegmentationModel, device: torch.device):
        self._own = _modules(model.module)
        self.model = copy.copy(model)
        with guarded(device):
            try:
                with torch.no_grad():  # or TorchScript copies its weights with a history
                    self.model.module = copy.deepcopy(model.module).to(device)
            except Exception as error:
                if is_out_of_memory(error):
                    raise
                raise NotCopied(str(error)) from None
        self.model.device = device
        self.model.__dict__["sha256"] = "random weights"
        self._copied = _modules(self.model.module)

    def randomise(self, layers: Sequence[str], seed: int) -> None:
        """Make the weights of these layers random, each by its own `reset_parameters` where it has one.

        Else every parameter is drawn from a normal distribution of its own mean and deviation.
        """
        device = self.model.device
        with torch.random.fork_rng([device] if device.type == "cuda" else []), torch.no_grad():
            torch.manual_seed(seed)
            for name in layers:
                _reset(self._copied[name])

    def restore(self) -> None:
        """Set everything back to the weights of the user's network, bit for bit."""
        with torch.no_grad():
            for name, module in self._copied.items():
                for own, copied in zip(_state(self._own[name]), _state(module), strict=True):
                    copied.copy_(own)


def layers_of(model: SegmentationModel) -> list[str]:
    """Return the dotted names of the modules with weights of their own, in the order in which they are first called.

    "" is the network itself. A module whose weights are used without calling it comes with what holds it.
    """
    modules = _modules(model.module)
    first: dict[str, int] = {"": -1}
    if model.has_layers:
        for call in model.example_calls:
            first.setdefault(call.name.partition("@")[0], call.start)

    def time(name: str) -> int:
        while name not in first:
            name = name.rpartition(".")[0]
        return first[name]

    own = [
        name for name, module in modules.items() if next(module.parameters(recurse=False), None) is not None
    ]
    return sorted(own, key=time)


def _modules(root: nn.Module) -> dict[str, nn.Module]:
    walk = root.named_modules() if isinstance(root, torch.jit.ScriptModule) else named_modules(root)
    return {"": root, **dict(walk)}


def _state(module: nn.Module) -> list[Tensor]:
    """Return the parameters and buffers of a module alone."""
    values = chain(module.parameters(recurse=False), module.buffers(recurse=False))
    return [value.data for value in values]


def _reset(module: nn.Module) -> None:
    own = getattr(module, "reset_parameters", None)
    if callable(own):
        try:
            own()
        except TypeError:  # one that wants arguments
            pass
        else:
            return
    for value in module.parameters(recurse=False):
        if value.is_floating_point():
            deviation = value.std(unbiased=False) if value.numel() > 1 else value.abs()
            value.copy_(value.mean() + deviation * torch.randn_like(value))
