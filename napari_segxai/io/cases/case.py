"""One case of a cohort, and what was found in a folder."""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from napari_segxai.core.arguments import check_fields
from napari_segxai.core.errors import UserError
from napari_segxai.core.image import Image
from napari_segxai.core.paths import user_path
from napari_segxai.core.text_table import counted
from napari_segxai.io import PICTURES, VOLUMES, ZARR, ending, read_image


@dataclass(frozen=True)
class Case:
    """One image of a cohort, with what is known of it.

    Parameters
    ----------
    id : str
        Its name, which no other case of the cohort has.
    images : tuple of Path
        One file; or several, each a channel, in the order of the model's channels.
    truth : Path, optional
        A file that holds the truth.
    group : str
        To which part of the cohort it belongs, such as "training" or a hospital; "" where nothing says it.
    subject : str
        Whose image it is: cases of one subject are not independent. By default, the id.

    Raises
    ------
    UserError
        If it has no image.
    """

    id: str
    images: tuple[Path, ...]
    truth: Path | None = None
    group: str = ""
    subject: str = ""

    def __post_init__(self) -> None:
        check_fields(self)
        if not self.images:
            raise UserError(f"case {self.id!r} has no image; name one file, or one per channel.")
        if not self.subject:
            object.__setattr__(self, "subject", self.id)

    def read(self) -> Image:
        """Read its image: one file, or several joined as channels.

        Returns
        -------
        Image
            As `read_image` gives it.

        Raises
        ------
        UserError
            If a file cannot be read, or the files do not lie on one grid.
        """
        # A result is opened from other folders than the one it was made in.
        return read_image([user_path(path).absolute() for path in self.images])


@dataclass(frozen=True)
class LeftOut:
    """A file, or several, of which no case could be made.

    Attributes
    ----------
    name : str
        Of the file or case.
    reason : str
        What it lacks.
    """

    name: str
    reason: str


@dataclass(frozen=True)
class Cases(Sequence[Case]):
    """What was found in a folder or table: the cases in the order of their names, and what was left out.

    Attributes
    ----------
    source : Path
        The folder or table.
    layout : str
        How it is laid out: "nnunet", "bids", "pairs", "folders", "folder" or "table".
    cases : tuple of Case
        All of them.
    left_out : tuple of LeftOut
        What belongs to no case, and why.
    channels : tuple of str
        What the files of a case hold, where the layout says it.
    labels : tuple of (int, str)
        What the values of the truths mean, where the layout says it.
    asked : mapping
        What `find_cases` was told beside the folder and its layout: `truth` and `channels`, where they were given.
    """

    source: Path
    layout: str
    cases: tuple[Case, ...]
    left_out: tuple[LeftOut, ...] = ()
    channels: tuple[str, ...] = field(default=())
    labels: tuple[tuple[int, str], ...] = field(default=())
    asked: Mapping[str, Any] = field(default_factory=dict, compare=False)

    def __len__(self) -> int:
        return len(self.cases)

    def __getitem__(self, index: Any) -> Any:
        return self.cases[index]

    def __iter__(self) -> Iterator[Case]:
        return iter(self.cases)

    def __str__(self) -> str:
        truths = sum(case.truth is not None for case in self)
        said = [f"{counted(len(self), 'case')}", f"{truths} with truth"]
        groups = Counter(case.group for case in self if case.group)
        if groups:
            said.append(", ".join(f"{count} of {name}" for name, count in groups.items()))
        if self.left_out:
            said.append(f"{len(self.left_out)} left out")
        return f"{self.source.name}: {', '.join(said)}"


def listed(
    source: Path,
    layout: str,
    cases: Iterable[Case],
    left_out: Iterable[LeftOut],
    channels: Sequence[str] = (),
) -> Cases:
    """Return the cases in the order of their names; what has a name that is not text cannot be put into a table, and is left out.

    Raises
    ------
    UserError
        If two of them have one id.
    """
    left_out = [LeftOut(_as_text(one.name), _as_text(one.reason)) for one in left_out]
    readable = []
    for case in cases:
        files = [*case.images, *([case.truth] if case.truth is not None else [])]
        odd = [
            name for name in (case.id, *(str(path.absolute()) for path in files)) if _as_text(name) != name
        ]
        if odd:
            left_out.append(
                LeftOut(_as_text(case.id), f"has a name that is not UTF-8 ({_as_text(odd[-1])}); rename it")
            )
        else:
            readable.append(case)
    ordered = sorted(readable, key=lambda case: (natural(case.id), case.id))
    for one, other in itertools.pairwise(ordered):
        if one.id == other.id:
            how = "rename one of them, or write a table with a column `id`"
            if layout == "table":
                how = "give every row an id of its own"
            raise UserError(
                f"{source.name}: {one.images[0].name} and {other.images[0].name} would both be case {one.id!r}; {how}."
            )
    return Cases(source, layout, tuple(ordered), tuple(left_out), tuple(channels))


