"""The result of explaining: maps, masks and numbers on the image grid, their record, their layers and their files."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_segxai.analyses.explain.display import evidence_in_words, shows_change
from napari_segxai.analyses.explain.files import (
    RESERVED,
    figure_of,
    write_native,
    write_on_grid,
    write_prediction,
    write_shown,
)
from napari_segxai.core import orientation
from napari_segxai.core.chart import Chart
from napari_segxai.core.errors import known_name
from napari_segxai.core.gallery import Gallery
from napari_segxai.core.image import Image, frame_words
from napari_segxai.core.paths import user_path
from napari_segxai.core.prediction import label_image, painted, where
from napari_segxai.core.record import Record, is_number
from napari_segxai.core.target import Target
from napari_segxai.figures.colormaps import MASK_COLORS, OTHER_MASK, SIGNED, UNSIGNED, stage_colors
from napari_segxai.io.names import file_names
from napari_segxai.io.saving import save_folder
from napari_segxai.io.tables import write_csv

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass
class Explanation:
    """The explanation of one prediction, on the grid of the image.

    Attributes
    ----------
    map : ndarray of float32 of shape (*image grid)
        The raw saliency map: signed, not normalised.
    native : ndarray of float32 of shape (*layer grid), or None
        The map at the resolution of the network layer, in the image's axis order; None when the method works
        on the image grid.
    native_affine : ndarray of shape (4, 4), or None
        Affine of `native` to RAS+ millimetres; None without an image affine.
    maps : dict of str to ndarray of float32 of shape (*image grid)
        Further maps by name, e.g. checkpoints.
    series : dict of str to ndarray of float32 of shape (steps, *image grid)
        Images over the steps of a search, by name.
    masks : dict of str to ndarray of bool of shape (*image grid)
        Boolean masks by name, e.g. "sufficient_region".
    stages : ndarray of uint16 of shape (*image grid), or None
        Whole numbers, 0 outside: the stage at which a pixel came in; None for methods without stages.
    stage_table : list of dict
        One row per stage: stage, dilations, radius, Dice, size.
    curves : dict of str to dict of str to list of float
        Columns of numbers by curve.
    tables : dict of str to list of dict
        Rows of plain values by table; what is not defined is None.
    charts : tuple of Chart
        Pictures of axes, as data.
    galleries : tuple of Gallery
        Small pictures in rows.
    region
        Boolean, on the image grid: the region that was asked about, where it was drawn; else None.
    prediction : ndarray of uint8 or uint16 of shape (*image grid), or of bool of shape (labels - 1, *image grid)
        As `SegmentationModel.predict` returns it: the label of every pixel, or a mask per label if they may overlap.
    image : Image
        The image that was explained.
    record : Record
        How it came about.
    """

    map: np.ndarray
    image: Image
    record: Record
    prediction: np.ndarray
    native: np.ndarray | None = None
    native_affine: np.ndarray | None = None
    maps: dict[str, np.ndarray] = field(default_factory=dict)
    series: dict[str, np.ndarray] = field(default_factory=dict)
    masks: dict[str, np.ndarray] = field(default_factory=dict)
    stages: np.ndarray | None = None
    stage_table: list[dict[str, Any]] = field(default_factory=list)
    curves: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    tables: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    charts: tuple[Chart, ...] = ()
    galleries: tuple[Gallery, ...] = ()
    region: np.ndarray | None = None

    def __repr__(self) -> str:
        target = self.record.target["label"]
        return (
            f"Explanation({self.record.method} of {target!r} in {self.image.name!r}, shape {self.map.shape})"
        )

    @property
    def title(self) -> str:
        """Method and label, as results are named."""
        return f"{self.record.method} · {self.record.target['label']}"

    @property
    def target(self) -> Target:
        """What was asked about, as the record tells it."""
        return Target.from_dict(self.record.target, self.region)

    @property
    def overlapping(self) -> bool:
        """Whether a pixel can have several labels: then `prediction` is boolean (labels but the background, *grid)."""
        return self.record.model["overlapping"]

    def drawn(self, label: str) -> np.ndarray:
        """Return where a label, by name, is predicted: boolean, on the image grid.

        Parameters
        ----------
        label : str
            By name, as on the model card.

        Raises
        ------
        UserError
            If the model has no such label.
        """
        labels = self.record.model["labels"]
        position = labels.index(known_name(label, labels, f"{self.record.model['name']} has no label"))
        return where(self.prediction, position, overlapping=self.overlapping)

    def mass_per_label(self) -> dict[str, float]:
        """Return which labels the evidence lies on: the share of the map's positive mass on each, by the prediction.

        Returns
        -------
        dict
            For every label of the model, by name, in its order: a share in [0, 1], together 1 (unless labels overlap:
            what lies on several counts for each). Empty for a map without positive values. See `metrics.functional.mass.mass_per_label` for other labels than the predicted ones.
        """
        from napari_segxai.metrics.functional.mass import mass_per_label

        found = mass_per_label(
            self.map, self.prediction, self.record.model["labels"], overlapping=self.overlapping
        )
        return {} if found is None else {label: row["share"] for label, row in found.items()}

    def evidence(self) -> str:
        """Say on which labels the evidence for the label lies; "" for a map without positive values, or of a change."""
        shares = {} if shows_change(self.record.method) else self.mass_per_label()
        return evidence_in_words(shares, overlapping=self.overlapping)

    def figure(self, number: int = 0) -> Figure:
        """Draw a chart or a gallery of the method.

        Parameters
        ----------
        number : int
            Which of `charts`, and of `galleries` behind them.

        Returns
        -------
        matplotlib.figure.Figure
            Not yet saved.

        Raises
        ------
        UserError
            If the method has none of this number.
        """
        return figure_of(self.record.method, self.charts, self.galleries, number)

    def to_layers(
        self, number: int | None = None, *, prediction: bool = True, about: str | None = None
    ) -> list[tuple[Any, dict, str]]:
        """Return the results as napari layer-data tuples, lowest layer first.

        Volumes with an affine are turned to (I, P, L), as the reader of this plugin shows them; an image that
        was taken from a layer keeps that layer's axes and transform, and lies at the time point that was explained.

        Parameters
        ----------
        number : int, optional
            In the names, to tell runs apart.
        prediction : bool
            Whether the prediction is among the layers.
        about : str, optional
            In the names after what a layer is; method and label by default.
        """
        from napari_segxai.io.layer_data import layer_metadata, layer_transform
        from napari_segxai.io.placing import frames_on_axes_of_layer, on_axes_of_layer

        turn = self.image.to_display
        transform = layer_transform(self.image)
        metadata = {**layer_metadata(self.image), "segxai": self.record.as_dict(), "segxai_number": number}
        run = "" if number is None else f" #{number}"
        suffix = f"{run} · {self.title if about is None else about}"
        suffix += " (partial)" if self.record.partial else ""
        layers: list[tuple[Any, dict, str]] = []

        def add(array: np.ndarray, role: str, name: str, kind: str, **kwargs: Any) -> None:
            own = {**metadata, "segxai_role": role, "segxai_name": name}
            shown = np.ascontiguousarray(orientation.apply(array, turn))
            shown, placed = on_axes_of_layer(shown, self.image.layer)
            layers.append((shown, {**transform, **placed, "metadata": own, "name": name, **kwargs}, kind))

        frame = [words] if (words := frame_words(self.image.at)) else []
        for name, array, visible in self._predicted() if prediction else ():
            add(
                array,
                "prediction",
                " · ".join(["prediction", self.record.model["name"], *name, *frame]),
                "labels",
                opacity=0.4,
                visible=visible,
                features=_by_label({"label": self.record.model["labels"]}),
            )
        if self.stages is not None:
            columns = {key: [row[key] for row in self.stage_table] for key in self.stage_table[0]}
            count = len(self.stage_table)
            add(
                self.stages,
                "dilation_stages",
                f"stages{suffix}",
                "labels",
                colormap=stage_colors(count),
                opacity=0.3,
                features=_by_label(
                    {key: [0 if key == "stage" else np.nan, *v] for key, v in columns.items()}
                ),
            )
        for name, values in self.maps.items():
            end = float(np.abs(values).max()) or 1.0
            add(
                values,
                name,
                name.replace("_", " ") + suffix,
                "image",
                colormap=SIGNED if values.min() < 0 else UNSIGNED,
                contrast_limits=(-end, end) if values.min() < 0 else (0.0, end),
                blending="translucent_no_depth",
                visible=False,
                **IN_3D,
            )
        low, high = self.record.display["contrast_limits"]
        signed = self.record.display["signed"]
        add(
            self.map,
            "saliency",
            f"saliency{suffix}",
            "image",
            colormap=SIGNED if signed else UNSIGNED,
            contrast_limits=(low, high),
            blending="translucent_no_depth",
            opacity=0.75,
            **IN_3D,
        )
        for name, mask in self.masks.items():
            color = MASK_COLORS.get(name, OTHER_MASK)
            add(
                mask.astype(np.uint8),
                name,
                self.name_of(name) + suffix,
                "labels",
                colormap={None: "transparent", 0: "transparent", 1: color},
                opacity=1.0,
                visible=BESIDE.fullmatch(name) is None,
            )
        for name, frames in self.series.items():
            shown, placed = frames_on_axes_of_layer(frames, self.image, transform)
            about_it = {"segxai_role": name, "segxai_name": name}
            title = name.replace("_", " ") + suffix
            own = {"metadata": {**metadata, **about_it}, "name": title, "colormap": "gray"}
            layers.append((shown, {**placed, **own}, "image"))
        return layers

    def name_of(self, mask: str) -> str:
        """Return what a mask is called in a list of layers; a region that does not reach its own tau is called so.

        Parameters
        ----------
        mask : str
            A key of `masks`.
        """
        shown = re.sub(r"^minimally sufficient region", "minimal region", mask.replace("_", " "))
        results, tau = self.record.results, self.record.parameters.get("tau")
        rows = [row for row in results.values() if isinstance(row, dict)] or [results]
        reached = [row.get(SUFFICES[mask]) for row in rows if mask in SUFFICES]
        below = any(dice < tau for dice in reached if is_number(dice) and is_number(tau))
        return f"{shown}, below tau" if below else shown

    def _predicted(self) -> Iterator[tuple[list[str], np.ndarray, bool]]:
        """Label images that show the prediction: what to call each, its values, whether it is shown at first."""
        labels = self.record.model["labels"]
        if not self.overlapping:
            yield [], self.prediction, True
            return
        if (one := self.painted()) is not None:
            yield ["painted"], one, False
        for position, name in enumerate(labels[1:], start=1):
            mask = label_image(self.prediction, position, overlapping=True)
            yield [name], mask, bool(mask.any())

    def painted(self) -> np.ndarray | None:
        """Return overlapping labels as one label image, if the model's card gives the order in which to paint them."""
        order = self.record.model.get("paint_order")
        if order is None:
            return None
        return painted(self.prediction, [self.record.model["labels"].index(name) for name in order])

    def save(self, folder: str | Path, *, overwrite: bool = False) -> list[Path]:
        """Write the maps, masks, stages and the prediction to `folder`, with record.json, as one step.

        The record lists all files and their digests. Results that are there are replaced as a whole with `overwrite`;
        files that no record lists are never touched.

        The prediction of labels that may overlap is a mask per label, "prediction_NAME", and one label image if the
        model's card gives a paint_order.

        Volumes become .nii.gz on the input's grid with the input's affine; 2D images TIFF (maps) and PNG
        (masks, labels), and .nii.gz as well.

        Parameters
        ----------
        folder : str or Path
            It is made if it is not there.
        overwrite : bool
            Whether earlier results in the folder are replaced.

        Returns
        -------
        list of Path
            What was written.

        Raises
        ------
        UserError
            If the folder holds results already and `overwrite` is False, a file that no record lists is in the way, or
            something cannot be written. Then the folder is as it was.
        """
        return save_explanation(self, user_path(folder), overwrite=overwrite)


