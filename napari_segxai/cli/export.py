"""The command `export`: results as files that 3D Slicer opens."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from napari_segxai.cli.common import Overwrite, Truth, folder_of, read_truth_option


def export(
    result: Annotated[
        Path,
        typer.Argument(metavar="RESULT", help="The folder of an explanation, a comparison or a cohort."),
    ],
    out: Annotated[
        Path, typer.Option("--out", parser=folder_of, metavar="PATH", help="Folder for the files.")
    ],
    case: Annotated[str | None, typer.Option("--case", metavar="ID", help="Of a cohort: which case.")] = None,
    truth: Truth = None,
    overwrite: Overwrite = False,
) -> None:
    """Write image, maps, segments and points for 3D Slicer, with a script that opens them."""
    from napari_segxai import export_to_slicer
    from napari_segxai.io.saving import check_folder

    check_folder(out, overwrite=overwrite)
    for path in export_to_slicer(result, out, case=case, truth=read_truth_option(truth), overwrite=overwrite):
        print(path)
