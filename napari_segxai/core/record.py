"""The record of how a result came about, and plain values as JSON."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

import numpy as np

SCHEMA = 1
"""Number of the form of records; it is counted up when what a key means changes."""


@dataclass
class Record:
    """Provenance of one explanation: everything needed to make it again.

    Attributes
    ----------
    method, parameters, target, model, image, device, seed
        What was asked, of what, with what. `parameters` holds every parameter, defaults included.
    slice
        For a 2D model on a volume: the slice, counted as napari shows it; None for all.
    passes
        Forward and backward passes that were run.
    seconds
        Wall-clock time.
    results
        The method's numbers, e.g. Dice explained; for a 2D model on every slice: one mapping per slice.
    warnings
        What a user should know before believing the map.
    display
        How the map is meant to be shown; the stored values are raw.
    partial
        Whether the run was stopped before its end.
    created
        UTC time.
    versions
        Of the packages that computed it.
    engine
        How it was computed, e.g. with how many digits.
    axis
        For a 2D model on a volume: the axis across which its slices lie, counted as napari shows it.
    trust
        Verdicts of the trust checks that were run, one mapping each.
    schema
        Number of the form of the record: see docs/file_formats.md.
    """

    method: str
    parameters: dict[str, Any]
    target: dict[str, Any]
    model: dict[str, Any]
    image: dict[str, Any]
    device: str
    seed: int
    slice: int | None
    passes: dict[str, int]
    seconds: float
    results: dict[str, Any]
    warnings: list[str]
    display: dict[str, Any]
    partial: bool
    created: str
    versions: dict[str, str]
    engine: dict[str, Any] = field(default_factory=dict)
    axis: int | None = None
    trust: list[dict[str, Any]] = field(default_factory=list)
    schema: int = SCHEMA

    @classmethod
    def from_dict(cls, told: Mapping[str, Any]) -> Record:
        """Return the record that was saved; keys of the folder, such as files, are left out.

        Raises
        ------
        KeyError
            If something is missing.
        """
        return cls(**{each.name: told[each.name] for each in fields(cls)})

    def as_dict(self) -> dict[str, Any]:
        """Return the record as plain dicts, lists and numbers."""
        return asdict(self)

    def as_json(self) -> str:
        """Return the record as JSON text; numbers that are not finite become null."""
        return as_json(self.as_dict())


def as_json(value: Any, indent: int | None = 2) -> str:
    """Return plain dicts, lists and numbers as JSON text; numbers that are not finite become null."""
    return json.dumps(_finite(value), indent=indent, allow_nan=False, default=str)


def digest_of(value: Any) -> str:
    """Return the SHA-256 of plain dicts, lists and numbers as JSON text."""
    return hashlib.sha256(as_json(value, indent=None).encode()).hexdigest()


def is_number(value: Any) -> bool:
    """Tell whether what a method tells of itself is a finite number."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    if isinstance(value, np.ndarray):
        return _finite(value.tolist())
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not np.isfinite(value):
        return None
    return value
