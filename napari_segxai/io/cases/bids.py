"""The brain imaging data structure (BIDS): ``sub-*[/ses-*]/anat/*_T1w.nii.gz``, truths among the derivatives."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Sequence
from io import StringIO
from pathlib import Path

from napari_segxai.core.errors import UserError
from napari_segxai.io.cases.case import Case, Cases, LeftOut, image_files, listed, stem
from napari_segxai.io.tables import read_table

TRUTHS = ("dseg", "mask")
"""Suffixes of truths: a segmentation by labels, and a mask."""

WHOSE = ("sub", "ses", "run", "acq")
"""Entities by which the files of one image belong together."""


OWN_SPACES = ("orig", "native", "individual", "subject", "scanner")
"""What derivatives call the space of the subject's own scan, beside its suffix; raw files do not name it."""


def is_bids(folder: Path) -> bool:
    """Tell whether a folder holds such data."""
    return (folder / "dataset_description.json").is_file() or any(
        any(folder.glob(f"sub-*/{place}/")) for place in ("anat", "ses-*/anat")
    )


def bids_cases(folder: Path, truth: str | None, channels: tuple[str, ...] | None) -> Cases:
    """Return a case per subject, session and run.

    Parameters
    ----------
    truth
        The suffix of the truths' names; "dseg", else "mask" by default.
    channels
        Suffixes, e.g. ("T1w", "FLAIR"); by default the one that most subjects have.
    """
    left_out: list[LeftOut] = []
    files = [path for one in sorted(folder.glob("sub-*")) if one.is_dir() for path in _scans(one, left_out)]
    by_suffix: dict[str, list[Path]] = {}
    for path in files:
        by_suffix.setdefault(_suffix(path), []).append(path)
    if not files:
        raise UserError(f"{folder}: holds no image in sub-*/anat or sub-*/ses-*/anat.")
    if channels is None:
        subjects = Counter(
            {s: len({_entities(p).get("sub") for p in found}) for s, found in by_suffix.items()}
        )
        channels = (max(subjects, key=lambda s: (subjects[s], s == "T1w", s)),)
    known = {suffix.casefold(): suffix for suffix in by_suffix}
    for word in channels:
        if word.casefold() not in known:
            raise UserError(f"{folder}: no image ends in _{word}; there are {', '.join(sorted(by_suffix))}.")
    channels = tuple(known[word.casefold()] for word in channels)
    cases: list[Case] = []
    first, *others = (_by_key(by_suffix[suffix], left_out) for suffix in channels)
    truths = _truths(folder, truth)
    groups = _groups(folder)
    for key, path in first.items():
        name = stem(path).removesuffix(f"_{channels[0]}")
        missing = [suffix for suffix, held in zip(channels[1:], others, strict=True) if key not in held]
        if missing:
            left_out.append(LeftOut(name, f"has no {', '.join(missing)}"))
            continue
        all_of_it = [one for one in truths if _fits(one, path)]
        fitting = [one for one in all_of_it if _space(one, path) == _space(path, path)]
        if all_of_it and not fitting:
            said = ", ".join(one.name for one in all_of_it[:3])
            left_out.append(
                LeftOut(name, f"is taken without truth: what there is lies in another space ({said})")
            )
        if len(fitting) > 1:
            said = ", ".join(one.name for one in fitting[:3])
            left_out.append(LeftOut(name, f"is taken without truth: several could be it ({said})"))
        entities = _entities(path)
        subject = f"sub-{entities.get('sub', name)}"
        images = (path, *(held[key] for held in others))
        cases.append(
            Case(name, images, fitting[0] if len(fitting) == 1 else None, groups.get(subject, ""), subject)
        )
    return listed(folder, "bids", cases, left_out, channels)


def _scans(subject: Path, left_out: list[LeftOut]) -> list[Path]:
    try:
        places = [subject / "anat", *(one / "anat" for one in sorted(subject.glob("ses-*")))]
        return [path for place in places if place.is_dir() for path in image_files(place) if _suffix(path)]
    except OSError as error:
        left_out.append(LeftOut(subject.name, f"cannot be looked into ({error.strerror})"))
        return []


def _entities(path: Path) -> dict[str, str]:
    """Return what a name says: "sub-01_ses-2_T1w" -> {"sub": "01", "ses": "2"}."""
    pairs = (
        (part.partition("-")[0], part.partition("-")[2]) for part in stem(path).split("_") if "-" in part
    )
    return dict(pairs)


def _suffix(path: Path) -> str:
    last = stem(path).rpartition("_")[2]
    return "" if "-" in last else last


def _key(path: Path) -> tuple[str, ...]:
    entities = _entities(path)
    return tuple(entities.get(name, "") for name in WHOSE)


def _by_key(files: Sequence[Path], left_out: list[LeftOut]) -> dict[tuple[str, ...], Path]:
    """Return files by their keys; of those that nothing tells apart, the one with the shortest name, and the others are told."""
    found: dict[tuple[str, ...], Path] = {}
    for path in sorted(files, key=lambda path: len(path.name)):
        first = found.setdefault(_key(path), path)
        if first != path:
            left_out.append(LeftOut(path.name, f"is of the same subject, session and run as {first.name}"))
    return dict(sorted(found.items()))


def _truths(folder: Path, truth: str | None) -> list[Path]:
    known = (truth,) if truth else TRUTHS
    found = [
        path
        for one in sorted((folder / "derivatives").glob("**/anat"))
        for path in image_files(one)
        if _suffix(path) in known
    ]
    for suffix in known:  # labels say more than a mask
        held = [path for path in found if _suffix(path) == suffix]
        if held:
            return held
    return []


def _fits(truth: Path, image: Path) -> bool:
    """Tell whether a truth is that of an image: of one subject and session, and nothing that both say differs."""
    mine, theirs = _entities(truth), _entities(image)
    same = all(mine.get(name) == theirs.get(name) for name in ("sub", "ses"))
    return same and all(mine.get(name, theirs.get(name)) == theirs.get(name) for name in ("run", "acq"))


def _space(path: Path, image: Path) -> str:
    """Return in which space a file lies; "" for that of the scan itself, whatever it is called."""
    space = _entities(path).get("space", "")
    return "" if space in (*OWN_SPACES, _suffix(image)) else space


def _groups(folder: Path) -> dict[str, str]:
    """Return the groups of participants.tsv by participant."""
    path = folder / "participants.tsv"
    if not path.is_file():
        return {}
    try:
        rows = list(csv.DictReader(StringIO(read_table(path), newline=""), delimiter="\t"))
    except csv.Error as error:
        raise UserError(f"{path}: is not a table of participants ({error}).") from None
    return {str(row.get("participant_id")): (row.get("group") or "").strip() for row in rows}
