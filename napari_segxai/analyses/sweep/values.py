"""The values of a sweep: which parameters can have several, reading what is typed, and all combinations."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from napari_segxai.core.errors import UserError
from napari_segxai.core.options import Parameter


def combinations(grid: Mapping[str, Sequence[Any]]) -> list[dict[str, Any]]:
    """Return every combination of the values of parameters, the last parameter changing first."""
    return [dict(zip(grid, chosen, strict=True)) for chosen in itertools.product(*grid.values())]


def can_be_swept(parameter: Parameter) -> bool:
    """Tell whether a parameter has values that can be listed: numbers and choices."""
    return bool(parameter.choices) or parameter.type in (int, float, bool)


def read_values(parameter: Parameter, text: str, method: str) -> list[Any]:
    """Read values between commas, in the parameter's type.

    Raises
    ------
    UserError
        If there are none, if one of them does not fit, or if one is given twice.
    """
    parts = [part.strip() for part in text.split(",")]
    if parts[-1] == "":
        parts.pop()  # still typing
    if not parts:
        raise UserError(f"{method}: {parameter.name} needs values, such as {suggested_values(parameter)}.")
    if "" in parts:
        raise UserError(f"{method}: {parameter.name} has two commas with nothing between them.")
    return each_once(parameter, parts, method)


def each_once(parameter: Parameter, given: Sequence[Any], method: str) -> list[Any]:
    """Return values in the parameter's type; refuse one that is given twice, however it is written."""
    values: list[Any] = []
    for each in given:
        value = parameter.check(each, method)
        if value in values:
            raise UserError(f"{method}: {parameter.name} has {each} twice; every value counts once.")
        values.append(value)
    return values


def suggested_values(parameter: Parameter) -> str:
    """Return values around a parameter's default, or all its choices, as `read_values` reads them."""
    if parameter.choices:
        return ", ".join(map(str, parameter.choices))
    if parameter.type is bool:
        return "false, true"
    default, top = parameter.default if parameter.default is not None else parameter.usual, parameter.le
    if default is None:
        around = [None]
    elif default == 0:
        around = [0, 1, 2] if parameter.type is int else [0, 0.1, 1]
    elif parameter.type is int:
        around = [default // 2, default, 2 * default]
    elif top is not None:
        around = [default / 2, default, (default + top) / 2]
    else:
        around = [default / 10, default, default * 10]
    texts = dict.fromkeys("auto" if value is None else f"{value:g}" for value in around)
    return ", ".join(text for text in texts if _fits(parameter, text))


def _fits(parameter: Parameter, text: str) -> bool:
    try:
        parameter.check(text, "")
    except UserError:
        return False
    return True
