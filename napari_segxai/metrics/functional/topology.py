"""Warping one mask towards another by flipping simple points, and sorting what is left; numbers of objects and holes."""

from __future__ import annotations

import heapq
import itertools
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np

from napari_segxai.core.arguments import checked
from napari_segxai.core.arrays import as_array, as_mask, check_same_grid
from napari_segxai.core.errors import UserError
from napari_segxai.metrics.functional.simple_points import codes, flat_steps, is_simple, numbers_of, offsets

Kind = Literal["merge", "split", "hole added", "hole deleted", "object added", "object deleted"]
Direction = Literal["truth", "proposal"]

KINDS: tuple[Kind, ...] = get_args(Kind)
"""What a proposal does wrong; in `Warping.residual` the number is the position here plus 1."""

RESIDUAL_LABELS = {0: "none"} | dict(enumerate(KINDS, 1))
"""What the numbers of a residual mean, for people."""

_MIRRORED = {"merge": "split", "split": "merge"} | {
    f"{what} {a}": f"{what} {b}"
    for what in ("hole", "object")
    for a, b in (("added", "deleted"), ("deleted", "added"))
}


RANDOM_ORDERS = 4
"""Orders in which pixels are flipped at random, after the others."""

MANY = 50_000
"""Differing pixels from which there are no random orders: each takes seconds."""


@dataclass(frozen=True, eq=False)
class Warping:
    """How two masks differ when outlines may move.

    Attributes
    ----------
    error
        Residual pixels as a share of all that count, in [0, 1] (Jain's warping error): the least of several orders of
        flipping, and so an upper bound.
    pixels
        Residual pixels (what Aabid and Sicre count).
    warped
        Boolean: the mask that was warped, after warping.
    residual
        Whole numbers: 0 where the masks agree after warping, else which of `KINDS` (1 for the first).
    counts
        For every kind the number of connected groups of its pixels: the topological errors.
    """

    error: float
    pixels: int
    warped: np.ndarray
    residual: np.ndarray
    counts: dict[Kind, int]


def warping_error(
    proposal: Any,
    truth: Any,
    *,
    theta: float = 0.5,
    within: Any | None = None,
    direction: Direction = "truth",
) -> Warping:
    """Warp one mask towards the other, in the best of several orders, and sort what is left.

    Parameters
    ----------
    proposal
        Boolean, or values that are thresholded above `theta`; surer pixels, farther from `theta`, are flipped first.
    truth
        Boolean, of the same shape.
    within
        Boolean: pixels that may be flipped and that count; all by default.
    direction
        "truth": warp the truth towards the proposal, as Jain defines it. "proposal": the other way, as Aabid and Sicre do.

    Raises
    ------
    UserError
        If the shapes differ or the direction is another.
    """
    values, wanted = as_array(proposal), as_mask(truth)
    inside = np.ones(wanted.shape, bool) if within is None else as_mask(within)
    check_same_grid(values, wanted, inside)
    if direction not in get_args(Direction):
        raise UserError(f"direction {direction!r} is unknown; choose {' or '.join(get_args(Direction))}.")
    shape, flat = wanted.shape, _slab(wanted.shape)
    given = values if values.dtype == bool else values > theta
    sure = None if values.dtype == bool else np.abs(values - theta).reshape(flat)
    given, wanted, inside = given.reshape(flat), wanted.reshape(flat), inside.reshape(flat)
    start, goal = (wanted, given) if direction == "truth" else (given, wanted)
    warped = _best_warp(start, goal, inside, sure)
    residual = _sort(warped, goal, inside, mirrored=direction == "proposal")
    pixels = int((residual > 0).sum())
    return Warping(
        error=pixels / max(1, int(inside.sum())),
        pixels=pixels,
        warped=warped.reshape(shape),
        residual=residual.reshape(shape),
        counts=_groups(residual),
    )


