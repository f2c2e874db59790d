"""Reading verified sources, and writing files with a note of what each was made from."""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

from samples.sources import SOURCES, Source


class Builder:
    """Reads verified sources, writes files, and remembers what each was made from."""

    def __init__(self, sources: Path, out: Path) -> None:
        self.sources = sources
        self.out = out
        self.rows: list[tuple[str, tuple[Source, ...], str, str, str]] = []

    def read(self, key: str) -> bytes:
        """Return the content of a source file."""
        source = SOURCES[key]
        path = self.sources / source.path
        if not path.is_file():
            sys.exit(f"{path} is missing; unpack {source.package} there.")
        data = path.read_bytes()
        if sha256(data) != source.sha256:
            sys.exit(f"{path} is not the file of {source.package}: its sha256 is {sha256(data)}.")
        return data

    def write(
        self, name: str, data: bytes | None, made_of: tuple[str, ...], what: str, license: str, credit: str
    ) -> Path:
        """Write a file, or register the one that is there if `data` is None."""
        path = self.out / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if data is not None:
            path.write_bytes(data)
        self.rows.append((name, tuple(SOURCES[key] for key in made_of), what, license, credit))
        print(f"{'wrote' if data is not None else 'kept '} {name} ({path.stat().st_size:,} bytes)")
        return path


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
