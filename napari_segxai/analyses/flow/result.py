"""Information flow: where in a network, layer by layer, the evidence for each label lies.

A single Seg-Grad-CAM map misleads (Hasany, Petitjean, Meriaudeau 2025, "Do's and don'ts of Grad-CAM in image
segmentation"): the bottleneck sees all but does not decide, the last decoder layer decides but sees little. Seen for
every network layer on one scale, the same maps tell how information flows. All labels share one forward pass; each
takes one backward pass, in which every layer's gradient is reduced to its map and numbers as it comes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from napari_segxai.analyses.explain.display import display_of
from napari_segxai.analyses.explain.files import RESERVED, write_on_grid, write_prediction
from napari_segxai.analyses.explain.on_image import coarse_note, layer_map, native_map, note_against
from napari_segxai.analyses.explain.result import Explanation, write_explanation
from napari_segxai.analyses.flow.evidence import margin, route, stays_from
from napari_segxai.analyses.flow.plan import FlowPlan
from napari_segxai.analyses.flow.tiles import NUMBERS, Tile, best_position, extent, limit, upright
from napari_segxai.core.errors import known_name
from napari_segxai.core.image import Image
from napari_segxai.core.paths import user_path
from napari_segxai.core.progress import Passes
from napari_segxai.core.record import SCHEMA, Record
from napari_segxai.core.target import Target
from napari_segxai.engine.question import Question
from napari_segxai.figures.flow import Cell, draw_flow
from napari_segxai.figures.planes import cut
from napari_segxai.figures.style import write_figure
from napari_segxai.io.arrays import write_arrays
from napari_segxai.io.names import file_names
from napari_segxai.io.saving import complete, replacing, save_folder
from napari_segxai.io.tables import write_csv
from napari_segxai.methods.registry import find_method, options_as_dict
from napari_segxai.models.introspection.layers import NetworkLayer
from napari_segxai.models.preprocessing.spatial import Placement
from napari_segxai.models.segmentation import SegmentationModel

if TYPE_CHECKING:
    from matplotlib.figure import Figure

KIND = "information flow"
"""What the record of a folder says that it holds."""

TABLE, MAPS = "flow.csv", "maps.npz"
ALWAYS_WRITTEN = (TABLE, "flow.png", "flow.svg", MAPS)
"""Files that every information flow has."""

CURVES = {
    "energy_inside": "energy inside the prediction",
    "dice": "Dice at half the maximum",
    "ability": "segmentation ability",
    "lost": "Dice lost, mean ablation",
    "lost_skip": "Dice lost, mean ablation of the skip",
    "lost_zero": "Dice lost, zero ablation",
    "lost_skip_zero": "Dice lost, zero ablation of the skip",
    "relevance": "share of the score, as relevance",
    "relevance_skip": "share of the score across the skip",
}
"""What the figure draws over depth: attribute of a tile -> words."""


@dataclass
class Flow:
    """The evidence for every label at every network layer; names that it has not are refused (`UserError`).

    Attributes
    ----------
    image
        The image that was looked into.
    method, options
        Which map, with which parameters.
    layers
        The network layers, in order of execution.
    labels
        The labels, by name.
    tiles
        By (label, name of the network layer).
    passes
        What it cost: forward and backward passes.
    placement
        Where the model grid lies on the grid of the image.
    drawn
        By label: boolean (*model grid), where it is predicted.
    facts
        What every record of this flow says: target (region, score, reduction), model, image, device, seed, slice,
        axis, unit, engine, created, versions.
    region
        Boolean, on the grid of the image: the region that was asked about, where it was drawn; else None.
    seconds
        Wall-clock time.
    warnings
        What concerns no single tile.
    notes
        By label, what every explanation of one of its tiles says.
    missed
        By label, for those that are predicted but not in the region: the beginning of a sentence that says so.
    truth
        The true labels, in the form of a prediction, if they were given.
    truth_notes
        What was done to bring them to the grid of the image, in sentences.
    bottlenecks
        Names of the network layers in which resolution is lowest.
    attention
        Whether the network has attention layers.
    plan
        What was asked; None for a flow that was opened from a folder.
    question
        What the causal check runs on; None for a flow that was opened from a folder, until a check has run.
    """

    image: Image
    method: str
    options: Any
    layers: tuple[NetworkLayer, ...]
    labels: tuple[str, ...]
    tiles: dict[tuple[str, str], Tile]
    passes: Passes
    placement: Placement
    drawn: dict[str, np.ndarray]
    facts: dict[str, Any]
    region: np.ndarray | None = None
    seconds: float = 0.0
    warnings: list[str] = field(default_factory=list)
    notes: dict[str, list[str]] = field(default_factory=dict)
    missed: dict[str, str] = field(default_factory=dict)
    truth: np.ndarray | None = None
    truth_notes: list[str] = field(default_factory=list)
    bottlenecks: tuple[str, ...] = ()
    attention: bool = False
    plan: FlowPlan | None = field(default=None, repr=False)
    question: Question | None = field(default=None, repr=False)
    known_prediction: np.ndarray | None = field(default=None, repr=False)

    def __repr__(self) -> str:
        return f"Flow({self.method} of {list(self.labels)} at {len(self.layers)} network layers)"

    @property
    def model(self) -> SegmentationModel | None:
        """What was looked into; None for a flow that was opened from a folder, until a check has run."""
        return None if self.question is None else self.question.model

    @property
    def prediction(self) -> np.ndarray:
        """The prediction on the grid of the image, as `SegmentationModel.predict` returns it."""
        if self.known_prediction is None:  # made when it is first needed: it takes a second for many labels
            model, shape = self.question.model, self.image.spatial_shape
            blank = model.labeling.blank(len(model.labels), shape)
            self.known_prediction = model.labeling.on_image(self.question.logits[0], self.placement, blank)
        return self.known_prediction

    @property
    def rows(self) -> list[dict[str, Any]]:
        """One row per label and network layer."""
        return [self.tiles[label, layer.name].as_row() for label in self.labels for layer in self.layers]

    def curve(self, label: str, quantity: str) -> list[float]:
        """Return one number per network layer, NaN where there is none.

        Parameters
        ----------
        label : str
            By name.
        quantity : str
            A number of a tile, such as "dice"; see the columns of `rows`.
        """
        known_name(quantity, NUMBERS, "a tile has no number")
        values = [getattr(tile, quantity) for tile in self._tiles_of(label)]
        return [float("nan") if value is None else float(value) for value in values]

    def emergence(self, label: str) -> NetworkLayer | None:
        """Return the network layer from which every map at half its maximum has a Dice of 0.5 with the prediction.

        Parameters
        ----------
        label : str
            By name.
        """
        values = self.curve(label, "dice")
        start = stays_from(values)
        return self.layers[start] if start < len(values) else None

    def emergence_margin(self, label: str) -> float:
        """Return by how much a Dice would have to change for the label to emerge at another network layer.

        Parameters
        ----------
        label : str
            By name.
        """
        return margin(self.curve(label, "dice"))

    def route(self, label: str) -> str:
        """Say, after `causal_check`, whether the object came up through the bottleneck or across a skip connection.

        Both kinds of ablation are told where they disagree about it.

        Parameters
        ----------
        label : str
            By name.

        Returns
        -------
        str
            A sentence, or two; "" without a causal check.
        """
        tiles = self._tiles_of(label)
        bottleneck = next((tile for tile in tiles if tile.layer.name in self.bottlenecks[-1:]), None)
        return route(label, tiles, bottleneck)

    def _tiles_of(self, label: str) -> list[Tile]:
        """Return the tiles of a label, in order of execution; raises UserError if the flow has no such label."""
        known_name(label, self.labels, "this information flow has no label")
        return [self.tiles[label, layer.name] for layer in self.layers]

    def target(self, label: str) -> Target:
        """Return what was asked about a label.

        Parameters
        ----------
        label : str
            By name.
        """
        return Target.from_dict({**self.facts["target"], "label": label}, self.region)

    def explanation(self, label: str, layer: str) -> Explanation:
        """Return one tile as an `Explanation` on the image grid, as `explain` would give it for that layer.

        Parameters
        ----------
        label, layer : str
            A label and a network layer of the flow, by name.

        Returns
        -------
        Explanation
            Nothing is run for it.
        """
        known_name(label, self.labels, "this information flow has no label")
        known_name(layer, (one.name for one in self.layers), "this information flow has no network layer")
        tile, place = self.tiles[label, layer], self.placement
        values, method = torch.from_numpy(tile.map), find_method(self.method)
        map = layer_map(values, place)
        native, native_affine = native_map(values, place, self.image)
        numbers = {key: value for key, value in tile.as_row().items() if isinstance(value, int | float)}
        warnings = [*self.notes[label], *tile.advice, *coarse_note(values, place), *note_against(method, map)]
        told = {key: value for key, value in self.facts.items() if key not in ("target", "unit")}
        record = Record(
            method=self.method,
            parameters={**options_as_dict(self.options), "layer": layer},
            target={**self.facts["target"], "label": label},
            passes=self.passes.as_dict(),
            seconds=round(self.seconds, 3),
            results=numbers,
            warnings=list(dict.fromkeys(warnings)),
            display=display_of(map, self.facts["unit"]),
            partial=False,
            **told,
        )
        return Explanation(
            map, self.image, record, self.prediction, native, native_affine, region=self.region
        )

    def save(
        self, folder: str | Path, *, tiles: Sequence[tuple[str, str]] = (), overwrite: bool = False
    ) -> list[Path]:
        """Write flow.csv (one row per label and layer), flow.png, flow.svg and what `load_flow` opens again, with record.json.

        Parameters
        ----------
        folder : str or Path
            Made if it is not there.
        tiles : sequence of (str, str)
            (label, network layer) whose maps are written as explanations, each to a folder in `folder`.
        overwrite : bool
            Whether results that are there are replaced.

        Returns
        -------
        list of Path
            What was written, the record last.

        Raises
        ------
        UserError
            If the folder holds results already and `overwrite` is False, or cannot be written.
        """
        explanations = {tile_folder(self, Path(), *key): self.explanation(*key) for key in tiles}

        def write(new: Path) -> dict[str, Any]:
            figure = flow_figure(self)
            for ending in ("png", "svg"):
                write_figure(figure, new / f"flow.{ending}", dpi=figure.dpi)
            facts = write_flow(self, new)
            for name, explanation in explanations.items():
                (new / name).mkdir()
                complete(new / name, write_explanation(explanation, new / name))
            return {
                **facts,
                "tiles": [[*key, path.as_posix()] for key, path in zip(tiles, explanations, strict=True)],
            }

        return save_folder(user_path(folder), write, overwrite=overwrite)


def write_flow(flow: Flow, folder: Path) -> dict[str, Any]:
    """Write what `load_flow` opens, without figures and tiles, and return what its record says."""
    write_csv(folder / TABLE, flow.rows)
    arrays = {f"drawn_{row}": flow.drawn[label] for row, label in enumerate(flow.labels)}
    for row, label in enumerate(flow.labels):
        for column, layer in enumerate(flow.layers):
            arrays[f"map_{row}_{column}"] = flow.tiles[label, layer.name].map
    write_arrays(folder / MAPS, arrays)
    model = flow.facts["model"]
    write = partial(write_on_grid, folder, flow.image, f"napari-segxai {KIND}")
    files = file_names([("prediction", name) for name in model["labels"]], taken=RESERVED)
    prediction = write_prediction(flow.prediction, model, files, write)
    truth = None
    if flow.truth is not None:
        files = file_names(
            [("truth", name) for name in model["labels"]], taken=(*RESERVED, *files.values(), "truth")
        )
        truth = write_prediction(flow.truth, model, files, write, "truth")
    if flow.region is not None:
        write("region", flow.region.astype(np.uint8), "labels")
    tiles = [flow.tiles[label, layer.name] for label in flow.labels for layer in flow.layers]
    return {
        "schema": SCHEMA,
        "kind": KIND,
        "tiles": [],
        "method": flow.method,
        "parameters": options_as_dict(flow.options),
        "labels": list(flow.labels),
        "layers": [layer.name for layer in flow.layers],
        **flow.facts,
        "passes": flow.passes.as_dict(),
        "seconds": round(flow.seconds, 3),
        "warnings": list(flow.warnings),
        "notes": flow.notes,
        "missed": flow.missed,
        "bottlenecks": list(flow.bottlenecks),
        "attention": flow.attention,
        "network_layers": [asdict(layer) for layer in flow.layers],
        "placement": asdict(flow.placement),
        "prediction": prediction,
        "truth": truth,
        "truth_notes": list(flow.truth_notes),
        "advice": [[asdict(remark) for remark in tile.remarks] for tile in tiles],
    }


def tile_folder(flow: Flow, folder: Path, label: str, layer: str) -> Path:
    """Return where in `folder` the explanation of one tile is written."""
    return folder / file_names(flow.tiles)[label, layer]


def save_figure(flow: Flow, path: Path, *, common: bool = False, position: float | None = None) -> Path:
    """Write the figure as PNG, SVG or PDF, by the ending of `path`."""
    figure = flow_figure(flow, common=common, position=position)
    with replacing(path) as beside:
        write_figure(figure, beside, dpi=figure.dpi)
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
    place, image = flow.placement, flow.image
    drawn = [upright(flow.drawn[label], place, image) for label in flow.labels]
    position = best_position(drawn) if position is None else position
    cells = []
    for label in flow.labels:
        emerged, row = flow.emergence(label), []
        for layer in flow.layers:
            tile = flow.tiles[label, layer.name]
            inside = "–" if np.isnan(tile.energy_inside) else f"{tile.energy_inside:.2f}"
            row.append(
                Cell(
                    cut(upright(tile.map, place, image), position),
                    limit(flow.tiles.values() if common else [tile]),
                    f"max {tile.maximum:.2g}\ninside {inside} · Dice {tile.dice:.2f}",
                    layer == emerged,
                )
            )
        cells.append(row)
    curves = [(title, [flow.curve(label, name) for label in flow.labels]) for name, title in CURVES.items()]
    scale = "one colour scale" if common else "each tile on its own colour scale"
    return draw_flow(
        cells,
        [cut(values, position) for values in drawn],
        [(title, lines) for title, lines in curves if np.isfinite(lines).any()],
        labels=flow.labels,
        layers=[(layer.name, layer.stage) for layer in flow.layers],
        size=extent(place, image),
        title=f"{flow.method} · {flow.facts['model']['name']} · {image.name} · {scale}",
    )
