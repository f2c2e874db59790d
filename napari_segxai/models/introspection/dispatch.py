"""The base of the modes here that see every operation of a pass."""

from __future__ import annotations

import sys
from typing import Self

import torch
from torch.utils._python_dispatch import TorchDispatchMode


class DispatchMode(TorchDispatchMode):
    """A dispatch mode that torch's compiler leaves alone.

    torch's own way to say so loads the compiler, which takes two seconds; here it is said only where something
    else, such as a compiled network, has loaded it.
    """

    _disabled: bool

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False

    def __enter__(self) -> Self:
        cls = type(self)
        if "torch._dynamo" in sys.modules and "_disabled" not in vars(cls):
            cls.__torch_dispatch__ = torch.compiler.disable(cls.__torch_dispatch__)
            cls._disabled = True
        return super().__enter__()
