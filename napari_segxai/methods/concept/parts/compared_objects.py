"""Objects of a folder beside each other: nearest, farthest, prototypes, criticisms, each with its control (the comparison of nearest-examples)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from scipy.spatial.distance import cdist

from napari_segxai.core.chart import Chart, Series, plain_value
from napari_segxai.core.correlation import rank_correlation
from napari_segxai.metrics.functional.statistics.prototypes import (
    criticisms,
    discrepancy,
    kernel_of,
    prototypes,
)

DRAWS, TRUTHS = 20, 10
"""Draws of a control; cases with a truth below which nothing is said of quality."""


@dataclass(frozen=True, eq=False)
class Compared:
    """Objects of a folder beside each other, and which of them were chosen.

    Attributes
    ----------
    rows
        What is known of each: case, subject, object, size, elongation, truth_dice.
    blocks
        By name (n, numbers): weighted, so that the part of a block in a squared distance is that of these numbers.
    distances
        (n, n): the only table that grows with the square of the number of objects and is kept.
    asked
        The object that is asked about.
    nearest, farthest
        Its nearest and farthest ones.
    standing, odd
        Prototypes and criticisms.
    shuffled
        How far the farthest object is from as many prototypes when the blocks are shuffled, the highest of some draws.
    k
        Neighbours that count.
    seed
        Of the draws.
    """

    rows: list[dict[str, Any]]
    blocks: Mapping[str, np.ndarray]
    distances: np.ndarray
    asked: int
    standing: list[int]
    odd: list[int]
    shuffled: float
    k: int
    seed: int

    @classmethod
    def of(
        cls,
        rows: list[dict[str, Any]],
        blocks: Mapping[str, np.ndarray],
        *,
        seed: int,
        k: int,
        standing: int,
        odd: int,
        asked: str,
    ) -> Compared:
        """Choose among objects.

        Parameters
        ----------
        rows, blocks, seed, k
            As of the class.
        standing, odd
            How many prototypes and criticisms.
        asked
            Id of the case whose first object is asked about; the first prototype where it is "" or has none.
        """
        random, distances = np.random.default_rng(seed), _distances(list(blocks.values()))
        chosen = prototypes(kernel_of(distances), standing)
        own = [n for n, row in enumerate(rows) if row["case"] == asked]
        shuffled = []
        for _ in range(DRAWS):
            mixed = _distances([block[random.permutation(len(rows))] for block in blocks.values()])
            shuffled.append(float(mixed[:, prototypes(kernel_of(mixed), standing)].min(1).max()))
        about = own[0] if own else chosen[0]
        return cls(
            rows, blocks, distances, about, chosen, criticisms(distances, chosen, odd), max(shuffled), k, seed
        )

    @cached_property
    def _subjects(self) -> np.ndarray:
        return np.array([row["subject"] for row in self.rows], str)

    @cached_property
    def _of_case(self) -> Counter[str]:
        """How many objects a case has."""
        return Counter(row["case"] for row in self.rows)

    def part(self, name: str, k: int, other: int) -> float:
        """Return the part of a block in the squared distance of two objects."""
        return float(((self.blocks[name][k] - self.blocks[name][other]) ** 2).sum())

    def others(self, k: int, away: np.ndarray | None = None) -> np.ndarray:
        """Return the objects of other subjects than that of one, the nearest first.

        Parameters
        ----------
        away
            How far each is from it, where that is something else than the distance.
        """
        order = np.argsort(self.distances[k] if away is None else away, kind="stable")
        return order[self._subjects[order] != self._subjects[k]]

    @property
    def shown(self) -> list[tuple[str, int]]:
        """What is shown, by role."""
        near = self.others(self.asked)
        k = min(self.k, len(near))
        roles = [("asked about", self.asked)]
        roles += [(f"nearest {n + 1}", int(one)) for n, one in enumerate(near[:k])]
        roles += [(f"farthest {n + 1}", int(one)) for n, one in enumerate(near[::-1][:k])]
        roles += [(f"prototype {n + 1}", one) for n, one in enumerate(self.standing)]
        return roles + [(f"criticism {n + 1}", one) for n, one in enumerate(self.odd)]

    def name(self, k: int) -> str:
        """Name an object: by its case, with its number where the case has several."""
        row = self.rows[k]
        several = self._of_case[row["case"]] > 1
        return f"{row['case']} #{row['object']}" if several else row["case"]

    def words(self, role: str, k: int) -> str:
        """Say of a chosen object which it is, and how far."""
        if role == "asked about":
            return self.name(k)
        near = role.startswith(("nearest", "farthest"))
        return f"{self.name(k)}: {self.distances[self.asked, k] if near else self.prototype_of(k)[1]:.2f}"

    def prototype_of(self, k: int) -> tuple[int, float, str]:
        """Return the nearest prototype of an object, how far it is, and the block that has the greatest part in that."""
        best = self.standing[int(self.distances[k, self.standing].argmin())]
        mostly = max(self.blocks, key=lambda name: self.part(name, k, best))
        return best, float(self.distances[k, best]), mostly if best != k else ""

    def table(self) -> list[dict[str, Any]]:
        """Return a row per object, those that were chosen first."""
        roles = {k: f"prototype {n + 1}" for n, k in enumerate(self.standing)}
        roles |= {k: f"criticism {n + 1}" for n, k in enumerate(self.odd)}
        out = []
        for k in [*roles, *(k for k in range(len(self.rows)) if k not in roles)]:
            row = self.rows[k]
            near, (best, far, mostly) = self.others(k), self.prototype_of(k)
            ends = {"nearest": near[:1], "farthest": near[-1:]}
            told: dict[str, Any] = {name: row[name] for name in ("case", "subject", "object")}
            told["role"] = roles.get(k, "")
            told |= {name: row[name] for name in ("size", "elongation", "truth_dice")}
            for name, found in ends.items():
                told[name] = self.name(int(found[0])) if len(found) else None
                told[f"{name}_distance"] = float(self.distances[k, found[0]]) if len(found) else None
            told |= {"prototype": self.name(best), "prototype_distance": far, "mostly_by": mostly}
            out.append({name: plain_value(value) for name, value in told.items()})
        return out

    def neighbours(self) -> list[dict[str, Any]]:
        """Return a row per neighbour of the object that is asked about."""
        near = self.others(self.asked)
        k = min(self.k, len(near))
        out = []
        for which, found in (("nearest", near[:k]), ("farthest", near[::-1][:k])):
            for rank, one in enumerate(found, 1):
                about = {
                    "of": self.name(self.asked),
                    "which": which,
                    "rank": rank,
                    "case": self.rows[one]["case"],
                }
                about |= {
                    "object": self.rows[one]["object"],
                    "distance": float(self.distances[self.asked, one]),
                }
                out.append(about | {name: self.part(name, self.asked, one) for name in self.blocks})
        return out

    def numbers(self) -> dict[str, Any]:
        """Return the claims, each beside its control."""
        random = np.random.default_rng(self.seed)
        kernel, many = kernel_of(self.distances), len(self.standing)
        chance = [discrepancy(kernel, random.permutation(len(kernel))[:many]) for _ in range(DRAWS)]
        sizes = np.log([row["size"] for row in self.rows])
        near = [self.others(k)[: self.k] for k in range(len(self.rows))]
        alike = [self.others(k, np.abs(sizes - sizes[k]))[: self.k] for k in range(len(self.rows))]
        whole = [int((self._subjects != one).sum()) for one in self._subjects]
        known = [
            (len(set(a) & set(b)) / len(a), len(a) / n)
            for a, b, n in zip(near, alike, whole, strict=True)
            if n
        ]
        same, same_by_chance = np.mean(known, 0) if known else (None, None)
        return {
            "objects": len(self.rows),
            "asked_about": self.name(self.asked),
            "discrepancy": discrepancy(kernel, self.standing),
            "by_chance": float(np.mean(chance)),
            "farthest_distance": self.prototype_of(self.odd[0])[1] if self.odd else None,
            "shuffled_distance": self.shuffled,
            "same_by_size": plain_value(same),
            "same_by_chance": plain_value(same_by_chance),
            "quality_correlation": self._quality(near),
            "quality_by_size": self._quality(alike),
        }

    def _quality(self, near: Sequence[np.ndarray]) -> float | None:
        """Return whether the nearest of an object are as good as it."""
        quality = np.array([np.nan if row["truth_dice"] is None else row["truth_dice"] for row in self.rows])
        pairs = []
        for own, found in zip(quality, near, strict=True):
            others = quality[found][np.isfinite(quality[found])]
            if np.isfinite(own) and others.size:
                pairs.append((own, others.mean()))
        if len({row["case"] for row in self.rows if row["truth_dice"] is not None}) < TRUTHS or not pairs:
            return None
        one, other = np.array(pairs).T
        return rank_correlation(one, other, rounding=0)

    def sentence(self, label: str) -> str:
        """Say what was found."""
        told = self.numbers()
        out = (
            f"{len(self.rows)} objects of {label}: {', '.join(map(self.name, self.standing))} stand for all (discrepancy "
            f"{told['discrepancy']:.3f}, of as many by chance {told['by_chance']:.3f})"
        )
        if not self.odd:
            return f"{out}."
        _, far, mostly = self.prototype_of(self.odd[0])
        beside = f"{far:.2f} from the nearest of them, mostly by {mostly}; shuffled {self.shuffled:.2f}"
        if far > self.shuffled:
            return f"{out}; unlike them is {self.name(self.odd[0])} ({beside})."
        return f"{out}; no object is farther from them than chance makes one ({self.name(self.odd[0])} is {beside})."

    def charts(self, label: str) -> tuple[Chart, ...]:
        """Return the objects as points, laid out so that their distances are kept as well as two axes can."""
        n, whole = len(self.rows), np.concatenate(list(self.blocks.values()), 1)
        # Principal components: the same places as those of classical scaling of the distances, of a table that is less large.
        u, spread, _ = np.linalg.svd(whole - whole.mean(0), full_matrices=False)
        places = np.zeros((n, 2))
        places[:, : min(2, len(spread))] = u[:, :2] * spread[:2]
        places *= np.where(
            places[np.abs(places).argmax(0), range(places.shape[1])] < 0, -1, 1
        )  # a sign is chance
        groups: dict[str, list[int]] = {"object": [], "prototype": self.standing, "criticism": self.odd}
        groups["object"] = [k for k in range(n) if k not in {*self.standing, *self.odd}]
        series = tuple(
            Series(
                name,
                tuple(float(places[k, 0]) for k in own),
                tuple(float(places[k, 1]) for k in own),
                text=tuple(self.name(k) for k in own),
                cases=tuple(self.rows[k]["case"] for k in own),
            )
            for name, own in groups.items()
            if own
        )
        held = float((spread[:2] ** 2).sum() / max((spread**2).sum(), 1e-30))
        caption = (
            f"Objects that lie together are alike; the two axes hold {held:.0%} of the squared distances."
        )
        return (Chart("points", f"Objects of {label}", "axis 1", "axis 2", series, caption),)


def _distances(blocks: Sequence[np.ndarray]) -> np.ndarray:
    """Return the distances (n, n) of objects that are described by these blocks."""
    whole = np.concatenate(blocks, 1)
    return cdist(whole, whole)
