"""Vectors of a network layer over a folder of cases: cells drawn by chance, as many as fit, however many cases there are."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from napari_segxai.engine.cases import CaseView
from napari_segxai.metrics.functional.layer_maps import shares

MOST = 20_000
"""Vectors that are kept of all cases together."""


@dataclass(frozen=True, eq=False)
class Vectors:
    """Cells of a network layer as rows.

    Attributes
    ----------
    values
        (n, channels), float32.
    cases, subjects
        (n,): ids, of where each is from.
    facts
        (n,) each: what else was said of the cells, by name.
    """

    values: np.ndarray
    cases: np.ndarray
    subjects: np.ndarray
    facts: Mapping[str, np.ndarray]

    def __len__(self) -> int:
        return len(self.values)

    def only(self, chosen: np.ndarray) -> Vectors:
        """Return some of them, by a boolean or by numbers."""
        facts = {name: values[chosen] for name, values in self.facts.items()}
        return Vectors(self.values[chosen], self.cases[chosen], self.subjects[chosen], facts)


class CellSample:
    """Draws cells while one case after another goes by.

    What is drawn depends on the seed and the ids of the cases, not on their order. Beyond `most` vectors some of all cases are
    let go by chance.

    Parameters
    ----------
    seed
        Of the draws.
    per_case
        Cells of a case at most, each time that it is added.
    most
        Vectors that are kept at most.
    """

    def __init__(self, seed: int, *, per_case: int, most: int = MOST):
        self.seed, self.per_case, self.most = seed, per_case, most
        self._kept: list[tuple[np.ndarray, Vectors]] = []  # keys by chance, and what they belong to
        self._keys = np.zeros(0)  # by chance, of the cells that were drawn last
        self._times: dict[str, int] = {}

    def draw(self, view: CaseView, cells: tuple[int, ...]) -> Tensor:
        """Draw cells of a case, of those that lie in the image and not in its padding: their numbers, (n,), in their order."""
        number = self._times[view.id] = self._times.get(view.id, -1) + 1
        random = np.random.default_rng((self.seed, zlib.crc32(view.id.encode()), number))
        there = torch.nonzero((shares(view.inside, cells) > 0.5).flatten())[:, 0].cpu().numpy()
        drawn = np.sort(random.permutation(there)[: self.per_case])
        self._keys = random.random(len(drawn))
        return torch.from_numpy(drawn)

    def keep(self, view: CaseView, values: Tensor, **facts: Tensor) -> None:
        """Keep the cells that were drawn last.

        Parameters
        ----------
        values
            (channels, n).
        **facts
            What is kept beside each: (n,).
        """
        rows = values.T.float().cpu().numpy()
        about = {name: fact.cpu().numpy() for name, fact in facts.items()}
        names = (np.full(len(rows), name, object) for name in (view.id, view.subject))
        self._kept.append((self._keys, Vectors(rows, *names, about)))
        if sum(len(keys) for keys, _ in self._kept) > 2 * self.most:
            self._kept = [self._fewer()]

    def vectors(self) -> Vectors:
        """Return what was drawn so far; without cells an empty table."""
        if not self._kept:
            empty = np.zeros(0, object)
            return Vectors(np.zeros((0, 0), np.float32), empty, empty, {})
        self._kept = [self._fewer()]
        return self._kept[0][1]

    def _fewer(self) -> tuple[np.ndarray, Vectors]:
        """Put all together, and keep those with the lowest keys."""
        keys = np.concatenate([keys for keys, _ in self._kept])
        found = [one for _, one in self._kept]
        names = found[0].facts
        whole = Vectors(
            np.concatenate([one.values for one in found]),
            np.concatenate([one.cases for one in found]),
            np.concatenate([one.subjects for one in found]),
            {name: np.concatenate([one.facts[name] for one in found]) for name in names},
        )
        order = np.argsort(keys, kind="stable")[: self.most]
        order = order[
            np.argsort(whole.cases[order].astype(str), kind="stable")
        ]  # the same, in whatever order they came
        return keys[order], whole.only(order)
