"""Random maps, and what is said of a number beside what they reach."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from napari_segxai.metrics.functional.order import ranks
from napari_segxai.metrics.functional.ties import above
from napari_segxai.models.preprocessing.resample import resize

CELLS = 7
"""Cells of a random grid per axis."""

DRAWS = 20
"""Random maps."""

MARK = "≈"
"""Of a number that is no better than chance."""

HIGH = 95
"""Percentile of them that a map has to beat."""


@dataclass(frozen=True)
class Chance:
    """What random maps reach.

    Attributes
    ----------
    mean, high
        Their mean, and their 95th percentile.
    curve
        Of an area under a curve: share, and the mean and the high score there; else None.
    """

    mean: float
    high: float
    curve: dict[str, list[float]] | None = None

    @classmethod
    def of(cls, values: Sequence[float], curve: dict[str, list[float]] | None = None) -> Chance | None:
        """Sum up the numbers of random maps; None where one of them is not finite."""
        if not np.isfinite(values).all():
            return None
        return cls(float(np.mean(values)), float(np.percentile(values, HIGH)), curve)

    def is_beaten(self, value: float) -> bool:
        """Tell whether a number, of which more is better, lies above what chance reaches."""
        return bool(above(value, self.high))


def columns(row: dict[str, Any]) -> dict[str, Any]:
    """Return what a table says of a row's chance level, by the name of the column; nothing where there is none."""
    if row.get("chance") is None:
        return {}
    name = row["metric"]
    return {
        f"{name} chance": row["chance"],
        f"{name} chance {HIGH}%": row["chance_high"],
        f"{name} above chance": row["above_chance"],
    }


def words(row: dict[str, Any]) -> str:
    """Say what random maps reach beside a number; "" where there is no chance level."""
    if row.get("chance") is None:
        return ""
    return level_words(row["chance"], row["chance_high"], above=row["above_chance"])


def short(row: dict[str, Any]) -> str:
    """Say the same in a few words, where there is a chance level."""
    level = f"mean {row['chance']:.3g}, {HIGH} % up to {row['chance_high']:.3g}"
    return level if row["above_chance"] else f"{level}: no better ({MARK})"


def level_words(mean: float, high: float, *, above: bool) -> str:
    """Say what random maps reach, and whether a map is better."""
    text = f"random maps of the same area: {mean:.3g} on average, {HIGH} % of them up to {high:.3g}"
    return text if above else f"{text}: no better than chance"


# -- random maps ---------------------------------------------------------------------------------------


def random_field(shape: Sequence[int], seed: int, number: int) -> Tensor:
    """Return a coarse random grid, enlarged to `shape`: float32 in [0, 1]."""
    rng = np.random.default_rng((seed, number, CELLS))
    coarse = torch.from_numpy(rng.random([min(CELLS, n) for n in shape], np.float32))
    while coarse.ndim < 2:
        coarse = coarse[None]
    grid = (1,) * (2 - len(shape)) + tuple(shape)
    return resize(coarse[None, None], grid, linear=True)[0, 0].reshape(tuple(shape))


def highest(field: Tensor, count: int, seed: int) -> Tensor:
    """Return where the `count` highest values lie, boolean; which of equal ones is drawn at random."""
    flat = field.flatten()
    if count <= 0 or count >= len(flat):
        return torch.full(field.shape, count > 0, device=field.device)
    last = flat.kthvalue(len(flat) - count + 1).values
    chosen = flat > last
    equal = (flat == last).nonzero()[:, 0]
    lack = count - int(chosen.sum())
    order = np.random.default_rng(seed).permutation(len(equal))[:lack]
    chosen[equal[torch.from_numpy(order).to(equal.device)]] = True
    return chosen.view(field.shape)


def with_values(field: Tensor, values: Tensor, seed: int) -> Tensor:
    """Return a map with these values, the highest where the field is highest.

    Parameters
    ----------
    values
        As many as the field has pixels, from the highest to the lowest.
    """
    return values[ranks(field, seed)]
