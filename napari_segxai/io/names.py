"""The one way from a name to the name of a file or folder."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Iterable
from typing import TypeVar

Name = TypeVar("Name", bound=str | tuple[str, ...])

LONGEST = 100
"""Bytes of a file name, without digest and ending: file systems end at 255, some encrypted ones at 143."""

_ORDINARY = str.maketrans(dict.fromkeys(" :=,+()[]", "_"))
_DIGESTS = (0, 8, 16, 64)
_LOOKS_LIKE_DIGEST = re.compile(r"-[0-9a-f]{8,}$")
_WINDOWS = re.compile(r"(con|prn|aux|nul|com\d|lpt\d|conin|conout)(\.|$)")


def file_names(names: Iterable[Name], *, taken: Iterable[str] = ()) -> dict[Name, str]:
    """Return a file name for every name, so that different names never become one file.

    Letters and digits of all languages, ``-``, ``_``, ``.`` and ``@`` stay; everything else becomes ``_``. A name
    that loses more than spaces and ordinary punctuation (separators of paths, control characters, leading dots, what
    exceeds `LONGEST`), that Windows keeps for itself, or that another one in `names` would share its file with (be it
    only on a file system that knows no case) gets a digest of the whole name behind it.

    Parameters
    ----------
    names
        Of labels, layers, models, methods or cases. Give all that may come to lie in one folder. A tuple of
        names becomes one file name, joined by ``_``.
    taken
        File names, without their ending, that are not free.

    Returns
    -------
    dict
        For every name a file name, without an ending; never empty, never a path, never hidden.
    """
    names = list(dict.fromkeys(names))
    lengths = {name: 1 if _loses(name) else 0 for name in names}
    reserved = {_folded(name) for name in taken}
    while True:
        found = {name: _with_digest(name, _DIGESTS[lengths[name]]) for name in names}
        owners: dict[str, list[Name]] = {}
        for name, file in found.items():
            owners.setdefault(_folded(file), []).append(name)
        shared = [
            name
            for file, sharing in owners.items()
            if len(sharing) > 1 or file in reserved
            for name in sharing
            if lengths[name] < len(_DIGESTS) - 1
        ]
        if not shared:
            return found
        for name in shared:
            lengths[name] += 1


def file_name(name: str | tuple[str, ...]) -> str:
    """Return the file name of one name; see `file_names`."""
    return file_names([name])[name]


def _text(name: str | tuple[str, ...]) -> str:
    return name if isinstance(name, str) else "_".join(name)


def _stem(name: str | tuple[str, ...]) -> str:
    """Return what a name may keep."""
    text = unicodedata.normalize("NFC", _text(name))
    kept = "".join(
        c if c.isalnum() or c in "-_.@" or unicodedata.category(c)[0] == "M" else "_" for c in text
    )
    kept = kept.lstrip(".-").encode()[:LONGEST].decode(errors="ignore").rstrip(".")
    return f"_{kept}" if _WINDOWS.match(_folded(kept)) else kept


def _loses(name: str | tuple[str, ...]) -> bool:
    """Tell whether the stem of a name tells less than the name does."""
    stem = _stem(name)
    plain = unicodedata.normalize("NFC", _text(name)).translate(_ORDINARY)
    return not stem or stem != plain or bool(_LOOKS_LIKE_DIGEST.search(stem))


def _with_digest(name: str | tuple[str, ...], length: int) -> str:
    stem = _stem(name) or "unnamed"
    if not length:
        return stem
    whole = "\0".join([name] if isinstance(name, str) else name)
    return f"{stem}-{hashlib.sha256(whole.encode(errors='surrogatepass')).hexdigest()[:length]}"


def _folded(file: str) -> str:
    """Return what a file system sees that tells neither case nor the ways to write one letter apart."""
    return unicodedata.normalize("NFKC", file).upper().casefold()
