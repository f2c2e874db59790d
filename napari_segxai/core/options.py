"""Typed options: one dataclass per method, from which the form, the command line and the docs are made."""

from __future__ import annotations

import dataclasses
import math
import os
import types
import typing
from collections.abc import Mapping
from dataclasses import MISSING, dataclass
from functools import cache
from typing import Any, Literal, NewType, TypeVar

from napari_segxai.core.arguments import quoted
from napari_segxai.core.errors import UserError, nearest, number
from napari_segxai.core.paths import user_path

LayerName = NewType("LayerName", str)
"""A network layer by its dotted name; "bottleneck" and "last" stand for those two."""

FolderName = NewType("FolderName", str)
"""A folder of images by its path; "" for none. Kept as an absolute path, since a result is opened from other folders."""

T = TypeVar("T")

MOST = 1_000_000
"""The largest whole number that an option takes unless it says otherwise: no count of passes is without end."""

LARGEST = 1e9
"""The largest size of any other number."""


def option(
    default: Any,
    *,
    help: str,
    ge: float | None = None,
    gt: float | None = None,
    le: float | None = None,
    unit: str = "",
    advanced: bool = False,
    usual: Any = None,
) -> Any:
    """Declare a field of an options dataclass, with bounds, a unit and one line of help.

    `usual` is what None most often stands for, where None is the default.
    """
    metadata = {
        "help": help, "ge": ge, "gt": gt, "le": le, "unit": unit, "advanced": advanced, "usual": usual,
    }  # fmt: skip
    return dataclasses.field(default=default, metadata=metadata)


@dataclass(frozen=True)
class Parameter:
    """One option, described.

    Attributes
    ----------
    name
        Name of the field.
    type
        int, float, bool, str, `LayerName`, `FolderName`; for a choice: str with `choices`.
    optional
        Whether None ("chosen by the method") is allowed.
    choices
        The allowed values of a choice, else empty; with the type float, a number is allowed as well.
    usual
        What None most often stands for; None where that depends on the question.
    """

    name: str
    type: type
    default: Any
    optional: bool
    choices: tuple[Any, ...]
    help: str
    ge: float | None
    gt: float | None
    le: float | None
    unit: str
    advanced: bool
    usual: Any = None

    @property
    def type_name(self) -> str:
        """The type in words for listings."""
        if self.choices:
            return "choice or number" if self.type is float else "choice"
        return _NAMES.get(self.type, self.type.__name__)

    @property
    def bounds(self) -> str:
        """The option's own bounds in words, e.g. "1 or more"; empty when there are none."""
        low = f"{self.ge:g} or more" if self.ge is not None else ""
        low = f"more than {self.gt:g}" if self.gt is not None else low
        high = f"{self.le:g} or less" if self.le is not None else ""
        return " and ".join(part for part in (low, high) if part)

    @property
    def limits(self) -> str:
        """The bounds in words; an option without bounds of its own has those that hold for all."""
        low = "" if self.ge is not None or self.gt is not None else f"{-LARGEST:.12g} or more"
        high = "" if self.le is not None else f"{self.highest:.12g} or less"
        return " and ".join(part for part in (low, self.bounds, high) if part)

    @property
    def highest(self) -> float:
        """The largest value that is taken."""
        return self.le if self.le is not None else MOST if self.type is int else LARGEST

    def as_json(self) -> dict[str, Any]:
        """Describe the parameter for a listing."""
        return {
            "name": self.name,
            "type": self.type_name,
            "default": self.default,
            "optional": self.optional,
            "choices": list(self.choices),
            "bounds": self.bounds,
            "unit": self.unit,
            "help": self.help,
        }

    def check(self, value: Any, where: str) -> Any:
        """Return `value` in the parameter's type; text (from a command line) is read.

        Raises
        ------
        UserError
            If it is of another type or out of bounds.
        """
        what = f"{where}: {self.name}"
        if getattr(value, "ndim", None) == 0 and hasattr(value, "item"):  # a number of numpy or torch
            value = value.item()
        elif hasattr(value, "__array__"):
            value = value.tolist()  # which has one truth value, and is refused
        if value is None or (self.optional and value in ("none", "auto", "")):
            if self.optional:
                return None
            raise UserError(f"{what} needs a value ({self.type_name}).")
        if self.choices:
            if value in self.choices:
                return value
            known = ", ".join(map(str, self.choices)) + (" or a number" if self.type is float else "")
            wrong = UserError(f"{what} is {quoted(value)}; choose one of {known}.")
            if self.type is not float:
                raise wrong
            value = self._read(value, what, wrong)
        else:
            value = self._read(value, what)
        if isinstance(value, bool) or not isinstance(value, int | float):
            return value
        low_ok = (self.ge is None or value >= self.ge) and (self.gt is None or value > self.gt)
        if not (low_ok and -LARGEST <= value <= self.highest):
            raise UserError(f"{what} is {number(value)}; it has to be {self.limits}.")
        return value

    def _read(self, value: Any, what: str, wrong: UserError | None = None) -> Any:
        wrong = wrong or UserError(
            f"{what} is {quoted(value)}; it has to be {_WORDS.get(self.type, 'a name')}."
        )
        if self.type is bool:
            if isinstance(value, str):
                text = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
                if value.lower() not in text:
                    raise wrong
                return text[value.lower()]
            if not isinstance(value, bool):
                raise wrong
            return value
        if self.type in (int, float):
            if isinstance(value, bool):
                raise wrong
            try:
                found = float(value)
                if self.type is float:
                    if not math.isfinite(found):
                        raise wrong
                    return found
                if found != int(found):
                    raise wrong
                return int(found)
            except (TypeError, ValueError, OverflowError):
                raise wrong from None
        if self.type is FolderName and isinstance(value, str | os.PathLike):
            return os.fspath(user_path(value).absolute()) if os.fspath(value) else ""
        if not isinstance(value, str):
            raise wrong
        return value


