"""A table of cases: a CSV file, with a row per case."""

from __future__ import annotations

import csv
import difflib
import re
from dataclasses import replace
from io import StringIO
from pathlib import Path

from napari_segxai.core.errors import UserError, nearest
from napari_segxai.io import ZARR, ending
from napari_segxai.io.cases.case import TRUTH_WORDS, Case, Cases, LeftOut, listed, stem
from napari_segxai.io.tables import read_table

TABLES = (".csv", ".tsv", ".txt")

COLUMNS = ("image", "id", "truth", "group", "subject")

LARGEST = 2**26
"""Bytes: a table of cases is a small file."""


def table_cases(path: Path, truth: str | None, channels: tuple[str, ...] | None) -> Cases:
    """Return a case per row; paths are relative to the table."""
    if truth is not None or channels is not None:
        raise UserError(
            "a table names truths and channels itself: columns `truth`, `image_0`, `image_1`, ..."
        )
    if path.is_dir() or path.stat().st_size > LARGEST:
        raise UserError(f"{path}: is not a table of cases; give a CSV file.")
    text = read_table(path)
    first, _, rest = text.partition("\n")
    told = re.fullmatch(r'"?sep=([,;|\t])"?\r?', first)  # what a spreadsheet reads as a delimiter, and writes
    if told:
        text, first = rest, rest.partition("\n")[0]
    delimiter = told[1] if told else max(",;\t", key=first.count)
    try:
        rows = list(csv.reader(StringIO(text, newline=""), delimiter=delimiter))
    except csv.Error as error:
        raise UserError(f"{path}: is not a table of cases ({error}); give a CSV file.") from None
    head = [name.strip().lower() for name in rows[0]] if rows else []
    numbered = sorted(
        (name for name in head if re.fullmatch(r"image_\d+", name)), key=lambda name: int(name[6:])
    )
    images = numbered or [name for name in head if name == "image"]
    if not images:
        said = f"; {nearest('image', head)}" if head else ""
        raise UserError(f"{path}: has no column `image` (or `image_0`, `image_1`, ...){said}")
    if len(set(head)) < len(head):
        raise UserError(f"{path}: two columns have one name.")
    _check_head(path, head, numbered)
    cases, left_out = [], []
    for number, row in enumerate(rows[1:], 3 if told else 2):
        if not any(cell.strip() for cell in row):
            continue
        if any(cell.strip() for cell in row[len(head) :]):
            left_out.append(LeftOut(f"row {number}", "has more cells than the table has columns"))
            continue
        cells = {name: cell.strip() for name, cell in zip(head, row, strict=False)}
        found = [_file(path, cells.get(name, "")) for name in images]
        name = cells.get("id") or (stem(found[0]) if found[0] is not None else f"row {number}")
        if None in found:
            lacking = images[found.index(None)]
            said = cells.get(lacking, "")
            left_out.append(
                LeftOut(name, f"names a file that is not there ({said})" if said else f"names no {lacking}")
            )
            continue
        truth_file = _file(path, cells.get("truth", ""))
        if cells.get("truth") and truth_file is None:
            left_out.append(LeftOut(name, f"is taken without truth: there is no file {cells['truth']}"))
        files = tuple(one for one in found if one is not None)
        if len({one.resolve() for one in (*files, truth_file) if one}) < len(files) + (
            truth_file is not None
        ):
            left_out.append(LeftOut(name, "names one file twice"))
            continue
        cases.append(Case(name, files, truth_file, cells.get("group", ""), cells.get("subject", "")))
    return listed(path, "table", _each_image_once(cases, left_out), left_out)


def _each_image_once(cases: list[Case], left_out: list[LeftOut]) -> list[Case]:
    """Return the cases, without those that have image and truth of another; two truths of one image are of one subject."""
    out: dict[tuple[Path, ...], list[Case]] = {}
    for case in cases:
        held = out.setdefault(tuple(one.resolve() for one in case.images), [])
        truths = [one.truth and one.truth.resolve() for one in held]
        if (case.truth and case.truth.resolve()) in truths:
            first = held[truths.index(case.truth and case.truth.resolve())].id
            what = "image and truth" if case.truth else "image"
            left_out.append(LeftOut(case.id, f"has the same {what} as {first}"))
            continue
        if held and case.subject == case.id:
            case = replace(case, subject=held[0].subject)
            left_out.append(
                LeftOut(
                    case.id,
                    f"is taken, as an image of the same subject: it has the image of {held[0].id} and another truth",
                )
            )
        held.append(case)
    return [case for held in out.values() for case in held]


def _check_head(path: Path, head: list[str], numbered: list[str]) -> None:
    """Refuse columns that are not what they seem; others than those that are known may say what they like.

    Raises
    ------
    UserError
        Naming the column.
    """
    if numbered and "image" in head:
        raise UserError(
            f"{path}: has both `image` and `{numbered[0]}`; an image is one file, or one per channel."
        )
    wanted = [f"image_{k}" for k in range(len(numbered))]
    if numbered != wanted:
        raise UserError(f"{path}: its channels are {', '.join(numbered)}; number them {', '.join(wanted)}.")
    for name in head:
        if name in COLUMNS or name in numbered:
            continue
        close = ["truth"] if name in TRUTH_WORDS else difflib.get_close_matches(name, COLUMNS, 1, 0.75)
        meant = [one for one in close if one not in head]
        if meant:
            raise UserError(
                f"{path}: has a column `{name}`; name it `{meant[0]}`, or otherwise if it is something else."
            )


def _file(table: Path, cell: str) -> Path | None:
    """Return the file that a cell names; None where there is none."""
    if not cell or "\0" in cell:
        return None
    try:
        for name in (cell, cell.replace("\\", "/")):  # as Windows writes it
            found = table.parent / Path(name).expanduser()
            if found.is_file() or (found.is_dir() and ending(found) in ZARR):
                return found
        return None
    except (OSError, RuntimeError):  # a name that is too long, or the home of nobody (~name)
        return None