MOST_PARTS = 5
"""Parts of a data set, such as training, validation and test, that may have one case each."""


def told_apart(cases: Sequence[Case]) -> list[Case]:
    """Return cases of several groups; where names come again, all have that of their group before them.

    Many groups of one case each are no groups, but the names of the cases: a folder per patient.
    """
    groups = {case.group for case in cases}
    if len(groups) == len(cases) > MOST_PARTS:
        return [replace(case, id=case.group, subject=case.group, group="") for case in cases]
    if len({case.id for case in cases}) == len(cases):
        return list(cases)
    names = [f"{case.group}/{case.id}" for case in cases]
    return [replace(case, id=name, subject=name) for case, name in zip(cases, names, strict=True)]


def _as_text(name: str) -> str:
    """Return a name with "?" for each byte of it that is not text."""
    return name.encode("utf-8", "replace").decode("utf-8")


def natural(name: str) -> list[tuple[int, int, str]]:
    """Return by what names are sorted: case_2 before case_10."""
    parts = re.split(r"(\d+)", name.casefold())
    # Numbers by their length and digits: `int` refuses very long ones.
    digits = [part.lstrip("0") if part.isdecimal() else None for part in parts]
    return [
        (1, 0, part) if own is None else (0, len(own), own)
        for part, own in zip(parts, digits, strict=True)
        if part
    ]


def image_files(folder: Path) -> list[Path]:
    """Return the files of a folder that are read as images, by name; hidden ones are none (macOS leaves such beside every file)."""
    known = (*VOLUMES, *PICTURES, *ZARR)
    found = [path for path in folder.iterdir() if ending(path) in known and not path.name.startswith(".")]
    # The two files of an Analyze image are one.
    names = {path.name.lower() for path in found}
    found = [p for p in found if not (ending(p) == ".img" and f"{stem(p).lower()}.hdr" in names)]
    return sorted(found, key=lambda path: natural(path.name))


def files_or_left_out(folder: Path, left_out: list[LeftOut]) -> list[Path] | None:
    """Return `image_files` of the folder of one case; where it cannot be looked into, that is told and there is none."""
    try:
        return image_files(folder)
    except OSError as error:
        left_out.append(LeftOut(folder.name, f"cannot be looked into ({error.strerror})"))
        return None


def folders(folder: Path) -> list[Path]:
    """Return the folders in a folder, by name, but hidden ones and those that are images (Zarr)."""
    found = (
        p for p in folder.iterdir() if p.is_dir() and not p.name.startswith(".") and ending(p) not in ZARR
    )
    return sorted(found, key=lambda path: natural(path.name))


def stem(path: Path) -> str:
    """Return the name of a file without its ending."""
    kind = ending(path)
    return path.name[: len(path.name) - len(kind)] if kind else path.name


TRUTH_WORDS = (
    "seg", "segmentation", "mask", "masks", "label", "labels", "gt", "groundtruth", "truth", "annotation", "annotations",
    "roi", "dseg", "instance", "instances",
)  # fmt: skip
"""Last words of the names of truths, or first ones."""

IMAGE_WORDS = ("img", "image", "im", "scan", "vol", "volume", "orig")
"""Last words of the names of images that have nothing to say, or first ones."""


def without_word(name: str, words: Sequence[str]) -> str | None:
    """Return a name without its last word, where that is one of `words`; else None."""
    found = re.fullmatch(r"(.+?)[ _.\-]+([A-Za-z ]+)", name)
    if not found or found[2].lower() not in words:
        return None
    return (
        found[1].removesuffix("_cp") if name.endswith("_cp_masks") else found[1]
    )  # so Cellpose calls its masks


def without_first_word(name: str, words: Sequence[str]) -> str | None:
    """Return a name without its first word, as in segmentation-12, where that is one of `words`; else None."""
    found = re.fullmatch(r"([A-Za-z]+)[ _.\-]+(.+)", name)
    return found[2] if found and found[1].lower() in words else None
