"""Arrays of an explanation as files; what they are called."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_segxai.core.chart import Chart
from napari_segxai.core.errors import UserError
from napari_segxai.core.gallery import Gallery
from napari_segxai.core.image import Image
from napari_segxai.core.prediction import painted
from napari_segxai.core.record import as_json
from napari_segxai.figures.gallery import draw_gallery
from napari_segxai.figures.style import write_figure
from napari_segxai.io import Kind, write_volume
from napari_segxai.io.galleries import write_galleries
from napari_segxai.io.names import file_names

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from napari_segxai.models.card import ModelCard


CHARTS, FIGURE = "charts.json", "figure"

ALWAYS_WRITTEN = ("saliency.nii.gz", "prediction.nii.gz")
"""Files that every explanation has, of labels that exclude each other."""


RESERVED = (
    "saliency",
    "saliency_native",
    "prediction",
    "dilation_stages",
    "region",
    "charts",
    FIGURE,
    "record",
)
"""Files of every explanation; a method's own maps and masks get other names."""


def always_written(card: ModelCard) -> Sequence[str]:
    """Return the files that every explanation of a model has."""
    if not card.overlapping:
        return ALWAYS_WRITTEN
    masks = file_names((("prediction", name) for name in card.labels[1:]), taken=RESERVED)
    names = ["saliency", *masks.values(), *(["prediction"] if card.paint_order else [])]
    return [f"{name}.nii.gz" for name in names]


def write_on_grid(
    folder: Path, image: Image, description: str, name: str, array: np.ndarray, kind: Kind
) -> None:
    """Write an array on the grid of an image as .nii.gz, in 2D also as TIFF (maps) or PNG (labels).

    Parameters
    ----------
    image
        Without a time axis.
    description
        A line for file headers, which hold ASCII alone.
    name
        Of the file, without its ending.
    """
    endings = [".nii.gz"]
    if image.spatial_dims == 2:
        endings.append(".tif" if kind == "image" else ".png")
    for ending in endings:
        write_volume(folder / f"{name}{ending}", array, image, kind=kind, description=description)


def write_prediction(
    prediction: np.ndarray,
    model: Mapping[str, Any],
    files: Mapping[Any, str],
    write: Callable[[str, np.ndarray, Kind], None],
    stem: str = "prediction",
) -> str | dict[str, str]:
    """Write a prediction: one label image, or, of labels that may overlap, a mask for every label, and one if they are painted.

    Parameters
    ----------
    prediction
        As `SegmentationModel.predict` returns it.
    model
        What a record says of the model.
    files
        Of labels that may overlap the file names, by (`stem`, label).
    write
        Writes an array by its name.
    stem
        Name of the file; "truth" for what has the form of a prediction and is none.

    Returns
    -------
    str or dict
        The name of the file, or of the file for every label; see `load.read_prediction`.
    """
    if not model["overlapping"]:
        write(stem, prediction, "labels")
        return stem
    labels, order = model["labels"], model.get("paint_order")
    if order is not None:
        write(stem, painted(prediction, [labels.index(name) for name in order]), "labels")
    for mask, name in zip(prediction, labels[1:], strict=True):
        write(files[stem, name], mask.astype(np.uint8), "labels")
    return {name: files[stem, name] for name in labels[1:]}


def figure_of(method: str, charts: Sequence[Chart], galleries: Sequence[Gallery], number: int = 0) -> Figure:
    """Draw one of the charts of a result, or of the galleries behind them.

    Raises
    ------
    UserError
        If there is none of this number.
    """
    from napari_segxai.figures.charts import draw_chart
    from napari_segxai.figures.style import PAGE

    shown = (*charts, *galleries)
    if not 0 <= number < len(shown):
        raise UserError(
            f"figure: number is {number}; of {method} there are {len(shown)} charts and galleries, counted from 0."
        )
    one = shown[number]
    return draw_chart(one, width=PAGE) if isinstance(one, Chart) else draw_gallery(one)


def write_shown(
    folder: Path, charts: Sequence[Chart], galleries: Sequence[Gallery], taken: Collection[str] = ()
) -> list[dict[str, Any]]:
    """Write the charts of a result as data, its galleries, and the first of them as a figure.

    Parameters
    ----------
    taken
        File names, without endings, that belong to something else.

    Returns
    -------
    list of dict
        What its record says of the galleries.
    """
    if charts:
        told = as_json([chart.as_json() for chart in charts])
        (folder / CHARTS).write_text(told + "\n", encoding="utf-8")
    told_galleries = write_galleries(folder, galleries, taken)
    if charts or galleries:
        figure = figure_of("", charts, galleries)
        for kind in ("png", "svg"):
            write_figure(figure, folder / f"{FIGURE}.{kind}")
    for one, about in zip(galleries, told_galleries, strict=True):
        if charts or one is not galleries[0]:
            write_figure(draw_gallery(one), folder / f"{about['file']}.png")
    return told_galleries


def write_native(
    folder: Path, native: np.ndarray, affine: np.ndarray | None, explained: Image, description: str
) -> None:
    """Write a map at the network layer's own resolution, placed in the world when the image is."""
    path = folder / ("saliency_native.nii.gz" if native.ndim == 3 else "saliency_native.tif")
    write_volume(path, native, native_image(native, affine, explained), description=description)


def native_image(native: np.ndarray, affine: np.ndarray | None, explained: Image) -> Image:
    """Return the grid of a map at the resolution of its network layer as an image."""
    if native.ndim == 2:
        return Image(native)
    spacing = None
    if affine is None:
        zoom = np.divide(explained.spatial_shape, native.shape)
        spacing = tuple(float(s * z) for s, z in zip(explained.spacing, zoom, strict=True))
    told = {key: explained.header[key] for key in ("format", "units") if key in explained.header}
    return Image(native, affine=affine, spacing=spacing, units=explained.units, header=told)
