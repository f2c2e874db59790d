"""Arrays of any shape in one file (.npz): nothing in it is ever run."""

from __future__ import annotations

import math
import zipfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from napari_segxai.core.errors import UserError, reason_of

LONGEST_HEADER = 1 << 12
"""Bytes of the header of an array."""

HEADERS: Mapping[tuple[int, int], Callable[[Any], tuple[tuple[int, ...], bool, np.dtype]]] = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}
"""By version of the format of an array: what reads shape, order and type."""

DAMAGE = (
    OSError,
    ValueError,
    KeyError,
    EOFError,
    MemoryError,
    NotImplementedError,
    RuntimeError,
    zipfile.BadZipFile,
    zlib.error,
)
"""What reading a damaged file can raise."""


def write_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> Path:
    """Write arrays of numbers or truth values, by name, compressed."""
    named: dict[str, Any] = dict(arrays)
    np.savez_compressed(path, **named)
    return path


def read_arrays(path: Path, expected: Mapping[str, tuple[tuple[int, ...], str]]) -> dict[str, np.ndarray]:
    """Read arrays that `write_arrays` wrote.

    Parameters
    ----------
    path
        The file.
    expected
        By name: the shape and the type that an array has to have.

    Returns
    -------
    dict
        By name, those that are expected.

    Raises
    ------
    UserError
        If the file cannot be read, or holds something else.
    """
    try:
        with zipfile.ZipFile(path) as file:
            return {
                name: _read(file, f"{name}.npy", tuple(shape), np.dtype(kind))
                for name, (shape, kind) in expected.items()
            }
    except DAMAGE as error:
        raise UserError(
            f"{path} does not hold the arrays that its record tells of ({reason_of(error)}); save the result again."
        ) from None


def _read(file: zipfile.ZipFile, name: str, shape: tuple[int, ...], kind: np.dtype) -> np.ndarray:
    """Return one array. Its header is read first: nothing is unpacked, and no memory taken, for another one."""
    size = math.prod(shape) * kind.itemsize
    if not size <= file.getinfo(name).file_size <= size + LONGEST_HEADER:
        raise ValueError(f"{name} has another size")
    with file.open(name) as stream:
        version = np.lib.format.read_magic(stream)
        if version not in HEADERS:
            raise ValueError(f"{name} has another format")
        found = HEADERS[version](stream)
        if (found[0], found[2]) != (shape, kind):
            raise ValueError(f"{name} has another shape or type")
        data = stream.read(size)  # what the file lacks is no memory that it takes
    if len(data) != size:
        raise ValueError(f"{name} ends before its last value")
    return np.frombuffer(bytearray(data), kind).reshape(shape, order="F" if found[1] else "C")
