"""nnU-Net's raw data, and that of the Medical Segmentation Decathlon, from which it comes.

``imagesTr/ID_0000.nii.gz`` is the first channel of a case, ``labelsTr/ID.nii.gz`` its truth; ``dataset.json`` names channels and labels.
In the Decathlon a case is one file, ``imagesTr/ID.nii.gz``, with its channels on the fourth axis; an id may end in a number too.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path
from typing import Any

from napari_segxai.core.errors import UserError
from napari_segxai.io.cases.case import Case, Cases, LeftOut, image_files, listed, stem
from napari_segxai.io.json_files import read_json

PARTS = {"Tr": "training", "Ts": "test", "Val": "validation"}


def is_nnunet(folder: Path) -> bool:
    """Tell whether a folder holds such data."""
    return any((folder / f"images{part}").is_dir() for part in PARTS)


def nnunet_cases(folder: Path, truth: str | None, channels: tuple[str, ...] | None) -> Cases:
    """Return the cases of every part."""
    if not is_nnunet(folder):
        raise UserError(f"{folder}: has no imagesTr; nnU-Net's raw data has.")
    told = _dataset(folder)
    names = _channels(folder, told)
    wanted = (
        list(range(len(names))) if channels is None else [_number(folder, names, word) for word in channels]
    )
    cases: list[Case] = []
    left_out: list[LeftOut] = []
    for part, group in PARTS.items():
        images, labels = folder / f"images{part}", folder / f"labels{part}"
        if not images.is_dir():
            continue
        truths: dict[str, Path] = {}
        for path in image_files(labels) if labels.is_dir() else []:
            first = truths.setdefault(stem(path), path)
            if first != path:
                left_out.append(LeftOut(path.name, f"would be the same as {first.name}"))
        files = image_files(images)
        numbered = {path: found for path in files if (found := re.fullmatch(r"(.+)_(\d{4})", stem(path)))}
        if _have_numbers(truths, numbered.values(), len(names)):
            truths = {name.removesuffix(FIRST): path for name, path in truths.items()}
        if _are_ids(numbered.values(), truths):
            numbered = {}
        if files and not numbered and channels is not None:
            raise UserError(
                f"{images}: an image is one file, with its channels inside; leave out the names of channels."
            )
        by_case: dict[str, dict[int, Path]] = {}
        for path in files:
            if numbered and path not in numbered:
                left_out.append(LeftOut(path.name, "has no channel number (_0000) as the other files have"))
                continue
            # In the Decathlon's way, files have no numbers.
            name, number = numbered[path].groups() if numbered else (stem(path), "0")
            first = by_case.setdefault(name, {}).setdefault(int(number), path)
            if first != path:
                left_out.append(LeftOut(path.name, f"would be the same as {first.name}"))
        for name, held in by_case.items():
            order = (wanted or sorted(held)) if numbered else [0]
            missing = [k for k in order if k not in held]
            if missing:
                said = ", ".join(f"{k:04d}" + (f" ({names[k]})" if k < len(names) else "") for k in missing)
                left_out.append(LeftOut(name, f"has no channel {said}"))
                continue
            cases.append(Case(name, tuple(held[k] for k in order), truths.pop(name, None), group))
        left_out += [LeftOut(path.name, "is a truth without an image") for path in truths.values()]
    found = listed(folder, "nnunet", cases, left_out, [names[k] for k in wanted])
    return replace(found, labels=_labels(told))


FIRST = "_0000"
"""What the first channel of a case ends in."""


def _have_numbers(truths: Collection[str], numbered: Collection[re.Match], many: int) -> bool:
    """Tell whether truths have the number of the first channel, as nnU-Net does not want them: every case has all channels that
    dataset.json names, and every truth ends in 0000.
    """
    held: dict[str, set[int]] = {}
    for found in numbered:
        held.setdefault(found[1], set()).add(int(found[2]))
    whole = many > 1 and bool(held) and all(own == set(range(many)) for own in held.values())
    return whole and bool(truths) and all(name.endswith(FIRST) for name in truths)


def _are_ids(numbered: Collection[re.Match], truths: Collection[str]) -> bool:
    """Tell whether the numbers at the ends of names are those of cases: truths have them as well, or none is 0000."""
    as_ids = {found[0] for found in numbered}.intersection(truths)
    as_channels = {found[1] for found in numbered}.intersection(truths)
    return bool(as_ids and not as_channels) or (
        bool(numbered) and not as_channels and all(found[2] != "0000" for found in numbered)
    )


def _dataset(folder: Path) -> dict[str, Any]:
    """Return what dataset.json says; nothing where there is no such file."""
    path = folder / "dataset.json"
    if not path.is_file():
        return {}
    try:
        facts = read_json(path)
    except ValueError as error:
        raise UserError(f"{path}: cannot be read ({error}).") from None
    return facts if isinstance(facts, dict) else {}


def _labels(facts: dict[str, Any]) -> tuple[tuple[int, str], ...]:
    """Return values and names of labels: {"liver": 1}, or {"1": "liver"} as before nnU-Net 2; a region of several values has no value."""
    told = facts.get("labels")
    if not isinstance(told, dict):
        return ()
    pairs = [(value, name) if isinstance(value, int) else (name, value) for name, value in told.items()]
    known = [(int(value), str(name)) for value, name in pairs if re.fullmatch(r"\d{1,4}", str(value))]
    return tuple(sorted(known))


def _channels(folder: Path, facts: dict[str, Any]) -> list[str]:
    """Return the names of the channels."""
    path = folder / "dataset.json"
    told: Any = facts.get("channel_names", facts.get("modality"))
    if told is None:
        return []
    if not isinstance(told, dict) or not all(re.fullmatch(r"\d{1,4}", key) for key in told):
        raise UserError(f"{path}: `channel_names` has to give a name to each number, from 0 on.")
    ordered = sorted(told, key=int)
    if [int(key) for key in ordered] != list(range(len(ordered))):
        raise UserError(f"{path}: `channel_names` has to number the channels 0, 1, 2, ...")
    return [str(told[key]) for key in ordered]


def _number(folder: Path, names: list[str], word: str) -> int:
    known = [name.casefold() for name in names]
    if word.casefold() in known:
        return known.index(word.casefold())
    raise UserError(f"{folder}: has no channel {word!r}; dataset.json names {', '.join(names) or 'none'}.")
