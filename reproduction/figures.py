"""The papers' figures, drawn of our maps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from common import Case, firsts
from hasany_2025_table1 import CAMS
from hasany_2026_table1 import MSR
from kept import Store
from matplotlib.figure import Figure
from rheude_2024_figures import METHODS

Tile = tuple[np.ndarray | None, str]
"""A map, or None for an empty place, and how to draw it: "grey", "mask" or "map"."""


def draw(found: Sequence[Case], store: Store, folder: Path) -> dict[str, Path]:
    """Draw the first case of every data set; where its maps were not kept, the figure of the earlier run stays.

    Returns
    -------
    dict
        Paths of the figures, by name.
    """
    folder.mkdir(parents=True, exist_ok=True)
    shown = [(case, store.kept_maps(case)) for case in firsts(found)]
    first = shown[0][0]
    makers = {
        "hasany_2026_maps": lambda: _methods(shown, ["sufficient region", MSR, "Seg-Grad-CAM", "RISE"]),
        "hasany_2025_maps": lambda: _methods(shown, [*CAMS, "RISE"]),
        "hasany_2025_masks": lambda: _methods(shown, ["RISE 100", "RISE 500", "RISE 1000", "RISE 2000"]),
        "rheude_2024_sets": lambda: _methods(
            shown, [f"{name}, {pixels}" for name in METHODS for pixels in ("image", "class", "point")]
        ),
        "rheude_2024_layers": lambda: _layers(first, shown[0][1]),
    }
    out = {}
    for name, make in makers.items():
        path = folder / f"reproduction_{name}.png"
        if not (store.old and path.is_file() and not all(maps for _, maps in shown)):
            make().savefig(path)
        out[name] = path
    return out


def _methods(shown: Sequence[tuple[Case, Mapping[str, np.ndarray]]], names: Sequence[str]) -> Figure:
    """Draw cases as rows; image, prediction and maps as columns."""
    rows = []
    for case, maps in shown:
        predicted = case.predicted()
        most = f"RISE {case.masks}"
        chosen = [maps.get(most if name == "RISE" else name) for name in names]
        ground = case.image.channels_first().astype(float).mean(0)
        tiles: list[Tile] = [(_slice(ground, predicted), "grey"), (_slice(predicted, predicted), "mask")]
        for map in chosen:
            flat = map is not None and map.dtype == bool
            tiles.append((None if map is None else _slice(map, predicted), "mask" if flat else "map"))
        rows.append((case.key, tiles))
    return _grid(rows, ["image", "prediction", *(name.replace(", ", "\n") for name in names)])


def _layers(case: Case, maps: Mapping[str, np.ndarray]) -> Figure:
    """Draw the levels of a network as rows: encoder and decoder, for both methods (figure 8 of the paper)."""
    blocks = list(dict.fromkeys(name.split(" at ")[1] for name in maps if " at " in name))
    outline = {layer.name: layer for layer in case.model.outline}
    encoder = [name for name in blocks if outline[name].stage == "encoder"]
    decoder = [name for name in blocks if outline[name].stage == "decoder"][::-1]
    deepest = [name for name in blocks if outline[name].stage == "bottleneck"]
    levels = [*zip(encoder, decoder, strict=False), *((name, None) for name in deepest)]
    rows = []
    for left, right in levels:
        tiles: list[Tile] = [
            (maps.get(f"{method} at {name}") if name else None, "map")
            for name in (left, right)
            for method in METHODS
        ]
        rows.append((left if right is None else f"{left}\n{right}", tiles))
    columns = [f"{place}\n{method}" for place in ("encoder", "decoder") for method in METHODS]
    return _grid(rows, columns)


def _slice(array: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """Return the slice of a volume, across its last axis, with the largest object; 2D images as they are."""
    if array.ndim == 2:
        return array
    best = int(predicted.sum((0, 1)).argmax())
    return array[:, ::-1, best].T


def _grid(rows: Sequence[tuple[str, Sequence[Tile]]], columns: Sequence[str]) -> Figure:
    figure = Figure(figsize=(0.4 + 1.5 * len(columns), 0.5 + 1.5 * len(rows)), dpi=100, layout="constrained")
    axes = figure.subplots(len(rows), len(columns), squeeze=False)
    for row, (title, tiles) in zip(axes, rows, strict=True):
        row[0].set_ylabel(title, fontsize=7)
        for axis, (array, kind) in zip(row, tiles, strict=True):
            axis.set(xticks=[], yticks=[])
            if array is None:
                axis.set_facecolor("0.9")
                continue
            if kind == "map":  # what the metrics see: the positive part
                axis.imshow(np.clip(array, 0, None), cmap="inferno", vmin=max(0.0, float(array.min())))
            else:
                axis.imshow(array, cmap="gray")
    for axis, title in zip(axes[0], columns, strict=True):
        axis.set_title(title, fontsize=7)
    return figure
