"""What enters a network layer, and what it returns, while something runs."""

from __future__ import annotations

import itertools
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

from napari_segxai.models.introspection.call_names import split_call
from napari_segxai.models.introspection.modules import find_module, first_tensor, replace_first_tensor


@contextmanager
def layer_inputs(root: nn.Module, name: str) -> Generator[list[Tensor]]:
    """While open, collect what enters a network layer: the first entry is that of its first forward pass.

    Parameters
    ----------
    name
        The layer; for ``name@2`` the second call in a pass counts.
    """
    path, number = split_call(name)
    found: list[Tensor] = []
    calls = itertools.count(1)

    def hook(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if next(calls) == number:
            entered = first_tensor((args, kwargs))
            assert entered is not None  # a network layer reads a tensor
            found.append(entered.detach())

    handle = find_module(root, path).register_forward_pre_hook(hook, with_kwargs=True)
    try:
        yield found
    finally:
        handle.remove()


@contextmanager
def layer_outputs(root: nn.Module, name: str) -> Generator[list[Tensor]]:
    """While open, collect what a network layer returns, with its graph; the network goes on with a copy."""
    path, number = split_call(name)
    seen: list[Tensor] = []
    calls = 0

    def hook(_module: nn.Module, _args: Any, out: Any) -> Any:
        nonlocal calls
        calls += 1
        found = first_tensor(out)
        if calls != number or found is None:
            return None
        seen.append(found)
        return replace_first_tensor(out, lambda tensor: tensor.clone())

    handle = find_module(root, path).register_forward_hook(hook)
    try:
        yield seen
    finally:
        handle.remove()
