"""A folder of images and one of truths, whose files have the same names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from napari_segxai.core.errors import UserError
from napari_segxai.core.paths import user_path
from napari_segxai.io.cases.case import (
    IMAGE_WORDS,
    TRUTH_WORDS,
    Case,
    Cases,
    LeftOut,
    folders,
    image_files,
    listed,
    stem,
    told_apart,
    without_first_word,
    without_word,
)

IMAGES = ("images", "image", "imgs", "img", "scans", "volumes", "raw")
TRUTHS = (
    "labels",
    "label",
    "masks",
    "mask",
    "annotations",
    "segmentations",
    "segmentation",
    "seg",
    "gt",
    "truth",
    "truths",
)


def pair_folders(folder: Path) -> tuple[Path, Path] | None:
    """Return the folder of images and that of truths in a folder, where their names say so."""
    try:
        held = {one.name.casefold(): one for one in folders(folder)}
    except OSError:  # one of many that cannot be looked into is told where its files are asked for
        return None
    images = [held[name] for name in IMAGES if name in held]
    truths = [held[name] for name in TRUTHS if name in held]
    return (images[0], truths[0]) if images and truths else None


def parted_folders(folder: Path) -> list[tuple[str, Path, Path]]:
    """Return parts of a data set, each with its folders of images and of truths: `images/train` and `labels/train`, or
    `train/images` and `train/labels`.
    """
    both = pair_folders(folder)
    if both is None:
        inner = {one.name: pair_folders(one) for one in folders(folder)}
        return [(name, *found) for name, found in inner.items() if found is not None]
    images, truths = both
    if image_files(images):
        return []
    return [(one.name, one, truths / one.name) for one in folders(images) if image_files(one)]


def pair_cases(folder: Path, truth: str | None, channels: tuple[str, ...] | None) -> Cases:
    """Return the images with the truths of the same name; a last word such as _seg, _mask or _label does not count."""
    if channels is not None:
        raise UserError(
            "channels are files of a folder per case, or of BIDS; in pairs of folders an image is one file."
        )
    if truth is None:
        parts = parted_folders(folder)
        if parts:
            return _parted(folder, parts)
        found = pair_folders(folder)
        if found is None:
            raise UserError(f"{folder}: has no folders of images and labels; name that of the truths.")
        images, truths = found
    else:
        images, truths = folder, user_path(truth)
        if not truths.is_dir():
            raise UserError(f"{truths}: is not a folder; name the one that holds the truths.")
    if images.resolve() == truths.resolve():
        raise UserError(
            f"{truths}: holds the images; name another folder for the truths, or leave it out if they lie beside the images."
        )
    cases, left_out = paired(image_files(images), image_files(truths))
    left_out += [
        LeftOut(one.name, f"is not looked into: {images.name} holds images itself") for one in folders(images)
    ]
    return listed(folder, "pairs", cases, left_out)


def _parted(folder: Path, parts: Sequence[tuple[str, Path, Path]]) -> Cases:
    """Return the cases of parts of a data set; a part is a group."""
    cases: list[Case] = []
    left_out: list[LeftOut] = []
    for name, images, truths in parts:
        own, rest = paired(image_files(images), image_files(truths) if truths.is_dir() else [])
        cases += [replace(case, group=name) for case in own]
        left_out += rest
    both, known = pair_folders(folder), {truths for _, _, truths in parts}
    if both is not None:
        words = f"holds truths without images: {both[0].name} has no such folder"
        left_out += [LeftOut(one.name, words) for one in folders(both[1]) if one not in known]
    return listed(folder, "pairs", told_apart(cases), left_out)


def short_name(name: str, words: Sequence[str]) -> str:
    """Return a name without the word that says whether it is an image or a truth, at its end or its beginning."""
    return without_word(name, words) or without_first_word(name, words) or name


def paired(images: Sequence[Path], truths: Sequence[Path]) -> tuple[list[Case], list[LeftOut]]:
    """Match images and truths by their names; what is left over is told."""
    free = dict.fromkeys(truths)
    exact: dict[str, list[Path]] = {}
    loose: dict[str, list[Path]] = {}
    for one in truths:
        exact.setdefault(stem(one), []).append(one)
        loose.setdefault(short_name(stem(one), TRUTH_WORDS), []).append(one)
    cases, left_out = [], []
    for path in images:
        name = stem(path)
        short = short_name(name, IMAGE_WORDS)
        fitting = exact.get(name) or [
            one for key in dict.fromkeys((name, short)) for one in loose.get(key, [])
        ]
        if len(fitting) > 1:
            said = ", ".join(one.name for one in fitting)
            left_out.append(LeftOut(path.name, f"is taken without truth: several could be it ({said})"))
        for one in fitting:
            free.pop(one, None)
        cases.append(Case(name, (path,), fitting[0] if len(fitting) == 1 else None))
    left_out += [LeftOut(path.name, "is a truth without an image") for path in free]
    return cases, left_out
