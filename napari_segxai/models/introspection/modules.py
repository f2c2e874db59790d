"""Walking a module tree, and finding the tensor in whatever a module returns."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields, is_dataclass
from typing import Any

from torch import Tensor, nn


def named_modules(root: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Yield (dotted name, module) for every submodule once, parents before children, without the root.

    `nn.Module.named_modules` is not used: a model that has an attribute or a submodule called
    ``modules`` hides it.
    """
    seen = {id(root)}
    left = [(iter(root._modules.items()), "")]
    while left:
        children, prefix = left[-1]
        for name, child in children:
            if child is None or id(child) in seen:
                continue
            seen.add(id(child))
            yield prefix + name, child
            left.append((iter(child._modules.items()), f"{prefix}{name}."))
            break
        else:
            left.pop()


def all_modules(root: nn.Module) -> list[nn.Module]:
    """Return a module and all of its submodules, each once, parents before children."""
    found: dict[int, nn.Module] = {}
    left: list[nn.Module | None] = [root]
    while left:  # names take half of the time of `named_modules`, and this is asked for at every explanation
        one = left.pop()
        if one is not None and id(one) not in found:
            found[id(one)] = one
            left += reversed(one._modules.values())
    return list(found.values())


def find_module(root: nn.Module, name: str) -> nn.Module:
    """Return the submodule with a dotted name.

    Raises
    ------
    KeyError
        If there is none.
    """
    for part in name.split("."):
        child = root._modules[part]
        if child is None:
            raise KeyError(name)
        root = child
    return root


def parts_of(value: Any) -> list[tuple[str | int, Any]] | None:
    """Return (key, field or position; item) of a mapping, tuple, list or object with fields; None for anything else."""
    if isinstance(value, Mapping):
        return list(value.items())
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return list(zip(value._fields, value, strict=True))
    if isinstance(value, tuple | list):
        return list(enumerate(value))
    if isinstance(value, Tensor | nn.Module | type) or callable(value):
        return None
    if is_dataclass(value):
        return [(field.name, getattr(value, field.name)) for field in fields(value)]
    held = [(name, item) for name, item in getattr(value, "__dict__", {}).items() if _holds(item)]
    return held or None


def _holds(value: Any) -> bool:
    """Tell whether a field of an object may hold tensors; other objects are not looked into, as they may hold this one."""
    return isinstance(value, Tensor | Mapping | tuple | list)


def first_tensor(value: Any) -> Tensor | None:
    """Return the first floating-point tensor in a tensor, mapping, tuple, list or object (depth first), or None."""
    if isinstance(value, Tensor):
        return value if value.is_floating_point() else None
    for _, item in parts_of(value) or ():
        found = first_tensor(item)
        if found is not None:
            return found
    return None


def map_tensors(value: Any, function: Callable[[Tensor], Tensor]) -> Any:
    """Return `value` with `function` applied to every tensor in mappings, tuples, lists and fields of objects."""
    if isinstance(value, Tensor):
        return function(value)
    parts = parts_of(value)
    if parts is None:
        return value
    pairs = [(key, map_tensors(item, function)) for key, item in parts]
    if all(new is old for (_, new), (_, old) in zip(pairs, parts, strict=True)):
        return value
    if isinstance(value, Mapping):
        return dict(pairs) if type(value) is dict else type(value)(dict(pairs))
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*(item for _, item in pairs))
    if isinstance(value, tuple | list):
        return type(value)(item for _, item in pairs)
    changed = copy.copy(value)
    for key, item in pairs:
        object.__setattr__(changed, str(key), item)  # also where the class is frozen
    return changed


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


def as_weights(entered: Tensor, module: nn.Module) -> Tensor:
    """Return a module's input in the type of the module's weights; inside an autocast the two may differ."""
    weight = next((p for p in module.parameters() if p.is_floating_point()), None)
    return entered if weight is None else entered.to(weight.dtype)
