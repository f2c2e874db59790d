"""A configuration of MONAI as data: references are followed, plain sums and choices are worked out, nothing is run or imported.

MONAI itself evaluates every text that begins with ``$`` as Python, and calls whatever ``_target_`` names. Here such a text is parsed,
and has a value only where it consists of numbers, words, lists and references; else it stays in the tree as an `Unread`.
"""

from __future__ import annotations

import ast
import operator
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from napari_segxai.core.errors import UserError
from napari_segxai.models.loading.json_mapping import json_mapping
from napari_segxai.models.loading.yaml_file import read_mapping

BUNDLE = "a file of a MONAI bundle"

SECTIONS = ("validate", "train")

TARGET, DISABLED = "_target_", "_disabled_"

NO_ARGUMENTS = (TARGET, DISABLED, "_requires_", "_desc_", "_mode_")

REFERENCE = re.compile(r"@(\w+(?:(?:::|#)\w+)*)")

LONGEST = 2000
"""Characters of an expression, or of what one makes."""

MOST, DEEPEST = 100_000, 40
"""Values that are looked at, and references inside each other."""

CONSTANTS = {
    "monai.utils.CommonKeys.IMAGE": "image",
    "monai.utils.CommonKeys.LABEL": "label",
    "monai.utils.CommonKeys.PRED": "pred",
    **{f"{module}.{name}": name for module in ("torch", "np", "numpy") for name in ("float32", "float64")},
    "torch.float": "float32",
    "torch.double": "float64",
}
"""What names of Python stand for that are seen in bundles."""

MOVES = ("to", "eval", "cpu", "cuda", "float")
"""Calls of a network that leave it the same network."""

SUMS: dict[type[ast.AST], Any] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}

KINDS = {"len": len, "int": int, "float": float, "str": str, "bool": bool, "list": list, "tuple": list}


@dataclass(frozen=True)
class Unread:
    """An expression in place of its value.

    Attributes
    ----------
    text
        As it stands in the file.
    """

    text: str

    def __repr__(self) -> str:
        return repr(self.text[:80])


class _NotPlain(Exception):
    """An expression that is more than numbers, words, lists and references."""