BESIDE = re.compile(r"needed_windows|minimally_sufficient_region_\d+")
"""Masks that are hidden at first, since they lie upon the one that answers."""

SUFFICES = {"sufficient_region": "dice_sufficient", "minimally_sufficient_region": "dice_explained"}
"""Where the results say what Dice a mask reaches that is to be above tau."""

IN_3D = {"rendering": "attenuated_mip", "attenuation": 0.05}
"""How a map is drawn over its volume in 3D: what lies deeper is dimmed, and the image shows through."""


def _by_label(columns: Mapping[str, Sequence[Any]]) -> dict[str, list[Any]]:
    """Return a features table whose row is found by the label, with the column that napari looks for."""
    n = len(next(iter(columns.values())))
    return {"index": list(range(n)), **{key: list(values) for key, values in columns.items()}}


def save_explanation(
    explanation: Explanation,
    folder: Path,
    *,
    overwrite: bool = False,
    pictures: Mapping[str, np.ndarray] | None = None,
) -> list[Path]:
    """Write every array of an explanation and its record; see `Explanation.save`.

    Parameters
    ----------
    pictures
        Further pictures by file name, e.g. a screenshot: (rows, columns, 3 or 4), uint8.
    """

    def write(new: Path) -> dict[str, Any]:
        facts = write_explanation(explanation, new)
        for name, array in (pictures or {}).items():
            from PIL import Image as Picture

            Picture.fromarray(array).save(new / name)
        return facts

    return save_folder(folder, write, overwrite=overwrite)


