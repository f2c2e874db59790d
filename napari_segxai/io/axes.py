"""What the axes of a layer mean (time, channels, space), from everything that is known about the layer.

A reading gives every axis a letter: T time, C channel, Z Y X space, P another that one index is taken of (stage
position, phase). What neither labels nor units tell is decided by what the model can take; where that leaves several
readings, it has to be asked.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

from napari_segxai.core.errors import UserError

SECONDS = {
    "s", "sec", "second", "ms", "msec", "millisecond", "us", "µs", "usec", "microsecond", "minute", "hour",
}  # fmt: skip

WORDS = {
    **dict.fromkeys(("c", "ch", "channel", "channels", "colour", "color", "modality"), "C"),
    **dict.fromkeys(("t", "time", "timepoint", "frame", "frames"), "T"),
    **dict.fromkeys(("z", "depth", "slice", "slices"), "Z"),
    **dict.fromkeys(("y", "row", "rows", "height"), "Y"),
    **dict.fromkeys(("x", "col", "column", "columns", "width"), "X"),
    **dict.fromkeys(("l", "r", "a", "i"), "S"),  # orientation codes of a volume
    **dict.fromkeys(("position", "pos", "scene", "series", "view", "angle", "phase", "well", "m", "v"), "P"),
}
"""Axis labels, in lower case, and what they tell; S is space."""

SPACE = "ZYX"

LARGEST_PLANE, LARGEST_VOLUME = 2**24, 2**27
"""Pixels of a pyramid's level above which a coarser one is taken, where the model does not say its size."""


@dataclass(frozen=True)
class Axes:
    """A reading of the axes of a layer.

    Attributes
    ----------
    letters
        One per axis of the array, in its order, e.g. "TCZYX".
    one_channel
        Whether one channel is taken, that which is shown, because the model takes one.
    stated
        Whether labels, units or the file say so; False if the number and lengths of the axes decided.
    fits
        Whether a model can take it.
    """

    letters: str
    one_channel: bool = False
    stated: bool = True
    fits: bool = True

    @property
    def channel(self) -> int | None:
        """The axis whose entries are the channels; None where there is none, or one channel is taken."""
        return None if self.one_channel or "C" not in self.letters else self.letters.index("C")

    @property
    def picked(self) -> tuple[int, ...]:
        """The axes along which a single index is taken, in order."""
        return tuple(k for k, c in enumerate(self.letters) if c in "TP" or (c == "C" and k != self.channel))

    @property
    def spatial(self) -> tuple[int, ...]:
        """The two or three axes of space, in order."""
        return tuple(k for k, c in enumerate(self.letters) if c in SPACE)


def readings(
    shape: Sequence[int],
    labels: Sequence[str] = (),
    units: Sequence[str] = (),
    *,
    rgb: bool = False,
    volume: bool = False,
    channels: int | None = None,
    dims: int | None = None,
) -> list[Axes]:
    """Return the readings that agree with everything known about an array, the most likely first.

    Parameters
    ----------
    shape
        Length of the axes; of colours the last is the channels.
    labels, units
        Of the axes but that of colours; words that are not known, such as napari's own "-1", say nothing.
    volume
        Whether the last three axes are those of a NIfTI volume. Its fourth is called time, but may be channels.
    channels, dims
        How many channels and spatial axes the model takes; None without a model.
    """
    n = len(shape) - rgb
    known = [WORDS.get(str(label).lower(), "") for label in labels] or [""] * n
    known += [""] * (n - len(known))
    for k, unit in enumerate(list(units)[:n]):
        if str(unit).lower() in SECONDS and not known[k]:
            known[k] = "T"
    for kind in "CT":  # the second axis of one kind is another thing
        for k in [k for k in range(n) if known[k] == kind][1:]:
            known[k] = "P"
    hint = list(known)
    if volume:
        known[-3:] = ["S"] * 3
        known = ["" if k < n - 3 and c == "T" else c for k, c in enumerate(known)]
    if rgb:
        known = ["P" if c == "C" else c for c in known]
    free = [k for k in range(n) if not known[k]]
    options: list[int | None] = [known.index("C")] if "C" in known else []
    if not options and not rgb and channels is not None and channels > 1:
        ends = [k for k in free if (k <= n - 3 or k == n - 1) and n > 2 and shape[k] == channels]
        needed = 3 if volume or dims == 3 else 2
        options = [k for k in ends if sum(c in ("", "S", *SPACE) for c in known) - 1 >= needed]
    out = [_read(known, hint, shape, k, rgb, channels, dims) for k in options or [None]]
    return sorted(out, key=lambda axes: not axes.fits)


