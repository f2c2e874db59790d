"""A network in evaluation mode whose parameters take no gradients, for as long as it is used."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

from torch import nn

from napari_segxai.models.introspection.modules import all_modules


@contextmanager
def frozen(module: nn.Module) -> Generator[None]:
    """While open, a network is in evaluation mode and its parameters are frozen; all is restored afterwards.

    Only what has to change is touched: an explanation should cost little more than its passes.
    """
    modules = all_modules(module)
    training = [
        m for m in modules if getattr(m, "training", False)
    ]  # a frozen TorchScript module has no mode
    own = (p for m in modules for p in m._parameters.values())  # .parameters() takes three times as long
    trainable = [p for p in own if p is not None and p.requires_grad and not p.is_inference()]
    try:
        for one in training:
            one.training = False
        for parameter in trainable:
            parameter.requires_grad_(False)
        yield
    finally:
        for one in training:
            one.training = True
        for parameter in trainable:
            parameter.requires_grad_(True)