def write_explanation(explanation: Explanation, folder: Path) -> dict[str, Any]:
    """Fill an empty folder with the arrays and tables of an explanation; returns what its record says."""
    write = partial(write_on_grid, folder, explanation.image.frame(0), describe(explanation))
    write("saliency", explanation.map, "image")
    labels = explanation.record.model["labels"][1:] if explanation.overlapping else []
    files = file_names(
        [
            *explanation.maps,
            *explanation.series,
            *explanation.masks,
            *(("prediction", name) for name in labels),
        ],
        taken=RESERVED,
    )
    for name, values in explanation.maps.items():
        write(files[name], values, "image")
    for name, frames in explanation.series.items():
        write(files[name], frames, "image")
    for name, mask in explanation.masks.items():
        write(files[name], mask.astype(np.uint8), "labels")
    if explanation.region is not None:
        write("region", explanation.region.astype(np.uint8), "labels")
    if explanation.stages is not None:
        write("dilation_stages", explanation.stages, "labels")
    prediction = write_prediction(explanation.prediction, explanation.record.model, files, write)
    if explanation.native is not None:
        write_native(
            folder, explanation.native, explanation.native_affine, explanation.image, describe(explanation)
        )
    if explanation.stage_table:
        write_csv(folder / "dilation_stages.csv", explanation.stage_table)
    curves = {name: tuple(name.replace("slice ", "slice").split(": ")) for name in explanation.curves}
    tables = file_names(curves.values())
    for name, columns in explanation.curves.items():
        rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
        if rows:
            write_csv(folder / f"curve_{tables[curves[name]]}.csv", rows)
    taken = [*RESERVED, *files.values()]
    more = file_names([("table", name) for name in explanation.tables], taken=taken)
    for name, rows in explanation.tables.items():
        write_csv(folder / f"{more['table', name]}.csv", rows)
    galleries = write_shown(folder, explanation.charts, explanation.galleries, taken)
    return {
        "kind": "explanation",
        **explanation.record.as_dict(),
        "maps": {name: files[name] for name in explanation.maps},
        "series": {name: files[name] for name in explanation.series},
        "masks": {name: files[name] for name in explanation.masks},
        "prediction": prediction,
        "native_affine": explanation.native_affine,
        "stage_table": explanation.stage_table,
        "curves": explanation.curves,
        "tables": explanation.tables,
        "galleries": galleries,
    }


def describe(explanation: Explanation) -> str:
    """Return a line for file headers, which hold ASCII alone."""
    return f"napari-segxai {explanation.record.method} of {explanation.record.target['label']}"