def _read(
    known: Sequence[str],
    hint: Sequence[str],
    shape: Sequence[int],
    channel: int | None,
    rgb: bool,
    channels: int | None,
    dims: int | None,
) -> Axes:
    """Return the reading in which `channel` is the axis of channels."""
    letters = list(known)
    if channel is not None:
        letters[channel] = "C"
    room = [k for k, c in enumerate(letters) if c in ("", "S", *SPACE)]
    spare = max(len(room) - 3, 0)
    for k in room[:spare]:
        given = hint[k] if hint[k] in ("T", "P") else ""
        unused = [
            c for c in ("T", "C") if c not in letters and not (c == "C" and (rgb or (channels or 1) > 1))
        ]
        letters[k] = given or (unused[0] if unused else "P")
    space = room[spare:]
    named = [letters[k] for k in space]
    if sorted(named) != sorted(set(named) & set(SPACE)):
        named = list(SPACE[3 - len(space) :])
    for k, letter in zip(space, named, strict=True):
        letters[k] = letter
    count = shape[-1] if rgb else shape[letters.index("C")] if "C" in letters else 1
    one = channels == 1 and "C" in letters
    stated = all(c in SPACE or hint[k] == c for k, c in enumerate(letters))
    opaque = rgb and (count, channels) == (4, 3)  # alpha is left out
    fits = (channels is None or one or opaque or count == channels) and (dims != 3 or len(space) == 3)
    return Axes("".join(letters), one, stated, fits)


def choose(found: Sequence[Axes], name: str) -> Axes:
    """Return the one reading that is possible.

    Raises
    ------
    UserError
        If several fit; it names them.
    """
    fitting = [axes for axes in found if axes.fits]
    if len(fitting) > 1:
        known = " or ".join(axes.letters for axes in fitting)
        raise UserError(
            f"the axes of {name} can be {known}; choose with axes={fitting[0].letters!r}, or under Axes."
        )
    axes = found[0]
    if len(axes.spatial) not in (2, 3):
        raise UserError(
            f"{name}: a layer with {len(axes.letters)} axes is not an image; it needs 2 or 3 spatial axes, and time or "
            "channels beside them."
        )
    return axes


def parse(
    text: str, shape: Sequence[int], name: str, *, rgb: bool = False, channels: int | None = None
) -> Axes:
    """Return the reading that a user names, e.g. "TCYX"; the C of colours at the end may be left out.

    Raises
    ------
    UserError
        If it does not fit the number of axes, or names no image.
    """
    n = len(shape) - rgb
    letters = text.strip().upper()
    if rgb and len(letters) == n + 1 and letters.endswith("C"):
        letters = letters[:-1]
    space = [c for c in letters if c in SPACE]
    good = len(space) == len(set(space)) and len(space) in (2, 3) and letters.count("C") + rgb <= 1
    if len(letters) != n or not good or not set(letters) <= set("TCPZYX"):
        raise UserError(
            f"axes {text!r} do not fit {name}, which has {n} axes of length {' x '.join(map(str, shape[:n]))}; give a "
            "letter for each: Z, Y and X for two or three of them, T, C (once) or P for the others."
        )
    return Axes(letters, channels == 1 and "C" in letters)


def named_axes(
    text: str, shape: Sequence[int], name: str, *, rgb: bool = False
) -> tuple[int | None, int | None]:
    """Return which axes of a file's array are channels and time, from the user's names of all axes; see `parse`."""
    letters = parse(text, shape, name, rgb=rgb).letters
    if "P" in letters or letters.count("T") > 1:
        raise UserError(f"axes {text!r} of {name} are more than one image; open one of them.")
    channel = len(shape) - 1 if rgb else letters.find("C")
    return (None if channel < 0 else channel), (letters.index("T") if "T" in letters else None)


def alternatives(n: int, *, volume: bool = False, rgb: bool = False) -> tuple[str, ...]:
    """Return the possible names of `n` axes (without that of colours), as a list to choose from."""
    known = {
        3: ("ZYX", "TYX", "CYX", "YXC"),
        4: ("TZYX", "CZYX", "TCYX", "CTYX", "ZCYX", "ZYXC", "TYXC"),
        5: ("TCZYX", "CTZYX", "TZCYX", "TZYXC", "ZTCYX", "PTCYX"),
    }.get(n, ())
    if rgb:
        known = tuple(text for text in known if "C" not in text)
    return tuple(text for text in known if text.endswith("ZYX")) if volume else known


def fitting_level(
    shapes: Sequence[Sequence[int]],
    spatial: Sequence[int],
    *,
    size: Sequence[int] | None = None,
    spacing: Sequence[float] | None = None,
    finest: Sequence[float] | None = None,
) -> int:
    """Return which level of a pyramid suits a model: the coarsest that is no coarser than the model grid.

    Parameters
    ----------
    shapes
        Of the levels, the finest first.
    spatial
        The axes of space in them.
    size, spacing
        Of the model grid; None where the model takes any.
    finest
        Spacing of the finest level, in the unit of `spacing`; None if it is not known.
    """
    sizes = [[shape[k] for k in spatial] for shape in shapes]
    if size is not None:
        m = len(size)
        fine = [all(a >= b for a, b in zip(own[-m:], size, strict=True)) for own in sizes]
    elif spacing is not None and finest is not None:
        m = len(spacing)
        steps = [[f * a / b for f, a, b in zip(finest, sizes[0], own, strict=True)] for own in sizes]
        fine = [all(a <= b * 1.001 for a, b in zip(own[-m:], spacing, strict=True)) for own in steps]
    else:
        limit = LARGEST_PLANE if len(spatial) == 2 else LARGEST_VOLUME
        small = [k for k, own in enumerate(sizes) if prod(own) <= limit]
        return small[0] if small else len(sizes) - 1
    return max((k for k, good in enumerate(fine) if good), default=0)
