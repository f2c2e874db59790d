"""Finding the cases of a cohort."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal, get_args

from napari_segxai.core.arguments import checked
from napari_segxai.core.errors import UserError, nearest
from napari_segxai.core.paths import user_path
from napari_segxai.io.cases.bids import bids_cases, is_bids
from napari_segxai.io.cases.case import Cases, image_files
from napari_segxai.io.cases.flat import flat_cases
from napari_segxai.io.cases.nnunet import is_nnunet, nnunet_cases
from napari_segxai.io.cases.pairs import TRUTHS, pair_cases, pair_folders, parted_folders
from napari_segxai.io.cases.subfolders import case_folders, subfolder_cases
from napari_segxai.io.cases.table import TABLES, table_cases

Layout = Literal["auto", "nnunet", "bids", "pairs", "folders", "folder", "table"]
"""nnunet: nnU-Net's raw data, or the Medical Segmentation Decathlon. bids: the brain imaging data structure. pairs: a folder
of images and one of truths. folders: a folder per case. folder: all files in one folder. table: a CSV file."""


@checked()
def find_cases(
    path: str | os.PathLike[str],
    layout: Layout = "auto",
    *,
    truth: str | os.PathLike[str] | None = None,
    channels: Sequence[str] | None = None,
) -> Cases:
    """Find the cases of a cohort: images, the channels of each, truths and groups. Nothing is read but names and tables.

    Parameters
    ----------
    path : str or path-like
        A folder, or a table: a CSV file with the column `image` (or `image_0`, `image_1`, ... for channels), and if wanted
        `id`, `truth`, `group` and `subject`; its paths are relative to it.
    layout : {"auto", "nnunet", "bids", "pairs", "folders", "folder", "table"}
        How it is laid out; by default, what the names in it say.
    truth : str or path-like, optional
        A folder of truths, where the images lie in another one ("pairs"). For BIDS, the word that ends the truths' names,
        such as "dseg" or "mask".
    channels : sequence of str, optional
        Which files make up an image, in the order of the model's channels, by a word of their names: ["T1w", "FLAIR"] of
        BIDS, ["t1", "t1ce", "t2", "flair"] of a folder per case.

    Returns
    -------
    Cases
        A sequence of `Case`, in the order of their names, and what was left out (`left_out`) with the reason.

    Raises
    ------
    UserError
        If there is no case, two have one id, or the layout does not fit.

    Examples
    --------
    >>> import napari_segxai as sx
    >>> cases = sx.find_cases("Dataset042_Liver")  # doctest: +SKIP
    >>> print(cases)  # doctest: +SKIP
    Dataset042_Liver: 131 cases, 118 with truth, 118 of training, 13 of test, 1 left out
    """
    source = user_path(path)
    if layout not in get_args(Layout):
        raise UserError(f"layout {layout!r} is unknown; {nearest(layout, get_args(Layout))}")
    if not source.exists():
        raise UserError(f"{source}: is not there; name a folder of images or a CSV file.")
    if isinstance(channels, str):
        raise UserError(f"channels are a list of words, such as [{channels!r}].")
    words = None if channels is None else tuple(channels)
    if words is not None and (not words or len({word.casefold() for word in words}) < len(words)):
        raise UserError("channels: name each channel once, in the order of the model's channels.")
    try:
        kind = _layout(source, truth is not None) if layout == "auto" else layout
        found = LAYOUTS[kind](source, None if truth is None else os.fspath(truth), words)
    except OSError as error:
        raise UserError(f"{error.filename or source}: cannot be looked into ({error.strerror}).") from None
    if not found.cases:
        why = "; name a folder that holds images, or a table of them (CSV)"
        if found.left_out:
            why = f"; {found.left_out[0].name} {found.left_out[0].reason}"
        raise UserError(f"{source}: holds no case that could be read (looked for layout {kind!r}){why}.")
    asked = {
        "truth": None if truth is None else os.fspath(truth),
        "channels": None if words is None else list(words),
    }
    return replace(found, asked={name: value for name, value in asked.items() if value is not None})


LAYOUTS: dict[str, Callable[[Path, str | None, tuple[str, ...] | None], Cases]] = {
    "nnunet": nnunet_cases,
    "bids": bids_cases,
    "pairs": pair_cases,
    "folders": subfolder_cases,
    "folder": flat_cases,
    "table": table_cases,
}


def _layout(source: Path, has_truth: bool) -> str:
    """Return the layout that the names in a folder tell."""
    if not source.is_dir():
        if source.suffix.lower() in TABLES:
            return "table"
        raise UserError(f"{source}: is one file; name a folder of images, or a table ({', '.join(TABLES)}).")
    if is_nnunet(source):
        return "nnunet"
    if is_bids(source):
        return "bids"
    if has_truth or pair_folders(source) is not None or parted_folders(source):
        return "pairs"
    if image_files(source):
        return "folder"
    held = [one for one, _, _ in case_folders(source, [])]
    truths = [one.name for one in held if one.parent == source and one.name.casefold() in TRUTHS]
    if truths and len(held) > 1:
        raise UserError(
            f"{source}: {truths[0]} seems to hold truths, and is no case; name the folder of images and --truth {truths[0]}, write a "
            "table with a column for every channel, or say --layout folders if it is a case."
        )
    return "folders" if held else "folder"
