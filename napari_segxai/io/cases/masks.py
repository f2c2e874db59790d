"""Masks of concepts that were drawn for the cases of a folder: which files there are, and reading them."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from napari_segxai.core.errors import UserError
from napari_segxai.core.image import Image
from napari_segxai.core.orientation import is_same_grid
from napari_segxai.core.paths import user_path
from napari_segxai.core.text_table import some_of
from napari_segxai.io import ending, read_image
from napari_segxai.io.cases.case import TRUTH_WORDS, Case, folders, image_files, stem, without_word
from napari_segxai.io.json_files import read_json

NAMES = "dataset.json"
"""A file whose `labels` names the values of label images, as nnU-Net writes it: {"liver": 1, "tumor": 2}."""

LOOKED_AT = 3
"""Label images that are read to tell masks, which hold one value, from those with several."""


@dataclass(frozen=True)
class ConceptMasks:
    """Which files hold the masks of each case.

    Attributes
    ----------
    folder
        Where they lie.
    files
        By the id of the case: pairs of a concept's name and a mask; the name is "" of a label image that holds several.
    names
        Of the concepts, as far as files and `dataset.json` name them.
    values
        What the values of label images are called; others are called "label 2" and so on.
    left_out
        Files that belong to no case.
    """

    folder: Path
    files: Mapping[str, Sequence[tuple[str, Path]]]
    names: tuple[str, ...]
    values: Mapping[int, str] = field(default_factory=dict)
    left_out: tuple[Path, ...] = ()

    def missing(self, case: str) -> list[str]:
        """Return the concepts that have a file of their own for other cases and none for this one."""
        own = {name for name, _ in self.files.get(case, ())}
        each = {name for files in self.files.values() for name, _ in files if name}
        return sorted(each - own)

    def read(self, case: str, image: Image) -> dict[str, np.ndarray]:
        """Read the masks of a case: boolean, on the grid of its image, by concept; one without a file is nowhere.

        Raises
        ------
        UserError
            If a file cannot be read, lies on another grid, or holds several values where it is the mask of one concept.
        """
        if not self.files.get(case):
            raise UserError(f"{case}: {self.folder} holds no mask for it; draw one, or leave the case out.")
        shape = image.spatial_shape
        out = {name: np.zeros(shape, bool) for name in self.names}
        for name, path in self.files[case]:
            values = on_grid_of(read_image(path), image, path)
            found = np.unique(values[values != 0])
            if name:
                if (
                    len(found) > 1
                ):  # labels, objects by number, or a soft edge: it does not say what the concept is
                    said = some_of([f"{value:g}" for value in found.tolist()])
                    raise UserError(
                        f"{path}: holds the values {said} beside 0; the mask of {name} has 0 outside and one value inside."
                    )
                out[name] = out[name] | (values != 0)
                continue
            for value in found:
                called = self.values.get(int(value), f"label {int(value)}")
                out[called] = out.get(called, np.zeros(shape, bool)) | (values == value)
        return out


def find_masks(folder: str | os.PathLike[str], cases: Sequence[Case]) -> ConceptMasks:
    """Find the masks of concepts in a folder.

    Four ways are known: a folder per case with a mask for each concept (case_1/tumor.nii.gz); a folder per concept with a mask
    for each case (tumor/case_1.nii.gz); one folder of label images, a file per case (case_1.nii.gz), whose values are named by
    dataset.json; masks called after case and concept (case_1_tumor.nii.gz).

    Raises
    ------
    UserError
        If there is no such folder, or nothing in it belongs to a case.
    """
    root = user_path(folder)
    if not root.is_dir():
        raise UserError(f"{root}: there is no such folder; name one that holds the masks of the concepts.")
    ids = {case.id for case in cases}
    images = {path.absolute() for case in cases for path in case.images}  # which may lie in the same folder
    left_out: list[Path] = []
    files: dict[str, list[tuple[str, Path]]] = {}
    below = folders(root)
    for one in below:
        own = one.name if one.name in ids else None
        for path in image_files(one):
            if own is not None:
                files.setdefault(own, []).append((stem(path), path))
            elif (case := _case_of(stem(path), ids)) is not None and path.absolute() not in images:
                files.setdefault(case, []).append((one.name, path))
            elif path.absolute() not in images:
                left_out.append(path)
    loose: list[tuple[str, Path]] = []
    for path in image_files(root):
        name = stem(path)
        if path.absolute() in images:
            continue
        if (case := _case_of(name, ids)) is not None:
            loose.append((case, path))
        elif (pair := _case_and_concept(name, ids)) is not None:
            files.setdefault(pair[0], []).append((pair[1], path))
        else:
            left_out.append(path)
    for case, path in loose:
        files.setdefault(case, []).append(("", path))
    if not files:
        some = ", ".join(sorted(ids)[:3])
        raise UserError(
            f"{root}: holds no mask of a case; name files, or folders of masks, after the cases ({some}, ...)."
        )
    values = _values(root, [path for _, path in loose]) if loose else {}
    named = dict.fromkeys(name for pairs in files.values() for name, _ in pairs if name)
    names = tuple(dict.fromkeys([*sorted(named), *values.values()]))
    return ConceptMasks(root, files, names, values, tuple(left_out))


def _case_of(name: str, ids: set[str]) -> str | None:
    """Return the case that a file is called after, with or without a last word such as "mask"."""
    return name if name in ids else short if (short := without_word(name, TRUTH_WORDS)) in ids else None


def _case_and_concept(name: str, ids: set[str]) -> tuple[str, str] | None:
    """Return case and concept of a file that is called after both."""
    fitting = [
        one for one in ids if name.startswith(one) and name[len(one) : len(one) + 1] in ("_", "-", " ")
    ]
    if not fitting:
        return None
    case = max(fitting, key=len)
    rest = name[len(case) + 1 :]
    return (case, rest) if rest else None


def _values(root: Path, paths: Sequence[Path]) -> dict[int, str]:
    """Return what the values of label images are called."""
    if (root / NAMES).is_file():
        return _named(root / NAMES)
    found = {
        int(value)
        for path in paths[:LOOKED_AT]
        for value in np.unique(read_image(path).frame(0).channels_first()[0])
        if value
    }
    # Masks of one concept: it is called as their folder.
    return {found.pop(): root.name} if len(found) == 1 and found <= {1, 255} else {}


def _named(path: Path) -> dict[int, str]:
    try:
        told = read_json(path)["labels"]
        pairs = {int(value): str(name) for name, value in told.items()}
    except (ValueError, KeyError, TypeError, AttributeError):
        raise UserError(
            f'{path}: does not name the values of label images; write for example {{"labels": {{"liver": 1}}}}.'
        ) from None
    return {value: name for value, name in pairs.items() if value}


def on_grid_of(mask: Image, image: Image, path: Path) -> np.ndarray:
    """Return the values of a mask that lies on the grid of an image.

    Raises
    ------
    UserError
        If it lies on another one.
    """
    if ending(path) in (".jpg", ".jpeg"):
        raise UserError(f"{path}: JPEG changes the values of masks; save it as PNG, TIFF or NIfTI.")
    if mask.channels > 1:
        raise UserError(
            f"{path}: holds {mask.channels} channels, such as colors; a mask has one value at every pixel."
        )
    values = mask.frame(0).channels_first()[0]
    placed = mask.affine is not None and image.affine is not None
    if values.shape != image.spatial_shape or (
        placed and not is_same_grid(mask.affine, image.affine, values.shape)
    ):
        same = values.shape == image.spatial_shape
        how = "in another place" if same else f"of shape {values.shape}, not {image.spatial_shape}"
        raise UserError(
            f"{path}: the mask lies on another grid than {image.name} ({how}); draw it on the grid of the image."
        )
    if values.dtype.kind == "f" and not np.array_equal(values, np.rint(values)):
        raise UserError(
            f"{path}: holds values that are not whole numbers; a mask is 0 outside and a label inside."
        )
    return values