@checked()
def residual_picture(proposal: Any, truth: Any, *, direction: Direction = "truth") -> np.ndarray:
    """Show where, and how, the topology of a mask is wrong: a label image.

    Parameters
    ----------
    proposal : array-like of bool of shape (*grid), 2D or 3D
        Boolean, in 2D or 3D: what was found, such as the region of a map.
    truth : array-like of bool of shape (*grid)
        Boolean, of the same shape: what it should be, such as the truth or a prediction.
    direction : {"truth", "proposal"}
        Which mask is warped before the two are compared. "truth", as in tables: what the proposal has too much is shown
        in full (an object or a hole with all its pixels, a merge all along the border), what it lacks as a trace (one
        pixel for an object or a hole, a thread across the gap for a split). "proposal": the other way round.

    Returns
    -------
    ndarray of uint8 of shape (*grid)
        Labels: 0 where nothing but an outline differs, else what the proposal does wrong: 1 merge,
        2 split, 3 hole added, 4 hole deleted, 5 object added, 6 object deleted (`RESIDUAL_LABELS`).

    Raises
    ------
    UserError
        If the shapes differ, or for another direction.
    """
    return warping_error(as_mask(proposal), truth, direction=direction).residual


def objects_and_holes(mask: Any) -> tuple[int, int, int]:
    """Return the numbers of objects, of tunnels and of cavities (Betti numbers); in 2D a hole is a tunnel."""
    from skimage.measure import euler_number, label

    inside = as_mask(mask)
    inside = np.pad(inside.reshape(_slab(inside.shape)), 1)
    ndim = inside.ndim
    objects = int(label(inside, connectivity=1 if ndim == 2 else 3).max())
    outside = int(label(~inside, connectivity=2 if ndim == 2 else 1).max()) - 1
    if ndim == 2:
        return objects, outside, 0
    return objects, int(objects + outside - euler_number(inside, connectivity=3)), outside


def count_errors(proposal: Any, truth: Any) -> tuple[int, int]:
    """Return by how much the number of objects, and that of holes (tunnels and cavities), differ."""
    a, b = objects_and_holes(proposal), objects_and_holes(truth)
    return abs(a[0] - b[0]), abs(a[1] - b[1]) + abs(a[2] - b[2])


# -- how -----------------------------------------------------------------------------------------------


