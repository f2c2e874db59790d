"""Opening a sweep that was saved."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from napari_segxai.analyses.compare.load import read_comparison
from napari_segxai.analyses.compare.result import Comparison
from napari_segxai.analyses.sweep.result import Sweep
from napari_segxai.analyses.sweep.values import combinations
from napari_segxai.core.arguments import checked
from napari_segxai.io.results import open_folder, reading_record
from napari_segxai.methods.registry import find_method
from napari_segxai.metrics.functional.chance import Chance


@checked()
def load_sweep(folder: str | Path) -> Sweep:
    """Open a sweep that `Sweep.save` wrote.

    Parameters
    ----------
    folder : str or Path
        The folder, or the record.json in it.

    Returns
    -------
    Sweep
        With the grid, the explanation of every combination, the numbers and the chance levels that were saved, value by
        value and in their order.

    Raises
    ------
    UserError
        If the folder holds something else, was saved by another version, or was changed since.

    Examples
    --------
    >>> import napari_segxai as sx
    >>> sx.load_sweep("sweep").values("dice-explained").shape  # doctest: +SKIP
    (3, 3)
    """
    saved = open_folder(folder, "sweep")
    comparison, facts = read_comparison(saved), saved.record
    with reading_record(saved.folder, "sweep"):
        find_method(facts["method"])  # its title is shown
        _check(facts, comparison)
        return Sweep(
            facts["method"],
            {name: list(values) for name, values in facts["grid"].items()},
            comparison,
            {(each["map"], each["number"]): _chance(each) for each in facts["own_chance"]},
            dict(facts.get("fixed", {})),
        )


def _check(facts: Mapping[str, Any], comparison: Comparison) -> None:
    """Raise an error if the maps are not those of the grid, in its order."""
    asked = combinations(facts["grid"])
    if comparison.asked is not None and len(comparison.asked.methods) != len(asked):
        raise ValueError("grid: there are other combinations than were asked")
    if len(comparison.maps) > len(asked) or list(comparison.maps) != list(comparison.explanations):
        raise ValueError("grid: there are other maps than combinations")
    for values, (name, found) in zip(asked, comparison.explanations.items(), strict=False):
        if found.record.method != facts["method"]:
            raise ValueError(f"maps.{name}: is of another method")
        if any(found.record.parameters[key] != value for key, value in values.items()):
            raise ValueError(f"maps.{name}: has other parameters than the grid")
    if any(each["map"] not in comparison.maps for each in facts["own_chance"]):
        raise ValueError("own_chance: tells of another map")


def _chance(facts: Mapping[str, Any]) -> Chance:
    return Chance(float(facts["mean"]), float(facts["high"]), facts["curve"])
