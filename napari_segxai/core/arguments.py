"""Whether arguments are of the types that a function says: one sentence before the work begins, for every public function alike."""

from __future__ import annotations

import functools
import inspect
import os
import types
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, ParamSpec, TypeVar, Union

import numpy as np

from napari_segxai.core.errors import UserError

P = ParamSpec("P")
R = TypeVar("R")

WORDS: Mapping[Any, str] = {
    str: "text", bool: "True or False", int: "a whole number", float: "a number", Path: "a path", np.ndarray: "an array",
    os.PathLike: "a path", type(None): "None",
}  # fmt: skip
"""What types are called in sentences; others by their own name."""

LONGEST = 60
"""Characters of a value that is quoted."""


def checked(*but: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Refuse arguments of other types than the annotations of a function say.

    Types alone are looked at, and only as deep as lists and mappings go: what a value has to be beyond its type, the
    function itself says. A text in place of a list is left to it, too. ``**keywords: Unpack[...]`` count as arguments.

    Parameters
    ----------
    but
        Arguments of which the function itself says what they can be.
    """

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        signature = inspect.signature(function, follow_wrapped=True)

        @functools.wraps(function)
        def call(*args: P.args, **kwargs: P.kwargs) -> R:
            try:
                given = {**signature.bind(*args, **kwargs).arguments, **kwargs}
            except TypeError:
                return function(*args, **kwargs)  # which says what is missing
            known = {name: value for name, value in given.items() if name not in but}
            check_types(getattr(function, "__name__", ""), known, _hints(function))
            return function(*args, **kwargs)

        return call

    return decorate


def check_types(where: str, given: Mapping[str, Any], hints: Mapping[str, Any]) -> None:
    """Refuse values of other types.

    Parameters
    ----------
    where
        Function or class that is named in the sentence.
    given
        The values by name; those without a type are let through.
    hints
        Types by name.

    Raises
    ------
    UserError
        It names the value, and what it has to be.
    """
    for name, value in given.items():
        if name in hints and not fits(value, hints[name]):
            what, wrong, hint = _culprit(name, value, hints[name])
            how = "; sx.read_image reads a file" if _is_path_of_image(wrong, hint) else ""
            raise UserError(f"{where}: {what} is {quoted(wrong)}; it has to be {words_of(hint)}{how}.")


def _is_path_of_image(value: Any, hint: Any) -> bool:
    """Tell whether a text or a path was given where an image is wanted."""
    names = {getattr(kind, "__name__", "") for kind in typing.get_args(hint) or (hint,)}
    return "Image" in names and isinstance(value, str | os.PathLike)


def _culprit(name: str, value: Any, hint: Any) -> tuple[str, Any, Any]:
    """Return name, value and type of what does not fit: of a list or mapping its first wrong element, where that can be told."""
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin in (Union, types.UnionType):
        kinds = ((each, typing.get_origin(each)) for each in inner)
        alike = [each for each, kind in kinds if isinstance(kind, type) and isinstance(value, kind)]
        return (
            _culprit(name, value, alike[0])
            if len(alike) == 1 and not isinstance(value, str)
            else (name, value, hint)
        )
    if not inner or not isinstance(origin, type) or isinstance(value, str):
        return name, value, hint
    items: Iterable[tuple[Any, Any]] = ()
    if issubclass(origin, Mapping) and isinstance(value, Mapping):
        items = value.items()
    elif issubclass(origin, Sequence) and not issubclass(origin, tuple) and isinstance(value, list | tuple):
        items = enumerate(value)
    for key, each in items:
        if not fits(each, inner[-1]):
            return _culprit(f"{name}[{quoted(key)}]", each, inner[-1])
    return name, value, hint


def fits(value: Any, hint: Any) -> bool:
    """Tell whether a value is of a type, an element of a list or mapping included."""
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin in (Union, types.UnionType):
        return any(fits(value, each) for each in inner)
    if origin is Literal:
        return value is None or isinstance(value, str | int | float)  # the function says which there are
    if isinstance(hint, types.NoneType) or hint is None:
        return value is None
    if origin is not None and isinstance(origin, type):
        return _fits_generic(value, origin, inner)
    if hint is Any or not isinstance(hint, type):
        return True
    if hint is bool:
        return isinstance(value, bool | np.bool_)
    if hint in (int, float):
        numbers = int | np.integer if hint is int else int | float | np.number
        return isinstance(value, numbers) and not isinstance(value, bool)
    if hint is np.ndarray:
        return isinstance(value, np.ndarray | list | tuple) or hasattr(value, "__array__")
    if hint is Path:
        return isinstance(value, os.PathLike)
    return isinstance(value, hint)


def _fits_generic(value: Any, origin: type, inner: tuple[Any, ...]) -> bool:
    if issubclass(origin, Callable):  # type: ignore[arg-type]
        return callable(value)
    if issubclass(origin, Mapping):
        key, each = inner or (Any, Any)
        return isinstance(value, Mapping) and all(fits(k, key) and fits(v, each) for k, v in value.items())
    if issubclass(origin, tuple) and inner and inner[-1] is not Ellipsis:
        several = isinstance(value, tuple | list) and len(value) == len(inner)
        return several and all(fits(one, each) for one, each in zip(value, inner, strict=True))
    if isinstance(value, np.ndarray):
        value = value.tolist() if value.ndim == 1 and value.size and value.dtype.kind in "buif" else None
    if issubclass(origin, tuple):
        return isinstance(value, tuple | list) and all(fits(one, inner[0]) for one in value)
    if issubclass(origin, Sequence):
        if isinstance(value, str):
            return fits("", inner[0]) if inner else True
        if (
            not isinstance(value, Iterable)
            or isinstance(value, bytes | Mapping)
            or hasattr(value, "__array__")
        ):
            return False
        walked = value if isinstance(value, list | tuple | set | frozenset) else ()
        return all(fits(each, inner[0]) for each in walked) if inner else True
    return isinstance(value, origin)


def words_of(hint: Any) -> str:
    """Say in words what a type is."""
    if hint is Any:
        return "anything"
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin in (Union, types.UnionType):
        said = list(dict.fromkeys(words_of(each) for each in inner))
        return " or ".join([", ".join(said[:-1]), said[-1]]) if len(said) > 1 else said[0]
    if origin is Literal:
        return " or ".join(map(repr, inner))
    if hint is None:
        return "None"
    if isinstance(origin, type):
        if issubclass(origin, Callable):  # type: ignore[arg-type]
            return "a function"
        if issubclass(origin, Mapping):
            return f"a mapping from {words_of(inner[0])} to {words_of(inner[1])}" if inner else "a mapping"
        if issubclass(origin, tuple) and inner and inner[-1] is not Ellipsis:
            return f"a pair of {' and '.join(map(words_of, inner))}"
        if issubclass(origin, Sequence | tuple):
            return f"a list, each {words_of(inner[0])}" if inner and inner[0] is not Any else "a list"
    if (hint if origin is None else origin) in WORDS:
        return WORDS[hint if origin is None else origin]
    if not isinstance(hint, type):
        return str(hint)
    name = hint.__name__
    return f"{'an' if name[0] in 'AEIOUaeiou' else 'a'} {name}"


def whole_number(value: Any, what: str, low: int, high: int) -> int:
    """Return a whole number that lies between two bounds, both included; one of numpy becomes Python's.

    Raises
    ------
    UserError
        If it is something else.
    """
    is_whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
    if not is_whole or not low <= value <= high:
        raise UserError(f"{what} is {quoted(value)}; it has to be a whole number from {low} to {high}.")
    return int(value)


def quoted(value: Any) -> str:
    """Return a value as a sentence quotes it: short, and an object by its type."""
    plain = value is None or isinstance(value, str | bytes | bool | int | float | os.PathLike)
    if isinstance(value, np.generic):
        value = value.item()
        plain = True
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) >= 1 << 64:
        return "a very large number"
    if not plain or (isinstance(value, os.PathLike) and not isinstance(value, Path)):
        kind = type(value).__name__
        return f"{'an' if kind[0] in 'AEIOUaeiou' else 'a'} {kind}"
    text = repr(str(value)) if isinstance(value, Path) else repr(value)
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}..."


@functools.cache
def _hints(function: Callable[..., Any]) -> Mapping[str, Any]:
    """Return the types of the parameters of a function that can be told, those of its keywords among them."""
    found: dict[str, Any] = {}
    function = inspect.unwrap(function)
    for name, text in inspect.get_annotations(function).items():
        try:
            hint = eval(text, function.__globals__) if isinstance(text, str) else text  # our own source
        except (NameError, TypeError):  # imported for type checkers alone
            continue
        if typing.get_origin(hint) is typing.Unpack:
            found |= typing.get_type_hints(typing.get_args(hint)[0])
        else:
            found[name] = hint
    return found


@functools.cache
def _fields(kind: type) -> Mapping[str, Any]:
    return typing.get_type_hints(kind)


def check_fields(thing: Any, *but: str) -> None:
    """Refuse a dataclass whose fields are of other types than it says; see `checked`."""
    given = {name: value for name, value in vars(thing).items() if name not in but}
    check_types(type(thing).__name__, given, _fields(type(thing)))
