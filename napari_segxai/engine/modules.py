"""Walking a module tree, and finding the tensor in whatever a module returns."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from torch import Tensor, nn


def named_modules(root: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Yield (dotted name, module) for every submodule once, parents before children, without the root.

    `nn.Module.named_modules` is not used: a model that has an attribute or a submodule called
    ``modules`` hides it.
    """
    seen = {id(root)}

    def walk(module: nn.Module, prefix: str) -> Iterator[tuple[str, nn.Module]]:
        for name, child in module._modules.items():
            if child is None or id(child) in seen:
                continue
            seen.add(id(child))
            yield prefix + name, child
            yield from walk(child, f"{prefix}{name}.")

    yield from walk(root, "")


def find_module(root: nn.Module, name: str) -> nn.Module:
    """Return the submodule with a dotted name.

    Raises
    ------
    KeyError
        If there is none.
    """
    for part in name.split("."):
        root = root._modules[part]
    return root


def first_tensor(value: Any) -> Tensor | None:
    """Return the first floating-point tensor in a tensor, tuple, list or dict (depth first), or None."""
    if isinstance(value, Tensor):
        return value if value.is_floating_point() else None
    items = value.values() if isinstance(value, dict) else value if isinstance(value, tuple | list) else ()
    for item in items:
        found = first_tensor(item)
        if found is not None:
            return found
    return None


def map_tensors(value: Any, function: Callable[[Tensor], Tensor]) -> Any:
    """Return `value` with `function` applied to every tensor in tuples, lists and dicts."""
    if isinstance(value, Tensor):
        return function(value)
    if isinstance(value, dict):
        pairs = {key: map_tensors(item, function) for key, item in value.items()}
        return pairs if type(value) is dict else type(value)(pairs)
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*(map_tensors(item, function) for item in value))
    if isinstance(value, tuple | list):
        return type(value)(map_tensors(item, function) for item in value)
    return value


def replace_first_tensor(value: Any, function: Callable[[Tensor], Tensor]) -> Any:
    """Return `value` with `function` applied to the tensor that `first_tensor` finds."""
    done = False

    def once(tensor: Tensor) -> Tensor:
        nonlocal done
        if done or not tensor.is_floating_point():
            return tensor
        done = True
        return function(tensor)

    return map_tensors(value, once)
