"""The arguments of a network's constructor, as its signature and its docstring tell them."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from napari_segxai.models.loading.weight_shapes import WeightShapes

LONGEST = 400
"""Characters of help that are kept of a docstring."""


@dataclass(frozen=True)
class Argument:
    """An argument of a constructor.

    Attributes
    ----------
    name
        As it is given.
    required
        Whether it has no default.
    default
        The default; None where there is none.
    kind
        Its annotation, in words; "" without one.
    help
        What the docstring says of it; "" for nothing.
    """

    name: str
    required: bool
    default: Any = None
    kind: str = ""
    help: str = ""


def arguments_of(network: Callable[..., Any]) -> tuple[Argument, ...]:
    """Return what can be given by name to a constructor; empty where Python cannot tell."""
    try:
        parameters = inspect.signature(network).parameters.values()
    except (TypeError, ValueError):
        return ()
    kinds = inspect.Parameter
    named = [p for p in parameters if p.kind in (kinds.POSITIONAL_OR_KEYWORD, kinds.KEYWORD_ONLY)]
    texts = [inspect.getdoc(network) or "", inspect.getdoc(network.__init__) or ""]
    return tuple(
        Argument(
            p.name,
            p.default is p.empty,
            None if p.default is p.empty else p.default,
            _words(p.annotation),
            next(filter(None, (_help(p.name, text) for text in texts)), ""),
        )
        for p in named
    )


def _words(annotation: Any) -> str:
    if annotation is inspect.Parameter.empty:
        return ""
    text = annotation if isinstance(annotation, str) else inspect.formatannotation(annotation)
    return re.sub(r"\b(typing|collections\.abc)\.", "", text)


def _help(name: str, text: str) -> str:
    """Return what a docstring says of an argument, in the styles of numpydoc, Google and Sphinx."""
    lines = text.splitlines()
    for k, line in enumerate(lines):
        found = re.match(
            rf"(\s*)(?:[-*]\s*)?(?::param\s+)?`{{0,2}}{re.escape(name)}`{{0,2}}(\s*\([^)]*\))?(\s*)(?::|$)(.*)",
            line,
        )
        if not found:
            continue
        # numpydoc's "name : type" has the type there.
        indent, said = len(found[1]), ["" if found[3] else found[4].strip()]
        for more in lines[k + 1 :]:
            if more.strip() and len(more) - len(more.lstrip()) <= indent:
                break
            if not more.strip() and any(said):
                break
            said.append(more.strip())
        return " ".join(filter(None, said))[:LONGEST]
    return ""


def told(arguments: Sequence[Argument], shapes: WeightShapes) -> dict[str, Any]:
    """Return the arguments that a file of weights tells: by its shapes, else by what training left beside it."""
    names = [argument.name for argument in arguments]
    kept = {name: shapes.hyperparameters[name] for name in names if name in shapes.hyperparameters}
    found = {**kept, **shapes.arguments(names)}
    defaults = {argument.name: argument.default for argument in arguments if not argument.required}
    return {
        name: value
        for name, value in found.items()
        if name not in defaults or not _same(value, defaults[name])
    }


def missing(arguments: Sequence[Argument], given: Mapping[str, Any]) -> list[str]:
    """Return the names of those that have no default and are not given."""
    return [argument.name for argument in arguments if argument.required and argument.name not in given]


def _same(value: Any, default: Any) -> bool:
    try:
        return bool(value == default) and type(value) is type(default)
    except Exception:  # arrays compare element by element
        return False
