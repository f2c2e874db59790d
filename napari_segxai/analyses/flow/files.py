"""An information flow as a table and as a figure."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_segxai.analyses.explain.result import write_explanation
from napari_segxai.analyses.flow import tiles as flow_view
from napari_segxai.analyses.provenance import facts_of_model, now, versions
from napari_segxai.figures.colormaps import SIGNED
from napari_segxai.io.image_record import image_as_dict
from napari_segxai.io.names import file_names
from napari_segxai.io.saving import complete, replacing, save_folder
from napari_segxai.io.tables import write_csv
from napari_segxai.methods.registry import options_as_dict

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from napari_segxai.analyses.flow.result import Flow, Tile

TABLE = "flow.csv"
SURE = (TABLE, "flow.png", "flow.svg")
"""Files that every information flow has."""

CURVES = {
    "energy_inside": "energy inside the prediction",
    "dice": "Dice at half the maximum",
    "ability": "segmentation ability",
    "lost": "Dice lost, mean ablation",
    "lost_skip": "Dice lost, mean ablation of the skip",
    "lost_zero": "Dice lost, zero ablation",
    "lost_skip_zero": "Dice lost, zero ablation of the skip",
}


def save_flow(
    flow: Flow, folder: Path, *, tiles: Sequence[tuple[str, str]] = (), overwrite: bool = False
) -> list[Path]:
    """Write the table, the figure and some tiles; see `Flow.save`."""
    explanations = {tile_folder(flow, Path(), *key): flow.explanation(*key) for key in tiles}

    def write(new: Path) -> dict[str, Any]:
        save_figure(flow, new / "flow.png")
        save_figure(flow, new / "flow.svg")
        save_table(flow, new / TABLE)
        for name, explanation in explanations.items():
            (new / name).mkdir()
            complete(new / name, write_explanation(explanation, new / name))
        return _facts(flow)

    return save_folder(folder, write, overwrite=overwrite)


def _facts(flow: Flow) -> dict[str, Any]:
    return {
        "kind": "information flow",
        "method": flow.method,
        "parameters": options_as_dict(flow.options),
        "labels": list(flow.labels),
        "layers": [layer.name for layer in flow.layers],
        "model": facts_of_model(flow.model),
        "image": image_as_dict(flow.image),
        "passes": flow.passes.as_dict(),
        "seconds": round(flow.seconds, 3),
        "warnings": list(flow.warnings),
        "created": now(),
        "versions": versions(),
    }


def tile_folder(flow: Flow, folder: Path, label: str, layer: str) -> Path:
    """Return where in `folder` the explanation of one tile is written."""
    return folder / file_names(flow.tiles)[label, layer]


def save_table(flow: Flow, path: Path) -> Path:
    """Write one row per label and network layer."""
    return write_csv(path, flow.rows)


def save_figure(flow: Flow, path: Path, *, common: bool = False, position: float | None = None) -> Path:
    """Write the figure as PNG, SVG or PDF, by the ending of `path`."""
    figure = flow_figure(flow, common=common, position=position)
    with replacing(path) as beside:
        figure.savefig(beside)
    return path


def flow_figure(flow: Flow, *, common: bool = False, position: float | None = None) -> Figure:
    """Draw the tiles, labels by network layers, and the curves over depth below.

    Parameters
    ----------
    common
        Whether all tiles share one colour scale; else every tile has its own, and its numbers tell the strength.
    position
        For volumes: which slice is shown, from 0 to 1 of the depth; by default where the labels are largest.
    """
    from matplotlib.figure import Figure

    position = flow_view.best_position(flow) if position is None else position
    rows, columns = len(flow.labels), len(flow.layers)
    height, width = flow_view.extent(flow, flow.labels[0])
    tile_width = 1.35
    tile_height = float(np.clip(tile_width * height / width, 0.7, 2.5)) + 0.42
    figure = Figure(figsize=(0.6 + tile_width * columns, 0.7 + tile_height * rows + 2.6), dpi=110)
    top, bottom = figure.subfigures(2, 1, height_ratios=[tile_height * rows + 0.7, 2.6])
    axes = top.subplots(rows, columns, squeeze=False)
    top.subplots_adjust(
        left=0.05, right=0.995, top=1 - 0.5 / (tile_height * rows + 0.7), bottom=0.04, wspace=0.06
    )
    for row, label in zip(axes, flow.labels, strict=True):
        emerged = flow.emergence(label)
        for axis, layer in zip(row, flow.layers, strict=True):
            tile = flow.tiles[label, layer.name]
            _draw_tile(axis, flow, tile, position, common)
            if layer == emerged:
                axis.patch.set_visible(True)
                for spine in axis.spines.values():
                    spine.set(visible=True, color="#d08000", linewidth=2)
        row[0].set_ylabel(label, fontsize=9)
    for axis, layer in zip(axes[0], flow.layers, strict=True):
        axis.set_title(f"{_short(layer.name)}\n{layer.stage}", fontsize=7)
    _draw_curves(bottom, flow)
    scale = "one colour scale" if common else "each tile on its own colour scale"
    figure.suptitle(f"{flow.method} · {flow.model.name} · {flow.image.name} · {scale}", fontsize=9, y=0.995)
    return figure


def _draw_tile(axis: Axes, flow: Flow, tile: Tile, position: float, common: bool) -> None:
    from matplotlib.colors import LinearSegmentedColormap

    height, width = flow_view.extent(flow, tile.label)
    end = flow_view.limit(flow, tile, common=common)
    colors = LinearSegmentedColormap.from_list("against-for", SIGNED["colors"][:, :3])
    box = (0.0, width, height, 0.0)
    values = flow_view.plane(flow, tile, position)
    axis.imshow(values, cmap=colors, vmin=-end, vmax=end, extent=box, interpolation="nearest")
    drawn = flow_view.outline(flow, tile.label, position)
    if drawn.any() and not drawn.all():
        axis.contour(
            drawn,
            levels=[0.5],
            colors="white",
            linewidths=0.6,
            extent=(0.0, width, 0.0, height),
            origin=None,
        )
    axis.set(xticks=[], yticks=[])
    axis.set_xlabel(
        f"max {tile.maximum:.2g}\ninside {tile.energy_inside:.2f} · Dice {tile.dice:.2f}",
        fontsize=6,
        labelpad=2,
    )
    for spine in axis.spines.values():
        spine.set_visible(False)


def _draw_curves(figure: Figure, flow: Flow) -> None:
    shown = [name for name in CURVES if np.isfinite([flow.curve(label, name) for label in flow.labels]).any()]
    axes = figure.subplots(1, len(shown), squeeze=False)[0]
    figure.subplots_adjust(left=0.05, right=0.995, top=0.86, bottom=0.36, wspace=0.18)
    for axis, name in zip(axes, shown, strict=True):
        for label in flow.labels:
            axis.plot(flow.curve(label, name), marker="o", markersize=3, linewidth=1, label=label)
        axis.set_title(CURVES[name], fontsize=8)
        axis.set_ylim(-0.03, 1.03)
        axis.set_xticks(
            range(len(flow.layers)), [_short(layer.name) for layer in flow.layers], rotation=90, fontsize=6
        )
        axis.tick_params(axis="y", labelsize=6)
        axis.grid(alpha=0.3)
    axes[0].legend(fontsize=6)


def _short(name: str) -> str:
    return name if len(name) <= 16 else "…" + name[-15:]
