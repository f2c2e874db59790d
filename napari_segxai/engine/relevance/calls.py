"""Calls of functions, as a mode sees them: which of their arguments depend on the network's input, and what they are."""

from __future__ import annotations

import types
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

from torch import Tensor


@dataclass
class Call:
    """A call of a function: what it is and what it was given."""

    func: Callable[..., Any]
    name: str
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    inputs: list[Tensor] = field(default_factory=list)  # those that depend on the network's input

    @property
    def in_place(self) -> bool:
        """Whether it overwrites its first argument."""
        return overwrites(self.func) or bool(self.kwargs.get("inplace"))

    def run(self) -> Any:
        """Call it."""
        return self.func(*self.args, **self.kwargs)

    def elsewhere(self, copy: Tensor) -> Call:
        """Return a call that makes of a copy of its first argument, in a new tensor, what this one writes over that."""
        plain, first = getattr(Tensor, self.name, None), self.args[0]
        made = self.with_inputs(lambda one: copy if one is first else one)
        if plain is None or overwrites(plain):

            def plain(x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
                new = x.clone()
                self.func(new, *args, **kwargs)
                return new

        kwargs = {name: value for name, value in made.kwargs.items() if name != "inplace"}
        return replace(made, func=plain, kwargs=kwargs)

    def with_inputs(self, change: Callable[[Tensor], Tensor]) -> Call:
        """Return the call with every tensor that depends on the input changed."""
        made: dict[int, Tensor] = {}  # `args` and `inputs` hold the same tensors afterwards, too

        def swap(one: Any) -> Any:
            if not on_path(one):
                return one
            if id(one) not in made:
                made[id(one)] = change(one)
            return made[id(one)]

        args = tuple(mapped(one, swap) for one in self.args)
        kwargs = {key: mapped(one, swap) for key, one in self.kwargs.items()}
        return replace(self, args=args, kwargs=kwargs, inputs=[swap(one) for one in self.inputs])


def on_path(one: Any) -> bool:
    """Tell whether something is a tensor that depends on the network's input."""
    return isinstance(one, Tensor) and one.requires_grad


def inputs_of(args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[Tensor]:
    """Return the tensors among the arguments that depend on the network's input."""
    found = []
    for one in (*args, *kwargs.values()):
        if isinstance(one, Tensor):
            if one.requires_grad:
                found.append(one)
        elif isinstance(one, list | tuple | dict):
            found += [each for each in tensors_of(one) if each.requires_grad]
    return found


def tensors_of(tree: Any) -> Iterator[Tensor]:
    """Yield the tensors of nested arguments or results."""
    if isinstance(tree, Tensor):
        yield tree
    elif isinstance(tree, dict):
        for one in tree.values():
            yield from tensors_of(one)
    elif isinstance(tree, list | tuple):
        for one in tree:
            yield from tensors_of(one)


def mapped(tree: Any, change: Callable[[Any], Any]) -> Any:
    """Return an argument, or a list of some, with `change` applied."""
    if isinstance(tree, list | tuple) and any(isinstance(one, Tensor) for one in tree):
        return type(tree)(change(one) for one in tree)
    return change(tree)


@cache
def overwrites(func: Any) -> bool:
    """Tell by its name whether a function overwrites its first argument."""
    name = getattr(func, "__name__", "")
    if name.startswith("__i") and name.endswith("__") and name != "__invert__":
        return True
    return name.endswith("_") and not name.endswith("__")


@cache
def name_of(func: Any) -> str:
    """Return the name of a function without the underscores around it."""
    return getattr(func, "__name__", "").strip("_")


def is_index(name: str, position: int) -> bool:
    """Whether an argument says where, not what."""
    return (name in ("setitem", "index_put") and position == 1) or (name == "lerp" and position == 2)


def has_one_bound(call: Call) -> bool:
    """Tell whether a clamp has one bound."""
    bounds = [*call.args[1:], *(call.kwargs.get(key) for key in ("min", "max"))]
    return sum(one is not None for one in bounds) < 2


def is_relu(call: Call) -> bool:
    """Tell whether a clamp is a ReLU."""
    given = dict(zip(("input", "min", "max"), call.args, strict=False)) | call.kwargs
    low = given.get("min")
    return given.get("max") is None and isinstance(low, int | float) and low == 0


def is_of_two(call: Call) -> bool:
    """Tell whether a maximum or minimum is that of two tensors."""
    second = call.args[1] if len(call.args) > 1 else call.kwargs.get("other")
    return call.name in ("max", "min") and isinstance(second, Tensor)


def is_positive_power(call: Call) -> bool:
    """Tell whether it is a constant power above 0."""
    power = call.args[1] if len(call.args) > 1 else call.kwargs.get("exponent")
    if isinstance(power, Tensor) and power.numel() == 1 and not power.requires_grad:
        power = power.item()
    return isinstance(power, int | float) and power > 0 and call.args[0] is call.inputs[0]


HOMES = ("torch.nn.functional", "torch.functional")
"""Where functions are written in Python that are made of others."""


@cache
def opened(func: Any) -> Callable[..., Any] | None:
    """Return a function of torch that is written in Python without the question whether somebody else answers for it."""
    if not isinstance(func, types.FunctionType) or func.__module__ not in HOMES:
        return None
    if "has_torch_function" not in " ".join(func.__code__.co_names):
        return None
    names = ("has_torch_function", "has_torch_function_unary", "has_torch_function_variadic")
    inside = {**func.__globals__, **dict.fromkeys(names, lambda *_: False)}
    opened = types.FunctionType(func.__code__, inside, func.__name__, func.__defaults__, func.__closure__)
    opened.__kwdefaults__ = func.__kwdefaults__
    return opened
