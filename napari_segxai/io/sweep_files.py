"""A sweep as a table and as heat maps."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from napari_segxai.errors import UserError
from napari_segxai.io.compare_files import ARROWS
from napari_segxai.io.results import make_folder, write_csv

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from napari_segxai.sweeping import Sweep

TABLE = "table.csv"


def save_sweep(sweep: Sweep, folder: Path, *, overwrite: bool = False) -> list[Path]:
    """Write the table and the heat maps; see `Sweep.save`."""
    if (folder / TABLE).exists() and not overwrite:
        raise UserError(f"{folder} already holds a sweep; choose another folder, or pass overwrite=True.")
    make_folder(folder)
    rows = []
    for row, explanation in zip(sweep.comparison.table, sweep.comparison.explanations.values(), strict=True):
        chosen = {name: explanation.record.parameters[name] for name in sweep.grid}
        rows.append({**chosen, **{key: value for key, value in row.items() if key not in ("map", "method")}})
    heat_figure(sweep).savefig(folder / "heat.png")
    return [write_csv(folder / TABLE, rows), folder / "heat.png"]


def heat_figure(sweep: Sweep) -> Figure:
    """Draw one heat map per metric, with its numbers and the best framed."""
    from matplotlib.figure import Figure

    metrics = sweep.comparison.metrics
    names = list(sweep.grid)
    across = names[-1]
    down = names[0] if len(names) == 2 else ""
    shape = sweep.values(metrics[0].name).shape
    size = (1.2 + 0.75 * shape[1], 1.2 + 0.5 * shape[0])
    figure = Figure(figsize=(size[0] * len(metrics), size[1]), dpi=120, layout="constrained")
    for axis, metric in zip(np.atleast_1d(figure.subplots(1, len(metrics))), metrics, strict=True):
        values = sweep.values(metric.name)
        axis.imshow(values if np.isfinite(values).any() else np.zeros(shape), cmap="viridis", aspect="auto")
        for place in np.ndindex(shape):
            text = "–" if np.isnan(values[place]) else f"{values[place]:.3g}"
            axis.text(place[1], place[0], text, ha="center", va="center", fontsize=7, color="white")
        if metric.better is not None and np.isfinite(values).any():
            pick = np.nanargmax(values) if metric.better == "higher" else np.nanargmin(values)
            row, column = np.unravel_index(pick, shape)
            from matplotlib.patches import Rectangle

            axis.add_patch(
                Rectangle((column - 0.5, row - 0.5), 1, 1, fill=False, edgecolor="#ff9020", linewidth=2)
            )
        axis.set_title(metric.title + ARROWS[metric.better], fontsize=7)
        axis.set_xticks(range(shape[1]), [str(v) for v in sweep.grid[across]], fontsize=6)
        rows = [str(v) for v in sweep.grid[down]] if down else [""]
        axis.set_yticks(range(shape[0]), rows, fontsize=6)
        axis.set_xlabel(across, fontsize=7)
        axis.set_ylabel(down, fontsize=7)
    return figure