_WORDS = {bool: "true or false", int: "a whole number", float: "a number", FolderName: "the path of a folder"}
_NAMES = {LayerName: "network layer", FolderName: "folder"}


TYPES = (bool, int, float, str, LayerName, FolderName)
"""What a parameter can be, beside a `Literal` of names, and None beside each of them."""


@cache
def parameters(options: type[Any]) -> tuple[Parameter, ...]:
    """Describe the fields of an options dataclass.

    Raises
    ------
    TypeError
        For a field that `option` does not declare, or of a type that no form could ask for.
    """
    hints = typing.get_type_hints(options)
    out = []
    for field in dataclasses.fields(options):
        hint, optional, choices = hints[field.name], False, ()
        if isinstance(hint, types.UnionType) or typing.get_origin(hint) is typing.Union:
            inner = [arg for arg in typing.get_args(hint) if arg is not type(None)]
            optional = len(inner) < len(typing.get_args(hint))
            choices = next((typing.get_args(arg) for arg in inner if typing.get_origin(arg) is Literal), ())
            plain = [arg for arg in inner if typing.get_origin(arg) is not Literal] or [str]
            hint = plain[0] if len(plain) == 1 else hint
        elif typing.get_origin(hint) is Literal:
            choices, hint = typing.get_args(hint), str
        default = field.default
        if default is MISSING or not field.metadata:
            raise TypeError(
                f"{options.__name__}.{field.name} has to be declared by option(default, help=...)."
            )
        if hint not in TYPES:
            known = ", ".join(one.__name__ for one in TYPES)
            raise TypeError(
                f"{options.__name__}.{field.name} is a {hint}; it has to be one of {known}, or a Literal."
            )
        out.append(
            Parameter(
                name=field.name,
                type=hint,
                default=default,
                optional=optional,
                choices=choices,
                **field.metadata,
            )
        )
    return tuple(out)


def make_options(options: type[T], values: Mapping[str, Any], where: str) -> T:
    """Build an options dataclass from values that a user gave.

    Raises
    ------
    UserError
        For an unknown name (with the nearest ones), a wrong type or a value out of bounds.
    """
    known = {parameter.name: parameter for parameter in parameters(options)}
    for name in values:
        if name not in known:
            hint = nearest(name, known, few=len(known)) if known else "it has none."
            raise UserError(f"{where} has no parameter {name!r}; {hint}")
    return options(**{name: known[name].check(value, where) for name, value in values.items()})
