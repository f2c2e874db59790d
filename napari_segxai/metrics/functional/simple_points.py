"""Simple points: pixels that can be flipped without changing the topology of a mask.

A pixel is simple if its neighbourhood holds exactly one component of the foreground and one of the background that
touch it. In 2D the foreground is connected by edges (4) and the background by corners too (8), counted among the 8
neighbours; in 3D the foreground by corners too (26) and the background by faces (6), counted among the 18
neighbours that share an edge. The state of the neighbours is one number, a bit for each.

Bertrand and Malandain 1994; Jain et al., CVPR 2010.
"""

from __future__ import annotations

import itertools
from functools import cache, lru_cache

import numpy as np


@cache
def offsets(ndim: int) -> tuple[tuple[int, ...], ...]:
    """Return the neighbours of a pixel, in the order of the bits of a code."""
    return tuple(o for o in itertools.product((-1, 0, 1), repeat=ndim) if any(o))


@lru_cache(maxsize=2**18)
def topological_numbers(code: int, ndim: int) -> tuple[int, int]:
    """Return how many components of the foreground and of the background touch a pixel with these neighbours."""
    corners, faces, domain = _adjacency(ndim)
    everything = (1 << len(corners[1])) - 1
    if ndim == 2:
        return _count(code, *faces, everything), _count(~code & everything, *corners, everything)
    return _count(code, *corners, everything), _count(~code & everything, *faces, domain)


def is_simple(code: int, ndim: int) -> bool:
    """Tell whether a pixel with these neighbours is simple, whichever side it is on."""
    return topological_numbers(code, ndim) == (1, 1)


@cache
def _adjacency(ndim: int) -> tuple[tuple[int, tuple[int, ...]], tuple[int, tuple[int, ...]], int]:
    """Return (which neighbours touch the pixel, which touch each neighbour) by corners and by faces.

    And, last, the neighbours that share at least an edge with the pixel (18 in 3D). All as bits.
    """
    places = offsets(ndim)

    def bits(test) -> int:
        return sum(1 << k for k, place in enumerate(places) if test(place))

    def apart(a, b) -> list[int]:
        return [abs(x - y) for x, y in zip(a, b, strict=True)]

    center = (0,) * ndim
    corners = tuple(bits(lambda q, p=p: q != p and max(apart(p, q)) == 1) for p in places)
    faces = tuple(bits(lambda q, p=p: sum(apart(p, q)) == 1) for p in places)
    return (
        (bits(lambda q: True), corners),
        (bits(lambda q: sum(apart(q, center)) == 1), faces),
        bits(lambda q: sum(apart(q, center)) <= 2),
    )


def _count(code: int, touching: int, near: tuple[int, ...], domain: int) -> int:
    """Count the components of `code` within `domain` that hold a pixel of `touching`."""
    left, count = code & domain, 0
    while left & touching:
        front = part = (left & touching) & -(left & touching)
        while front:
            bit = front & -front
            new = near[bit.bit_length() - 1] & left & ~part
            part |= new
            front = (front ^ bit) | new
        left &= ~part
        count += 1
    return count


def codes(padded: np.ndarray, where: np.ndarray) -> np.ndarray:
    """Return the codes of pixels of a mask that has an empty margin.

    Parameters
    ----------
    padded
        Boolean, with a margin of one pixel.
    where
        Flat indices into it, none in the margin.
    """
    flat = padded.ravel()
    out = np.zeros(len(where), np.int64)
    for bit, step in enumerate(flat_steps(padded.shape)):
        out |= flat[where + step].astype(np.int64) << bit
    return out


def flat_steps(shape: tuple[int, ...]) -> list[int]:
    """Return the neighbours of a pixel as steps of the flat index."""
    strides = [int(np.prod(shape[k + 1 :])) for k in range(len(shape))]
    return [sum(o * s for o, s in zip(place, strides, strict=True)) for place in offsets(len(shape))]


def numbers_of(codes: np.ndarray, ndim: int) -> np.ndarray:
    """Return the topological numbers of many codes: (2, n)."""
    unique, inverse = np.unique(codes, return_inverse=True)
    table = np.array([topological_numbers(int(code), ndim) for code in unique], int).reshape(-1, 2)
    return table[inverse].T
