"""The public function that writes a report."""

from __future__ import annotations

import os
from pathlib import Path

from napari_segxai.analyses.cohort.load import read_cohort
from napari_segxai.analyses.cohort.report.content import content_of
from napari_segxai.analyses.cohort.report.html import html_of
from napari_segxai.analyses.cohort.report.names import Names
from napari_segxai.analyses.cohort.report.pdf import write_pdf
from napari_segxai.analyses.cohort.report.tables import write_tables
from napari_segxai.analyses.cohort.result import Cohort
from napari_segxai.core.arguments import checked, whole_number
from napari_segxai.core.errors import UserError
from napari_segxai.core.extras import need
from napari_segxai.core.paths import user_path
from napari_segxai.io.saving import check_file, ready_folder, replacing
from napari_segxai.io.tables import write_csv

ENDINGS = (".html", ".pdf")


@checked()
def write_report(
    cohort: Cohort | str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    anonymous: bool = False,
    key: str | os.PathLike[str] | None = None,
    tables: str | os.PathLike[str] | None = None,
    seed: int = 0,
) -> list[Path]:
    """Write the report of a cohort: data, model, settings, every study that applies with its charts and what speaks against it,
    the worst cases with their maps, what failed, versions, and BibTeX of what was used.

    No path and nothing of the header of an image is in it.

    Parameters
    ----------
    cohort : Cohort, str or path-like
        A cohort, or its folder.
    out : str or path-like
        Ending in .html, one file without scripts that needs nothing else; or in .pdf.
    anonymous : bool
        Whether numbers take the place of the names of cases and subjects, in tables, sentences and pictures alike.
    key : str or path-like, optional
        Where to write which number is which case (CSV); with `anonymous` alone.
    tables : str or path-like, optional
        Folder for every table as CSV and for LaTeX, and references.bib.
    seed : int
        Seed of the studies.

    Returns
    -------
    list of Path
        What was written, the report first.

    Raises
    ------
    UserError
        If the ending is another, something cannot be written, or a package for it is missing.
    """
    path = user_path(out)
    if path.suffix.lower() not in ENDINGS:
        raise UserError(f"{path}: a report ends in {' or '.join(ENDINGS)}.")
    if key is not None and not anonymous:
        raise UserError("key tells which number is which case; it needs anonymous.")
    if path.suffix.lower() == ".html":
        need("jinja2", "cohort", "the report as HTML")
    if key is not None and user_path(key).resolve() == path.resolve():
        raise UserError(f"{path}: is to be both report and key; name another file for one of them.")
    folder = None if tables is None else ready_folder(tables)
    for file in (path, *([user_path(key)] if key is not None else [])):
        check_file(file)
    held = cohort if isinstance(cohort, Cohort) else read_cohort(cohort)
    report = content_of(held, anonymous=anonymous, seed=whole_number(seed, "seed", 0, 2**32 - 1))
    with replacing(path) as beside:
        if path.suffix.lower() == ".pdf":
            write_pdf(report, beside)
        else:
            beside.write_text(html_of(report), encoding="utf-8")
    out_files = [path]
    if key is not None:
        shown = Names(held, anonymous=True).shown
        rows = [{"number": number, "case": case} for case, number in shown.items()]
        out_files.append(write_csv(user_path(key), rows))
    return out_files if folder is None else [*out_files, *write_tables(report, folder)]
