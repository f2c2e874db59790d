"""A folder per case: ``BraTS_001/BraTS_001_t1.nii.gz``, ``..._flair.nii.gz``, ``..._seg.nii.gz``."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from napari_segxai.core.errors import UserError
from napari_segxai.io.cases.case import (
    TRUTH_WORDS,
    Case,
    Cases,
    LeftOut,
    files_or_left_out,
    folders,
    listed,
    stem,
    told_apart,
)
from napari_segxai.io.cases.pairs import TRUTHS


def subfolder_cases(folder: Path, truth: str | None, channels: tuple[str, ...] | None) -> Cases:
    """Return a case per folder; the last word of a file's name says what it holds.

    Parameters
    ----------
    truth
        The last word of the truths' names; by default one of those that are usual (seg, mask, label, ...).
    channels
        The last words of the images' names, in the order of the model's channels. Not needed where a folder holds one image.
    """
    known = (truth.casefold(),) if truth else TRUTH_WORDS
    cases: list[Case] = []
    left_out: list[LeftOut] = []
    words: Counter[str] = Counter()
    for one, group, files in case_folders(folder, left_out):
        truths = [path for path in files if _word(path, one) in known]
        images = [path for path in files if path not in truths]
        words.update(_word(path, one) for path in images)
        if not images:
            left_out.append(LeftOut(one.name, "holds no image"))
            continue
        if channels is not None:
            held = {word: [path for path in images if _is_of(path, one, word)] for word in channels}
            missing = [word for word, found in held.items() if not found]
            several = [word for word, found in held.items() if len(found) > 1]
            if missing or several:
                said = (
                    f"has no {', '.join(missing)}"
                    if missing
                    else f"has several files for {', '.join(several)}"
                )
                left_out.append(LeftOut(one.name, said))
                continue
            images = [held[word][0] for word in channels]
        elif len(images) > 1:
            said = ", ".join(sorted(_word(path, one) for path in images))
            left_out.append(LeftOut(one.name, f"holds {len(images)} images ({said})"))
            continue
        deeper = (
            [inner.name for inner in folders(one) if inner.name.casefold() in TRUTHS] if not truths else []
        )
        if deeper:
            said = f"is taken without truth: its folder {deeper[0]} is not looked into, a truth is one file"
            left_out.append(LeftOut(one.name, said))
        if len(truths) > 1:
            said = ", ".join(path.name for path in truths)
            left_out.append(LeftOut(one.name, f"is taken without truth: several could be it ({said})"))
        cases.append(Case(one.name, tuple(images), truths[0] if len(truths) == 1 else None, group))
    if not cases and channels is None and len(words) > 1:
        said = ", ".join(word for word, _ in words.most_common(8))
        raise UserError(
            f"{folder}: each folder holds several images ({said}); name the channels, in the order of the model's."
        )
    return listed(folder, "folders", told_apart(cases), left_out, channels or ())


def case_folders(folder: Path, left_out: list[LeftOut]) -> Iterator[tuple[Path, str, list[Path]]]:
    """Yield folders of cases, with the group and the files of each: those in a folder, or in the folders of its groups
    (``HGG/BraTS_001``), where such a folder holds no image itself.
    """
    for one in folders(folder):
        files = files_or_left_out(one, left_out)
        if files is None:
            continue
        inner = [] if files else _inner(one, left_out)
        if not inner:
            yield one, "", files
        for deeper, held in inner:
            yield deeper, one.name, held


def _inner(folder: Path, left_out: list[LeftOut]) -> list[tuple[Path, list[Path]]]:
    held = [(one, files_or_left_out(one, left_out)) for one in folders(folder)]
    return [(one, files) for one, files in held if files]


def _is_of(path: Path, folder: Path, word: str) -> bool:
    """Tell whether a file is that of a channel; the channel's word may have hyphens ("T1-ce")."""
    found, word = _word(path, folder), word.casefold()
    return found == word or (
        re.search(r"[_.\- ]", word) is not None
        and re.search(rf"[ _.]{re.escape(word)}$", stem(path).casefold()) is not None
    )


def _word(path: Path, folder: Path) -> str:
    """Return what tells a file from the others of its folder: its name without that of the folder, or its last word."""
    name, own = stem(path).casefold(), folder.name.casefold()
    if name.startswith(own) and name != own:
        return name[len(own) :].strip(" _.-")
    return re.split(r"[ _.\-]+", name)[-1]
