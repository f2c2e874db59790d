"""One unit of length in a table, whatever its images have."""

from __future__ import annotations

import re
from typing import Any

from napari_segxai.core.image import MILLIMETRES

_LENGTH = re.compile(rf"(.+)_({'|'.join(sorted(map(re.escape, MILLIMETRES), key=len, reverse=True))})([23]?)")


def in_one_unit(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Bring lengths, areas and volumes to mm where images of a cohort have them in several units; pixels stay beside them."""
    found: dict[tuple[str, str], dict[str, str]] = {}
    for name in {key for row in rows for key in row}:
        if match := _LENGTH.fullmatch(name):
            found.setdefault((match[1], match[3]), {})[name] = match[2]
    several = {
        name: (f"{stem}_mm{power}", MILLIMETRES[unit] ** int(power or 1))
        for (stem, power), names in found.items()
        if len(names) > 1
        for name, unit in names.items()
    }
    if not several:
        return rows

    def brought(name: str, value: Any) -> tuple[str, Any]:
        if name not in several:
            return name, value
        new, factor = several[name]
        return new, value if value is None else value * factor

    return [dict(brought(name, value) for name, value in row.items()) for row in rows]