class Config:
    """One file.

    Parameters
    ----------
    path
        A JSON or YAML file.

    Raises
    ------
    UserError
        If it cannot be read, or holds no mapping.
    """

    def __init__(self, path: Path):
        self.path = path
        self.left = MOST
        if path.suffix.lower() == ".json":
            self.tree = json_mapping(path, BUNDLE)
        else:
            self.tree = read_mapping(path, "configuration of MONAI")

    def get(self, *names: str) -> Any:
        """Return the first of some keys that is there, with all references followed; None without.

        A configuration of a training has some of them in a section of its own, of which that of the validation counts first.
        """
        sections: tuple[Any, ...] = (self.tree, *(self.tree.get(name) for name in SECTIONS))
        for section in sections:
            for name in names if isinstance(section, Mapping) else ():
                if section.get(name) is not None:
                    return self._resolve(section[name], 0)
        return None

    def _resolve(self, value: Any, depth: int) -> Any:
        self.left -= 1
        if depth > DEEPEST or self.left < 0:
            raise UserError(f"{self.path}: its references lead in a circle, or to far too much.")
        if isinstance(value, Mapping):
            return {str(key): self._resolve(inner, depth + 1) for key, inner in value.items()}
        if isinstance(value, list):
            found = [self._resolve(inner, depth + 1) for inner in value]
            return [one for one in found if not is_disabled(one)]
        if not isinstance(value, str):
            return value
        if value.startswith("$"):
            return self._expression(value, depth)
        if whole := REFERENCE.fullmatch(value):
            return self._follow(whole[1], depth)
        return Unread(value) if value.startswith("%") else value

    def _follow(self, name: str, depth: int) -> Any:
        found: Any = self.tree
        for part in re.split("::|#", name):
            if isinstance(found, str):
                found = self._resolve(found, depth + 1)
            try:
                found = found[part] if isinstance(found, Mapping) else found[int(part)]
            except (LookupError, TypeError, ValueError):
                return Unread(f"@{name}")
        return self._resolve(found, depth + 1)

    def _expression(self, text: str, depth: int) -> Any:
        if len(text) > LONGEST:
            return Unread(text)
        names: list[str] = []

        def stand_in(match: re.Match[str]) -> str:
            names.append(match[1])
            return f"_reference_{len(names) - 1}"

        try:
            parsed = ast.parse(REFERENCE.sub(stand_in, text[1:]).strip(), mode="eval").body
            return self._value(parsed, names, depth + 1)
        except (
            _NotPlain,
            SyntaxError,
            ValueError,
            TypeError,
            ArithmeticError,
            LookupError,
            MemoryError,
            RecursionError,
        ):
            return Unread(text)

    def _value(self, node: ast.AST, names: list[str], depth: int) -> Any:
        self.left -= 1
        if depth > DEEPEST or self.left < 0:
            raise _NotPlain
        inner = lambda one: self._value(one, names, depth + 1)  # noqa: E731
        match node:
            case ast.Constant(value=None | bool() | int() | float() | str() as value):
                return value
            case ast.Name(id=name) if found := re.fullmatch(r"_reference_(\d+)", name):
                value = self._follow(names[int(found[1])], depth)
                if isinstance(value, Unread):
                    raise _NotPlain
                return value
            case ast.List(elts=items) | ast.Tuple(elts=items):
                return [inner(one) for one in items]
            case ast.Dict(keys=keys, values=values) if None not in keys:
                return {str(inner(key)): inner(one) for key, one in zip(keys, values, strict=True) if key}
            case ast.UnaryOp(op=ast.Not(), operand=one):
                return not plain(inner(one))
            case ast.UnaryOp(op=ast.USub(), operand=one):
                return -plain(inner(one))
            case ast.BinOp(left=left, op=op, right=right):
                return _sum(op, plain(inner(left)), plain(inner(right)))
            case ast.Compare(left=left, ops=[op], comparators=[right]):
                return _sum(op, plain(inner(left)), plain(inner(right)))
            case ast.IfExp(test=test, body=body, orelse=other):
                return inner(body if plain(inner(test)) else other)
            case ast.Subscript(value=one, slice=ast.Constant(value=key)):
                return inner(one)[key]
            case ast.Attribute():
                return CONSTANTS[ast.unparse(node)]
            case ast.Call(func=ast.Attribute(value=one, attr=attr)) if attr in MOVES:
                found = inner(one)
                if not is_component(found):
                    raise _NotPlain
                return found
            case ast.Call(func=ast.Name(id=name), args=[one], keywords=[]) if name in KINDS:
                return KINDS[name](plain(inner(one)))
            case ast.Call(func=function, args=[one, *more], keywords=[]):
                called = ast.unparse(function)
                if called == "copy.deepcopy" and not more:
                    return inner(one)
                if called == "os.path.join":
                    return "/".join(str(plain(inner(each))) for each in (one, *more))
        raise _NotPlain


def _sum(op: ast.AST, left: Any, right: Any) -> Any:
    """Work out one operation; only numbers are multiplied, and texts and lists stay short."""
    if type(op) not in SUMS:
        raise _NotPlain
    numbers = isinstance(left, int | float) and isinstance(right, int | float)
    joined = isinstance(op, ast.Add) and type(left) is type(right) and isinstance(left, str | list)
    compared = isinstance(op, ast.Eq | ast.NotEq)
    if numbers and (abs(left) > 1e12 or abs(right) > 1e12):
        raise _NotPlain
    if not (numbers or joined or compared) or (joined and len(left) + len(right) > LONGEST):
        raise _NotPlain
    return SUMS[type(op)](left, right)


def plain(value: Any) -> Any:
    """Return a value that holds no expression.

    Raises
    ------
    _NotPlain
        If it holds one.
    """
    if next(unread(value), None) is not None:
        raise _NotPlain
    return value


def unread(value: Any, name: str = "") -> Iterator[tuple[str, Unread]]:
    """Yield what could not be read inside of a value, with the names of the keys."""
    if isinstance(value, Unread):
        yield name, value
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            yield from unread(inner, f"{name}.{key}".strip("."))
    elif isinstance(value, list):
        for inner in value:
            yield from unread(inner, name)


def is_component(value: Any) -> bool:
    """Tell whether a value says what is to be built, and of which arguments."""
    return isinstance(value, Mapping) and isinstance(value.get(TARGET), str)


def is_disabled(value: Any) -> bool:
    """Tell whether a component is switched off by a plain word."""
    off = value.get(DISABLED) if is_component(value) else None
    return off is True or (isinstance(off, str) and off.strip().lower() == "true")


def arguments(component: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of a component."""
    return {key: value for key, value in component.items() if key not in NO_ARGUMENTS}


def class_name(component: Mapping[str, Any]) -> str:
    """Return the name of a class of MONAI without its package; of another package, the whole name."""
    name: str = component[TARGET]
    return name.rpartition(".")[2] if name.startswith("monai.") else name