def _slab(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return the shape without axes of length one, in two dimensions at least."""
    kept = tuple(n for n in shape if n != 1)
    if len(kept) > 3:
        raise UserError(f"topology is for two or three dimensions, but the shape is {shape}.")
    return (1,) * (2 - len(kept)) + kept


def _best_warp(
    start: np.ndarray, goal: np.ndarray, inside: np.ndarray, sure: np.ndarray | None
) -> np.ndarray:
    """Warp in several orders and return what differs least from the goal; the first that leaves nothing ends it."""
    best, least = start, -1
    for order in _orders(start, goal, inside, sure):
        warped = _warp(start, goal, inside, order)
        left = int(((warped != goal) & inside).sum())
        if least < 0 or left < least:
            best, least = warped, left
        if not least:
            break
    return best


def _orders(
    start: np.ndarray, goal: np.ndarray, inside: np.ndarray, sure: np.ndarray | None
) -> Iterator[np.ndarray | None]:
    """Yield the orders that are tried: lower numbers are flipped first; None as they become simple."""
    from scipy.ndimage import distance_transform_edt

    if sure is not None:
        yield -sure
    yield None
    yield np.where(
        goal, 0.0, 1.0
    )  # what is added comes first: masks that touch grow together before they part
    yield np.where(goal, 1.0, 0.0)
    if start.any() and goal.any():
        near = distance_transform_edt(~start)  # of what is added, what lies nearest comes first
        far = distance_transform_edt(~goal)  # of what is removed, what lies farthest
        yield np.where(goal, near - near.max() - 1, far.max() - far)
        yield np.where(goal, near + far.max() + 1, far.max() - far)
    if ((start != goal) & inside).sum() < MANY:
        for seed in range(RANDOM_ORDERS):
            yield np.random.default_rng(seed).random(start.shape)


def _warp(start: np.ndarray, goal: np.ndarray, inside: np.ndarray, first: np.ndarray | None) -> np.ndarray:
    """Flip simple points of `start` that differ from `goal`, lowest of `first` first, else as they became simple."""
    padded, ndim = np.pad(start, 1), start.ndim
    differs = np.pad((start != goal) & inside, 1)
    places = np.flatnonzero(differs)
    if not len(places):
        return start.copy()
    ready = places[(numbers_of(codes(padded, places), ndim) == 1).all(0)]
    cells, open_ = bytearray(padded.tobytes()), bytearray(differs.tobytes())
    steps = flat_steps(padded.shape)
    bits = [(1 << bit, step) for bit, step in enumerate(steps)]
    table = [is_simple(code, 2) for code in range(256)] if ndim == 2 else None
    waiting = bytearray(len(cells))
    number = itertools.count()  # equal ones in the order in which they became simple
    order = None if first is None else np.pad(first, 1).ravel().tolist()
    queue: Any = deque() if order is None else []

    def push(place: int) -> None:
        if order is None:
            queue.append(place)
        else:
            heapq.heappush(queue, (order[place], next(number), place))

    for place in ready.tolist():
        waiting[place] = 1
        push(place)
    while queue:
        place = queue.popleft() if order is None else heapq.heappop(queue)[2]
        waiting[place] = 0
        code = 0
        for bit, step in bits:
            if cells[place + step]:
                code |= bit
        if not (table[code] if table else is_simple(code, ndim)):
            continue
        cells[place] ^= 1
        open_[place] = 0
        for step in steps:
            near = place + step
            if open_[near] and not waiting[near]:
                waiting[near] = 1
                push(near)
    warped = np.frombuffer(bytes(cells), bool).reshape(padded.shape)
    return warped[(slice(1, -1),) * ndim].copy()


def _sort(warped: np.ndarray, goal: np.ndarray, inside: np.ndarray, *, mirrored: bool) -> np.ndarray:
    """Sort the pixels that still differ by what flipping them would do: 0, or the position in `KINDS` plus 1.

    A pixel that touches no foreground is an object, one that touches no background fills or makes a hole. One that
    joins or parts several components of the foreground merges or splits if these are different components of the whole
    mask, else it closes or opens a ring. What is left (3D only) plugs or opens a tunnel, or a cavity if the background
    on both sides is not the same. Pixels of one sort that touch each other count as one cut or one bridge.
    """
    from skimage.measure import label

    ndim = warped.ndim
    padded = np.pad(warped, 1)
    places = np.flatnonzero(np.pad((warped != goal) & inside, 1))
    out = np.zeros(padded.size, np.uint8)
    if not len(places):
        return out.reshape(padded.shape)[(slice(1, -1),) * ndim]
    front, back = numbers_of(codes(padded, places), ndim)
    adds = ~padded.ravel()[places]
    by_faces, by_corners = 1, ndim
    fore, ground = (by_faces, by_corners) if ndim == 2 else (by_corners, by_faces)

    def parts(which: np.ndarray, of: np.ndarray, connectivity: int) -> np.ndarray:
        """How many components of `of`, without `which` themselves, each connected group of `which` touches."""
        chosen, rest = np.zeros(padded.size, bool), of.ravel().copy()
        chosen[places[which]], rest[places[which]] = True, False
        group = label(chosen.reshape(padded.shape)).ravel()[places[which]]
        labels = label(rest.reshape(padded.shape), connectivity=connectivity).ravel()
        shifts = [
            step
            for step, place in zip(flat_steps(padded.shape), offsets(ndim), strict=True)
            if connectivity > 1 or sum(map(abs, place)) == 1
        ]
        pairs = np.concatenate([np.stack([group, labels[places[which] + step]]) for step in shifts], axis=1)
        pairs = np.unique(pairs[:, pairs[1] > 0], axis=1)
        return np.bincount(pairs[0], minlength=group.max() + 1)[group]

    def name(which: np.ndarray, kind: Kind) -> None:
        out[places[which]] = KINDS.index(_MIRRORED[kind] if mirrored else kind) + 1

    object_, filled = front == 0, (front > 0) & (back == 0)
    ring, plug = (front > 1) & (back > 0), (front == 1) & (back > 1)
    name(object_ & adds, "object added")
    name(object_ & ~adds, "object deleted")
    name(filled & adds, "hole deleted")
    name(filled & ~adds, "hole added")
    for added, several, one in ((True, "merge", "hole added"), (False, "split", "hole deleted")):
        which = np.flatnonzero(ring & (adds == added))
        if len(which):
            apart = parts(which, padded, fore) > 1
            name(which[apart], several)
            name(which[~apart], one)
    for added, several, one in (
        (True, "hole added", "hole deleted"),
        (False, "hole deleted", "hole added"),
    ):
        which = np.flatnonzero(plug & (adds == added))
        if len(which):
            apart = parts(which, ~padded, ground) > 1
            name(which[apart], several)
            name(which[~apart], one)
    return out.reshape(padded.shape)[(slice(1, -1),) * ndim]


def _groups(residual: np.ndarray) -> dict[Kind, int]:
    from skimage.measure import label

    return {kind: int(label(residual == k).max()) for k, kind in enumerate(KINDS, 1)}
