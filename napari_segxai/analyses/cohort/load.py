"""Opening a cohort, also one that goes on or was stopped."""

from __future__ import annotations

import os

from napari_segxai.analyses.cohort.result import Cohort, collect
from napari_segxai.core.arguments import checked
from napari_segxai.core.errors import UserError
from napari_segxai.core.paths import user_path
from napari_segxai.io.forms.check import check_form
from napari_segxai.io.held import KINDS, check_schema, look


@checked()
def read_cohort(folder: str | os.PathLike[str]) -> Cohort:
    """Open the folder of a cohort: its tables are put together from what its jobs have kept, also while it runs.

    Parameters
    ----------
    folder : str or path-like
        That of `run_cohort`.

    Returns
    -------
    Cohort
        What there is.

    Raises
    ------
    UserError
        If the folder holds no cohort, or one of a newer version.
    """
    path = user_path(folder)
    if not path.is_dir():
        raise UserError(f"{path}: there is no such folder; name the one that cohort run wrote.")
    held = look(path)
    if held.kind != "cohort":
        said = f"holds {KINDS[held.kind]}, not a cohort" if held.kind else "holds no cohort"
        raise UserError(f"{path} {said}; name the folder that cohort run wrote.")
    check_schema(path, held.record)
    check_form(path, "cohort", held.record)
    return collect(path, held.record)
