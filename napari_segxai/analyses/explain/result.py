"""The result of explaining: maps, masks and numbers on the image grid, and the record of how they came about."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from napari_segxai.core import orientation
from napari_segxai.core.image import Image, frame_words
from napari_segxai.core.prediction import label_image, painted, where


@dataclass
class Record:
    """Provenance of one explanation: everything needed to make it again.

    Attributes
    ----------
    method, parameters, target, model, image, device, seed
        What was asked, of what, with what. `parameters` holds every parameter, defaults included.
    slice
        For a 2D model on a volume: the slice, counted as napari shows it; None for all.
    passes
        Forward and backward passes that were run.
    seconds
        Wall-clock time.
    results
        The method's numbers, e.g. Dice explained; for a 2D model on every slice: one mapping per slice.
    warnings
        What a user should know before believing the map.
    display
        How the map is meant to be shown; the stored values are raw.
    partial
        Whether the run was stopped before its end.
    created
        UTC time.
    versions
        Of the packages that computed it.
    engine
        How it was computed, e.g. with how many digits.
    axis
        For a 2D model on a volume: the axis across which its slices lie, counted as napari shows it.
    trust
        Verdicts of the trust checks that were run, one mapping each.
    """

    method: str
    parameters: dict[str, Any]
    target: dict[str, Any]
    model: dict[str, Any]
    image: dict[str, Any]
    device: str
    seed: int
    slice: int | None
    passes: dict[str, int]
    seconds: float
    results: dict[str, Any]
    warnings: list[str]
    display: dict[str, Any]
    partial: bool
    created: str
    versions: dict[str, str]
    engine: dict[str, Any] = field(default_factory=dict)
    axis: int | None = None
    trust: list[dict[str, Any]] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """Return the record as plain dicts, lists and numbers."""
        return asdict(self)

    def as_json(self) -> str:
        """Return the record as JSON text; numbers that are not finite become null."""
        return as_json(self.as_dict())


@dataclass
class Explanation:
    """What explains one prediction, on the grid of the image.

    Attributes
    ----------
    map
        float32, shape of the image grid: the raw saliency map, signed, not normalised.
    native
        The map at the resolution of the network layer, in the image's axis order; None when the method works
        on the image grid.
    native_affine
        Affine of `native` to RAS+ millimetres; None without an image affine.
    maps
        Further maps by name, e.g. checkpoints.
    masks
        Boolean masks by name, e.g. "sufficient_region".
    stages
        Whole numbers, 0 outside: the stage at which a pixel came in; None for methods without stages.
    stage_table
        One row per stage: stage, dilations, radius, Dice, size.
    curves
        Columns of numbers by curve.
    prediction
        As `SegmentationModel.predict` returns it: the label of every pixel, or a mask per label if they may overlap.
    image
        The image that was explained.
    record
        How it came about.
    """

    map: np.ndarray
    image: Image
    record: Record
    prediction: np.ndarray
    native: np.ndarray | None = None
    native_affine: np.ndarray | None = None
    maps: dict[str, np.ndarray] = field(default_factory=dict)
    masks: dict[str, np.ndarray] = field(default_factory=dict)
    stages: np.ndarray | None = None
    stage_table: list[dict[str, Any]] = field(default_factory=list)
    curves: dict[str, dict[str, list[float]]] = field(default_factory=dict)

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
    def overlapping(self) -> bool:
        """Whether a pixel can have several labels: then `prediction` is boolean (labels but the background, *grid)."""
        return self.record.model["overlapping"]

    def drawn(self, label: str) -> np.ndarray:
        """Return where a label, by name, is predicted: boolean, on the image grid."""
        return where(self.prediction, self.record.model["labels"].index(label), overlapping=self.overlapping)

    def mass_per_label(self) -> dict[str, float]:
        """Return which labels the evidence lies on: the share of the map's positive mass on each, by the prediction.

        Returns
        -------
        dict
            For every label of the model, by name, in its order: a share in [0, 1], together 1 (unless labels overlap:
            what lies on several counts for each). Empty for a map without positive values. See `metrics.shares.mass_per_label` for other labels than the predicted ones.
        """
        from napari_segxai.metrics.mass import mass_per_label

        found = mass_per_label(
            self.map, self.prediction, self.record.model["labels"], overlapping=self.overlapping
        )
        return {} if found is None else {label: row["share"] for label, row in found.items()}

    def evidence(self) -> str:
        """Say on which labels the evidence for the label lies; "" for a map without positive values."""
        return evidence_in_words(self.mass_per_label(), overlapping=self.overlapping)

    def to_layers(
        self, number: int | None = None, *, prediction: bool = True, about: str | None = None
    ) -> list[tuple[Any, dict, str]]:
        """Return the results as napari layer-data tuples, lowest layer first.

        Volumes with an affine are turned to (I, P, L), as the reader of this plugin shows them; an image that
        was taken from a layer keeps that layer's axes and transform, and lies at the time point that was explained.

        Parameters
        ----------
        number
            In the names, to tell runs apart.
        prediction
            Whether the prediction is among the layers.
        about
            In the names after what a layer is; method and label by default.
        """
        from napari_segxai.io.layer_data import layer_metadata, layer_transform
        from napari_segxai.io.placing import on_axes_of_layer

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
            )
        return layers

    def name_of(self, mask: str) -> str:
        """Return what a mask is called in a list of layers; of a region that is not sufficient by its own tau, that too."""
        shown = SHORT.get(mask, mask.replace("_", " "))
        results, tau = self.record.results, self.record.parameters.get("tau")
        rows = [row for row in results.values() if isinstance(row, dict)] or [results]
        reached = [
            row[SUFFICES[mask]] for row in rows if mask in SUFFICES and row.get(SUFFICES[mask]) is not None
        ]
        return f"{shown}, below tau" if tau is not None and any(dice < tau for dice in reached) else shown

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
        from napari_segxai.analyses.explain.files import save_explanation

        return save_explanation(self, Path(folder), overwrite=overwrite)


SHORT = {"minimally_sufficient_region": "minimal region"}
"""What a mask is called in a list of layers, where long names are cut in the middle."""

SUFFICES = {"sufficient_region": "dice_sufficient", "minimally_sufficient_region": "dice_explained"}
"""Where the results say what Dice a mask reaches that is to be above tau."""

MASK_COLORS = {"sufficient_region": "#4cc9f0", "minimally_sufficient_region": "#3df56b"}
"""Of outlines, which lie on top: colours that neither the stages nor a map without signs have."""

OTHER_MASK = "#f0f0f0"

IN_3D = {"rendering": "attenuated_mip", "attenuation": 0.05}
"""How a map is drawn over its volume in 3D: what lies deeper is dimmed, and the image shows through."""

UNSIGNED = {
    "name": "inferno-fade",
    "colors": np.array(
        [
            [0.00, 0.00, 0.02, 0.0],
            [0.34, 0.06, 0.43, 0.5],
            [0.73, 0.21, 0.33, 0.7],
            [0.98, 0.55, 0.04, 0.85],
            [0.99, 1.00, 0.64, 1.0],
        ]
    ),
}
"""Inferno that fades out towards 0, so that the image stays visible where nothing was found."""

SIGNED = {
    "name": "against-for",
    "colors": np.array(
        [
            [0.30, 0.65, 1.00, 1.0],
            [0.10, 0.25, 0.80, 0.7],
            [0.10, 0.10, 0.10, 0.0],
            [0.85, 0.20, 0.05, 0.7],
            [1.00, 0.75, 0.20, 1.0],
        ]
    ),
}
"""Blue speaks against the label, red for it; it fades out towards 0."""


def evidence_in_words(shares: Mapping[str, float], *, overlapping: bool = False) -> str:
    """Say on which labels most of the evidence lies, as `Explanation.mass_per_label` has it; "" without evidence."""
    ordered = sorted(shares.items(), key=lambda item: -item[1])[:3]
    told = [f"{share:.0%} on {label}" for label, share in ordered if share >= 0.01]
    if not told:
        return ""
    return f"evidence for the label: {', '.join(told)}" + (" (labels overlap)" if overlapping else "")


def stage_colors(count: int) -> dict[int | None, Any]:
    """Return one colour per stage, from the object (bright) to the last dilation (dark)."""
    steps = np.linspace(0, 1, max(count, 2))[:count]
    near, far = np.array([0.98, 0.85, 0.35, 1.0]), np.array([0.25, 0.10, 0.55, 1.0])
    colors: dict[int | None, Any] = {k + 1: near + (far - near) * t for k, t in enumerate(steps)}
    return {None: "transparent", 0: "transparent", **colors}


def _by_label(columns: Mapping[str, Sequence[Any]]) -> dict[str, list[Any]]:
    """Return a features table whose row is found by the label, with the column that napari looks for."""
    n = len(next(iter(columns.values())))
    return {"index": list(range(n)), **{key: list(values) for key, values in columns.items()}}


def as_json(value: Any) -> str:
    """Return plain dicts, lists and numbers as JSON text; numbers that are not finite become null."""
    return json.dumps(_finite(value), indent=2, allow_nan=False, default=str)


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not np.isfinite(value):
        return None
    return value
