"""JSON that somebody else may have written: what is read is plain, finite and said once."""

from __future__ import annotations

import json
import math
import stat
from pathlib import Path
from typing import Any

LARGEST = 1 << 26
"""Bytes of a file that is read; ours have some thousands."""

HIGHEST = 1 << 64
"""Whole numbers are below this; longer ones would not become floats."""


def read_json(path: Path) -> Any:
    """Return what a JSON file says.

    Raises
    ------
    ValueError
        With the reason in words: it is not a file, too large, not UTF-8, not JSON, says a key twice, or holds numbers that are
        not finite, or text that is none.
    """
    try:
        facts = path.stat()
        if not stat.S_ISREG(facts.st_mode):
            raise ValueError("it is not a file")
        if facts.st_size > LARGEST:
            raise ValueError(f"it has more than {LARGEST >> 20} MiB")
        text = path.read_text(encoding="utf-8-sig")  # some editors put a mark in front
        value = json.loads(
            text, object_pairs_hook=_once, parse_constant=_no_number, parse_float=_finite, parse_int=_whole
        )
        json.dumps(value, ensure_ascii=False).encode()  # half of a surrogate pair is not text
    except UnicodeError:
        raise ValueError("it holds what is not text") from None
    except RecursionError:
        raise ValueError("it is too deep") from None
    except OSError as error:
        raise ValueError(error.strerror or type(error).__name__) from None
    return value


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise ValueError(f"it says {key[:100]!r} twice")
        found[key] = value
    return found


def _no_number(text: str) -> Any:
    raise ValueError(f"{text} is not a number of JSON")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text[:20]} is not a finite number")
    return value


def _whole(text: str) -> int:
    if len(text) > 20 or abs(int(text)) >= HIGHEST:
        raise ValueError(f"{text[:20]} ... is too large a number")
    return int(text)
