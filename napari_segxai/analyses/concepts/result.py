"""The result of a survey: its table, its figure, its layers and its files."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_segxai.analyses.cohort.tables.columns import described
from napari_segxai.analyses.explain.files import FIGURE, figure_of, write_on_grid, write_shown
from napari_segxai.core import orientation
from napari_segxai.core.chart import Chart
from napari_segxai.core.column import Column, titled
from napari_segxai.core.errors import known_name
from napari_segxai.core.gallery import Gallery, shows
from napari_segxai.core.image import Image
from napari_segxai.core.paths import user_path
from napari_segxai.core.record import SCHEMA
from napari_segxai.core.text_table import aligned
from napari_segxai.figures.colormaps import SIGNED, UNSIGNED
from napari_segxai.io.names import file_names
from napari_segxai.io.saving import save_folder
from napari_segxai.io.tables import write_csv
from napari_segxai.methods.registry import all_methods

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TABLE, CASES, COLUMNS = "table.csv", "cases.csv", "columns.csv"
ALWAYS_WRITTEN = (TABLE, CASES, COLUMNS)
"""Files of every survey."""

RESERVED = ("table", "cases", "columns", "charts", FIGURE, "record")

LEAST_SIZE = 65536
"""Bytes of a survey, at least."""


@dataclass(frozen=True, eq=False)
class SurveyMap:
    """A map of one case, on the grid of its image.

    Attributes
    ----------
    case : str
        Id of the case.
    name : str
        What it is of.
    array : callable
        Returns it: float32, on the image grid.
    image : callable
        Returns the image of the case.
    of : mapping
        Which rows of the tables it shows: those with these values in these columns.
    """

    case: str
    name: str
    array: Callable[[], np.ndarray] = field(repr=False)
    image: Callable[[], Image] = field(repr=False)
    of: Mapping[str, Any] = field(default_factory=dict)

    def shows(self, row: Mapping[str, Any]) -> bool:
        """Tell whether it shows a row of a table of its survey; see `core.gallery.shows`."""
        return shows(self.of, self.case, row)


@dataclass(frozen=True, eq=False)
class Survey:
    """What a method found in a folder of cases.

    Attributes
    ----------
    record : mapping
        What was asked, of which model and cases, and how it was computed; see docs/file_formats.md.
    table : list of dict
        What was found; the columns are on the page of the method. What is not defined is None.
    charts : tuple of Chart
        Its pictures, as data.
    maps : tuple of SurveyMap
        Maps of a few cases.
    tables : mapping of str to list of dict
        Further tables by name.
    galleries : tuple of Gallery
        Small pictures in rows, such as crops of cases.
    """

    record: Mapping[str, Any] = field(repr=False)
    table: list[dict[str, Any]] = field(repr=False)
    charts: tuple[Chart, ...] = field(default=(), repr=False)
    maps: tuple[SurveyMap, ...] = field(default=(), repr=False)
    tables: Mapping[str, list[dict[str, Any]]] = field(default_factory=dict, repr=False)
    galleries: tuple[Gallery, ...] = field(default=(), repr=False)

    @property
    def method(self) -> str:
        """Name of the method."""
        return self.record["method"]

    @property
    def sentence(self) -> str:
        """What it says, in one sentence."""
        return self.record["sentence"]

    @property
    def warnings(self) -> list[str]:
        """What a user should know before believing it."""
        return self.record["warnings"]

    @property
    def failed(self) -> dict[str, str]:
        """Why cases could not be used, by id."""
        return {case["id"]: case["error"] for case in self.record["cases"] if case["error"]}

    def column(self, name: str) -> Column:
        """Describe a column of its tables: unit, which end is better, meaning.

        Parameters
        ----------
        name : str
            As a table has it.

        Returns
        -------
        Column
            With `title`, `unit`, `better` and `meaning`; what its method does not describe has a title alone.
        """
        of = next((one.on_cases for one in all_methods("dataset") if one.name == self.method), None)
        return titled(name) if of is None else of.column(name)

    def __str__(self) -> str:
        """The table, and what it says."""
        heads = list(dict.fromkeys(key for row in self.table for key in row))
        rows = [[_cell(row.get(head)) for head in heads] for row in self.table]
        return "\n".join([*([aligned([heads, *rows])] if rows else []), self.sentence])

    def figure(self, number: int = 0) -> Figure:
        """Draw a chart or a gallery, the figure of the method by default.

        Parameters
        ----------
        number : int
            Which of `charts`, and of `galleries` behind them.

        Returns
        -------
        matplotlib.figure.Figure
            Without any, an empty one that bears the sentence.
        """
        from napari_segxai.figures.style import PAGE, new_figure

        if self.charts or self.galleries:
            return figure_of(self.method, self.charts, self.galleries, number)
        figure = new_figure(PAGE, 20)
        figure.text(0.02, 0.5, self.sentence, va="center", wrap=True, parse_math=False)
        return figure

    def to_layers(self, case: str | None = None, name: str | None = None) -> list[tuple[Any, dict, str]]:
        """Return the maps as napari layer-data tuples, each case's image below them.

        Parameters
        ----------
        case : str, optional
            The maps of this case alone.
        name : str, optional
            The maps of this name alone.

        Returns
        -------
        list of tuple
            Images are read now, from where the record says that they lie.

        Raises
        ------
        UserError
            If there is no such map, or an image cannot be read.
        """
        what = f"this survey keeps no map of {'case' if case is not None else 'the name'}"
        if case is not None:
            known_name(case, dict.fromkeys(one.case for one in self.maps), what)
        chosen = [one for one in self.maps if case in (None, one.case)]
        if name is not None:
            known_name(name, dict.fromkeys(one.name for one in chosen), "this survey keeps no map called")
            chosen = [one for one in chosen if one.name == name]
        out: list[tuple[Any, dict, str]] = []
        for of in dict.fromkeys(one.case for one in chosen):
            own = [one for one in chosen if one.case == of]
            out += _layers(of, own[0].image(), own, self.record)
        return out

    def save(self, folder: str | Path, *, overwrite: bool = False) -> list[Path]:
        """Write table, figure, maps and record to a folder, as one step.

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
            If the folder holds results already and `overwrite` is False, or cannot be written.
        """
        return save_folder(user_path(folder), self._write, overwrite=overwrite)

    def _write(self, new: Path) -> dict[str, Any]:
        write_csv(new / TABLE, self.table)
        cases = [
            {key: one[key] for key in ("id", "subject", "slice", "error")} for one in self.record["cases"]
        ]
        write_csv(new / CASES, cases)
        more = file_names(self.tables, taken=RESERVED)
        for name, rows in self.tables.items():
            write_csv(new / f"{more[name]}.csv", rows)
        files = {"table": self.table, **{more[name]: rows for name, rows in self.tables.items()}}
        about = [row for name, rows in files.items() for row in described(name, rows, self.column)]
        write_csv(new / COLUMNS, about)
        galleries = write_shown(new, self.charts, self.galleries, (*RESERVED, *more.values()))
        taken = [*RESERVED, *more.values(), *(one["file"] for one in galleries)]
        files = file_names([(one.case, one.name) for one in self.maps], taken=taken)
        for one in self.maps:
            image = one.image().frame(0)
            write_on_grid(
                new, image, f"napari-segxai {self.method}", files[one.case, one.name], one.array(), "image"
            )
        maps = [
            {"case": one.case, "name": one.name, "file": files[one.case, one.name], "of": dict(one.of)}
            for one in self.maps
        ]
        return {
            "kind": "survey",
            "schema": SCHEMA,
            **self.record,
            "rows": self.table,
            "tables": {name: list(rows) for name, rows in self.tables.items()},
            "maps": maps,
            "galleries": galleries,
        }


def _layers(
    case: str, image: Image, maps: Sequence[SurveyMap], record: Mapping[str, Any]
) -> list[tuple[Any, dict, str]]:
    """Return the layers of one case: its image, and the maps over it."""
    from napari_segxai.io.layer_data import layer_metadata, layer_transform, layers_from_image

    transform, about = layer_transform(image), {**layer_metadata(image), "segxai_survey": dict(record)}
    out: list[tuple[Any, dict, str]] = [
        (values, {**kwargs, "name": f"{case}{kwargs['name'].removeprefix(image.name)}"}, kind)
        for values, kwargs, kind in layers_from_image(image)
    ]
    for one in maps:
        array = one.array()
        signed = bool(array.min() < 0)
        end = float(np.abs(array).max()) or 1.0
        kwargs = {
            "name": f"{one.name} · {case}",
            "metadata": {**about, "segxai_case": case, "segxai_name": one.name},
            "colormap": SIGNED if signed else UNSIGNED,
            "contrast_limits": (-end if signed else 0.0, end),
            "blending": "translucent_no_depth",
            "opacity": 0.75,
        }
        out.append(
            (
                np.ascontiguousarray(orientation.apply(array, image.to_display)),
                {**transform, **kwargs},
                "image",
            )
        )
    return out


def _cell(value: Any) -> str:
    if value is None or value == "":
        return "–"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
