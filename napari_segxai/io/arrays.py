"""Arrays of any shape in one file (.npz): nothing in it is ever run."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from napari_segxai.core.errors import UserError


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
    out = {}
    try:
        with np.load(path, allow_pickle=False) as file:
            for name, (shape, kind) in expected.items():
                out[name] = file[name]
                if out[name].shape != tuple(shape) or out[name].dtype != np.dtype(kind):
                    raise ValueError(f"{name} has another shape or type")
    except (OSError, ValueError, KeyError, EOFError, MemoryError, zipfile.BadZipFile) as error:
        raise UserError(f"{path} does not hold the arrays that its record tells of ({error}).") from None
    return out
