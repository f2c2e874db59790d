"""Opening a sweep that was saved."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from napari_segxai.analyses.compare.load import read_comparison
from napari_segxai.analyses.sweep.result import Sweep
from napari_segxai.core.errors import UserError
from napari_segxai.io.results import open_folder
from napari_segxai.methods.registry import find_method
from napari_segxai.metrics.functional.chance import Chance


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
    comparison, told = read_comparison(saved), saved.record
    try:
        find_method(told["method"])  # its title is shown
        return Sweep(
            told["method"],
            {name: list(values) for name, values in told["grid"].items()},
            comparison,
            {(each["map"], each["number"]): _chance(each) for each in told["own_chance"]},
            dict(told.get("fixed", {}).items()),
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"{saved.folder}: its record lacks what the record of a sweep says ({error}); save the sweep again."
        ) from error


def _chance(told: Mapping[str, Any]) -> Chance:
    return Chance(float(told["mean"]), float(told["high"]), told["curve"])
