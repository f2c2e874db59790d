"""Exporting results for 3D Slicer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from napari_segxai.analyses.cohort.load import read_cohort
from napari_segxai.analyses.cohort.result import Cohort
from napari_segxai.analyses.compare.load import load_comparison
from napari_segxai.analyses.compare.result import Comparison
from napari_segxai.analyses.explain.display import display_of
from napari_segxai.analyses.explain.load import load_explanation
from napari_segxai.analyses.explain.result import Explanation
from napari_segxai.analyses.provenance import now, versions
from napari_segxai.core.arguments import checked
from napari_segxai.core.errors import UserError, ended, nearest
from napari_segxai.core.image import Image
from napari_segxai.core.paths import user_path
from napari_segxai.core.record import SCHEMA
from napari_segxai.export.contents import Grid, layers_of, map_names, marks_of
from napari_segxai.figures.colormaps import SIGNED, UNSIGNED
from napari_segxai.io import read_image, write_volume
from napari_segxai.io.held import RECORD, look
from napari_segxai.io.names import file_names
from napari_segxai.io.saving import check_folder, save_folder
from napari_segxai.io.slicer.markups import write_points
from napari_segxai.io.slicer.script import MapFile, write_script
from napari_segxai.io.slicer.segmentation import segment_ids, write_segmentation
from napari_segxai.models.ground_truth import Truth

KIND = "export for 3D Slicer"
"""What the record says that the folder holds."""

REGIONS, POINTS, SCRIPT = "regions.seg.nrrd", "points.mrk.json", "open_in_slicer.py"


@checked()
def export_to_slicer(
    result: Explanation | Comparison | Cohort | Sequence[Explanation] | str | Path,
    folder: str | Path,
    *,
    case: str | None = None,
    truth: np.ndarray | Image | Mapping[str, np.ndarray | Image] | None = None,
    overwrite: bool = False,
) -> list[Path]:
    """Write a folder that 3D Slicer, and whatever else reads NIfTI and NRRD, opens.

    It holds the image (`image.nii.gz`, or one file per channel), the raw maps (`map_METHOD_LABEL.nii.gz`, float32), all
    regions as segments with names and colours (`regions.seg.nrrd`: sufficient regions, predicted and true labels, dilation
    stages), the points that were asked about and the extreme points of the maps (`points.mrk.json`), and a script for
    Slicer's Python console (`open_in_slicer.py`). All lie on one grid, in millimetres; see docs/slicer.md.

    Parameters
    ----------
    result : Explanation, Comparison, Cohort, sequence of Explanation, str or Path
        What to show; or the folder that one of the first three was saved to. Explanations of a sequence are of one image.
    folder : str or Path
        It is made if it is not there.
    case : str, optional
        Of a cohort: which case.
    truth : ndarray, Image or mapping of these, optional
        As for `compare`. Of labels that may overlap, those that the results are about are written. That of the comparison, or of
        the cohort's case, by default.
    overwrite : bool
        Whether an earlier export, or another result in the folder, is replaced.

    Returns
    -------
    list of Path
        What was written.

    Raises
    ------
    UserError
        If there is nothing to show, the values of the image cannot be read any more, its axes are not at right angles, or
        something cannot be written.

    Examples
    --------
    >>> import napari_segxai as sx
    >>> sx.export_to_slicer("results", "for_slicer")  # doctest: +SKIP
    """
    where = user_path(folder)
    check_folder(where, overwrite=overwrite)
    shown = _shown_of(result, case)
    _check_one_image(shown.explanations)
    if truth is not None:
        shown = replace(shown, truth=truth)
    return save_folder(where, lambda new: _write(new, shown), overwrite=overwrite)


@dataclass(frozen=True)
class _Shown:
    """What is exported.

    Attributes
    ----------
    explanations
        Of one image. Their records say by `method` what they are called here.
    further
        Maps of no method, by name.
    truth
        If it is known.
    """

    explanations: Sequence[Explanation]
    further: Mapping[str, np.ndarray] = field(default_factory=dict)
    truth: Truth | None = None


def _called(name: str, explanation: Explanation) -> Explanation:
    """Return an explanation under the name that its map has in a comparison or cohort, where a method may come twice."""
    return replace(explanation, record=replace(explanation.record, method=name))


def _shown_of(result: Any, case: str | None) -> _Shown:
    """Return what is exported of a result."""
    if isinstance(result, str | Path):
        result = _opened(user_path(result))
    if isinstance(result, Cohort):
        return _of_case(result, case)
    if case is not None:
        raise UserError(f"case {case!r} is for cohorts; leave it out.")
    if isinstance(result, Comparison):
        return _of_comparison(result)
    given = [result] if isinstance(result, Explanation) else list(result)
    if not given:
        raise UserError("there is no explanation to export: name at least one.")
    seen: Counter[tuple[str, Any]] = Counter()
    found = []
    for own in given:
        kind = own.record.method, own.record.target["label"]
        seen[kind] += 1
        found.append(own if seen[kind] == 1 else _called(f"{own.record.method} {seen[kind]}", own))
    return _Shown(found)


def _of_comparison(comparison: Comparison) -> _Shown:
    found = [_called(name, own) for name, own in comparison.explanations.items()]
    if not found:
        raise UserError(
            "the comparison holds arrays alone, and no explanation to export: compare them with a method."
        )
    truth = None if comparison.truth is None else {found[0].record.target["label"]: comparison.truth}
    further = {
        name: values for name, values in comparison.maps.items() if name not in comparison.explanations
    }
    return _Shown(found, further, truth)


def _opened(path: Path) -> Explanation | Comparison | Cohort:
    folder = path.parent if path.name == RECORD else path
    loaders = {"explanation": load_explanation, "comparison": load_comparison, "cohort": read_cohort}
    held = look(folder)
    if held.kind not in loaders:
        said = f"holds {held.words}" if held.kind else "holds no result"
        raise UserError(f"{folder} {said}; name the folder of an explanation, a comparison or a cohort.")
    return loaders[held.kind](folder)  # ty: ignore[invalid-return-type]


def _of_case(cohort: Cohort, case: str | None) -> _Shown:
    cases = {one["id"]: one for one in cohort.record["cases"]}
    if case is None:
        raise UserError(
            f"{cohort.folder.name} is a cohort: name one of its cases, such as {next(iter(cases))!r}."
        )
    if case not in cases:
        raise UserError(f"{cohort.folder.name} has no case {case!r}; {nearest(case, cases)}")
    if cohort.record["keep"] != "all":
        raise UserError(f"{cohort.folder.name} kept tables alone, and no maps: run it again with keep='all'.")
    rows = [row for row in cohort.maps if row["case"] == case]
    done = [row for row in rows if not row["error"]]
    if not done:
        why = rows[0]["error"] if rows else "it has not been run yet"
        raise UserError(f"case {case!r} of {cohort.folder.name} has no map: {ended(why)}")
    truth = cases[case]["truth"]
    found = [_called(row["map"], cohort.explanation(case, row["label"], row["map"])) for row in done]
    return _Shown(found, truth=None if truth is None else read_image(truth))


def _check_one_image(explanations: Sequence[Explanation]) -> None:
    first = explanations[0].image
    for own in explanations:
        if own.image.sha256 != first.sha256:
            raise UserError(
                f"{first.name} and {own.image.name} are different images; export the results of each to a folder of its own."
            )


def _write(new: Path, shown: _Shown) -> dict[str, Any]:
    """Fill an empty folder; returns what its record says."""
    explanations = shown.explanations
    image = explanations[0].image.frame(0)
    grid = Grid.of(image)
    layers, notes = layers_of(explanations, grid, shown.truth)
    images = _write_image(new, explanations[0], image, grid)
    maps: list[tuple[MapFile, float]] = []
    for (position, name), (file, title) in map_names(explanations, shown.further).items():
        own = explanations[position] if position >= 0 else None
        values = shown.further[name] if own is None else own.maps[name] if name else own.map
        write_volume(new / file, values.astype(np.float32), grid.image)
        display = own.record.display if own is not None and not name else display_of(values, "")
        low, high = display["contrast_limits"]
        signed = display["signed"]
        colors = (SIGNED if signed else UNSIGNED)["colors"]
        maps.append((MapFile(file, title, (low, high), colors, signed), float(values.max())))
    if layers:
        write_segmentation(new / REGIONS, layers, grid.affine)
    marks = marks_of(explanations, grid)
    if marks:
        write_points(new / POINTS, "points", marks)
    segments = list(segment_ids(layers))
    hidden = [name for name, segment in segments if not segment.shown]
    write_script(new / SCRIPT, images, maps, hidden, bool(marks))
    return {
        "kind": KIND,
        "schema": SCHEMA,
        "created": now(),
        "versions": versions(),
        "image": image.name,
        "maps": {one.file: one.name for one, _ in maps},
        "segments": [segment.name for _, segment in segments],
        "points": [mark.label for mark in marks],
        "warnings": notes,
    }


def _write_image(new: Path, explanation: Explanation, image: Image, grid: Grid) -> list[str]:
    """Write the image: in one file if it is grey or in colours, else in one per channel."""
    colors = image.channels in (3, 4) and image.dtype == np.uint8 and image.header.get("rgb", True)
    if image.channel_axis is not None and colors:
        values = np.moveaxis(image.channels_first(), 0, -1)
        colored = Image(
            values,
            affine=grid.image.affine,
            channel_axis=values.ndim - 1,
            spacing=grid.image.spacing,
            units=grid.image.units,
            name=image.name,
            layer=grid.image.layer,
        )
        write_volume(new / "image.nii.gz", values, colored)
        return ["image.nii.gz"]
    if image.channels == 1:
        write_volume(new / "image.nii.gz", image.channels_first()[0], grid.image)
        return ["image.nii.gz"]
    told = explanation.record.image.get("channels", [])
    names = [one["name"] for one in told] if len(told) == image.channels else []
    names = names or [f"channel {k}" for k in range(image.channels)]
    keys = [("image", name if names.count(name) == 1 else f"{name} {k}") for k, name in enumerate(names)]
    files = [f"{file}.nii.gz" for file in file_names(keys).values()]
    for file, values in zip(files, image.channels_first(), strict=True):
        write_volume(new / file, values, grid.image)
    return files
