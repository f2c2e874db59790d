"""All files in one folder: images, and beside them truths that are called the same and ``_seg``, ``_mask`` or ``_label``."""

from __future__ import annotations

from pathlib import Path

from napari_segxai.core.errors import UserError
from napari_segxai.io.cases.case import (
    IMAGE_WORDS,
    TRUTH_WORDS,
    Cases,
    image_files,
    listed,
    stem,
    without_first_word,
    without_word,
)
from napari_segxai.io.cases.pairs import paired


def flat_cases(folder: Path, truth: str | None, channels: tuple[str, ...] | None) -> Cases:
    """Return a case per file that is no truth of another."""
    if channels is not None:
        raise UserError(
            "channels are files of a folder per case, or of BIDS; in one folder an image is one file."
        )
    files = image_files(folder)
    truths = {path: None for path in files if without_word(stem(path), TRUTH_WORDS) is not None}
    # A first word such as "label" may be that of an image as well: only beside an image is it that of a truth.
    images = {without_first_word(stem(path), IMAGE_WORDS) for path in files}
    truths |= {path: None for path in files if without_first_word(stem(path), TRUTH_WORDS) in images - {None}}
    if len(truths) == len(files):  # a folder of files that all end alike
        truths = {}
    cases, left_out = paired([path for path in files if path not in truths], list(truths))
    return listed(folder, "folder", cases, left_out)
