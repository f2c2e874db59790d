"""Orientation algebra of array axes: tiny pure functions on numpy arrays.

An *axis code* names the direction in which an array axis grows: one of L/R, P/A, I/S. A *reorientation* is
a pair ``(order, flips)``: output axis ``k`` is input axis ``order[k]``, reversed where ``flips[k]``.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

WORLD = (("L", "R"), ("P", "A"), ("I", "S"))
"""Negative and positive end of the world axes x, y, z (RAS+)."""

DISPLAY = ("I", "P", "L")
"""Axis codes of a displayed volume: axial slices first, upright, and not mirrored in 3D."""

Reorientation = tuple[tuple[int, ...], tuple[bool, ...]]

SAME_GRID = 0.05
"""Share of a pixel by which the corners of two grids may lie apart, and the grids still be one."""


def axis_codes(affine: np.ndarray) -> tuple[str, str, str]:
    """Return the axis codes of the three array axes of a 4x4 affine to RAS+ millimetres.

    Every array axis gets the world axis that it is nearest to, each world axis once. For oblique
    volumes the assignment maximises the total agreement, so that it never fails.
    """
    matrix = np.asarray(affine, float)[:3, :3]
    lengths = np.linalg.norm(matrix, axis=0)
    cosines = matrix / np.where(lengths > 0, lengths, 1)
    permutations = [(0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0)]
    best = max(permutations, key=lambda p: sum(abs(cosines[p[k], k]) for k in range(3)))
    first, second, third = (WORLD[best[k]][int(cosines[best[k], k] > 0)] for k in range(3))
    return first, second, third


def _world_axis(code: str) -> tuple[int, bool]:
    for axis, (negative, positive) in enumerate(WORLD):
        if code in (negative, positive):
            return axis, code == positive
    raise ValueError(f"{code!r} is not an axis code; use one of L, R, P, A, I, S.")


def reorientation(source: Sequence[str], target: Sequence[str]) -> Reorientation:
    """Return how to turn axes with codes `source` into axes with codes `target`."""
    have = [_world_axis(code) for code in source]
    want = [_world_axis(code) for code in target]
    if sorted(axis for axis, _ in want) != [0, 1, 2]:
        raise ValueError(
            f"{''.join(target)!r} is not an orientation; it needs one of L/R, one of P/A, one of I/S."
        )
    order = tuple(next(k for k, (axis, _) in enumerate(have) if axis == wanted) for wanted, _ in want)
    flips = tuple(have[k][1] != positive for k, (_, positive) in zip(order, want, strict=True))
    return order, flips


def is_stored(codes: str | None) -> bool:
    """Tell whether codes name the axes of a file as they are stored, such as "kji", and no directions."""
    return codes is not None and sorted(codes) == ["i", "j", "k"]


def invert(turn: Reorientation) -> Reorientation:
    """Return the reorientation that undoes `turn`."""
    order, flips = turn
    back = tuple(int(k) for k in np.argsort(order))
    return back, tuple(flips[k] for k in back)


def apply(array: np.ndarray, turn: Reorientation) -> np.ndarray:
    """Reorient the last ``len(order)`` axes of `array`; returns a view."""
    order, flips = turn
    lead = array.ndim - len(order)
    out = array.transpose(*range(lead), *(lead + k for k in order))
    index = tuple(slice(None, None, -1) if flip else slice(None) for flip in flips)
    return out[(slice(None),) * lead + index]


def apply_to_affine(affine: np.ndarray, shape: Sequence[int], turn: Reorientation) -> np.ndarray:
    """Return the affine of the reoriented array, given the `affine` and `shape` of the original one."""
    order, flips = turn
    step = np.eye(4)
    step[:3, :3] = 0
    for k, (axis, flip) in enumerate(zip(order, flips, strict=True)):
        step[axis, k] = -1 if flip else 1
        step[axis, 3] = shape[axis] - 1 if flip else 0
    return np.asarray(affine, float) @ step


def corner_distance(one: np.ndarray, other: np.ndarray, shape: Sequence[int]) -> float:
    """Return the largest distance between a corner of a grid under one matrix and the same corner under another.

    Parameters
    ----------
    one, other
        (n + 1, n + 1): from indices to one world, of n axes.
    shape
        Of the grid; axes that are missing at its end have the length 1.

    Returns
    -------
    float
        In the unit of that world.
    """
    n = len(one) - 1
    ends = [(0, size - 1) for size in (*shape, *(1,) * n)[:n]]
    corners = np.stack(np.meshgrid(*ends, indexing="ij")).reshape(n, -1)
    away = (np.asarray(one, float) - np.asarray(other, float))[:n]
    return float(np.linalg.norm(away[:, :n] @ corners + away[:, n:], axis=0).max())


def is_same_grid(one: np.ndarray, other: np.ndarray, shape: Sequence[int]) -> bool:
    """Tell whether two matrices place a grid alike: within a small share of its own pixels, whatever the world's unit."""
    n = len(one) - 1
    pixel = np.linalg.norm(np.asarray(other, float)[:n, :n], axis=0).min()
    return corner_distance(one, other, shape) < SAME_GRID * float(pixel)
