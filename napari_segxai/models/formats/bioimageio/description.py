"""What a model description of bioimage.io says, in one form for versions 0.4 and 0.5 of its specification.

The specification is https://github.com/bioimage-io/spec-bioimage-io. Its library is not needed: it checks covers, citations and
links, may ask the internet for them, and brings many packages; what a network needs are a few keys, read here as data.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from napari_segxai.core.arguments import quoted
from napari_segxai.core.errors import UserError
from napari_segxai.models.loading.yaml_file import read_mapping

NAMES = ("rdf.yaml", "bioimageio.yaml", "rdf.yml", "bioimageio.yml")

KINDS = {"batch": "b", "channel": "c", "time": "t", "index": "i"}
"""Types of axes of version 0.5 with their letters of version 0.4; axes of space have letters."""


@dataclass(frozen=True)
class Size:
    """The sizes that an axis can have: `least`, and as many `step` more as one likes; a step of 0 for one size alone."""

    least: int
    step: int = 0


@dataclass(frozen=True)
class Step:
    """What is done to a tensor before or after the network.

    Attributes
    ----------
    name
        Such as "scale_range".
    numbers
        Its arguments.
    axes
        Letters of the axes over which it measures, or along which its numbers lie; None where it does not say.
    data_set
        Whether it measures a whole data set, not each image.
    """

    name: str
    numbers: Mapping[str, Any]
    axes: str | None
    data_set: bool


@dataclass(frozen=True)
class Tensor:
    """An input or output.

    Attributes
    ----------
    name
        Its own.
    axes
        A letter per axis: b, c, t, i, z, y, x.
    sizes
        Of each axis by its letter, where they are said.
    channels
        Names of its channels, where they are said.
    count
        How many channels it has, where that is said; 1 without an axis for them.
    range
        The least and the largest value that it can have, where both are said.
    halo
        Cells at both ends of an axis that are not to be trusted, by its letter.
    scales
        Length of a pixel by the letter of the axis, with its unit, where it is said.
    steps
        Before the network, or after it.
    """

    name: str
    axes: str
    sizes: Mapping[str, Size]
    channels: tuple[str, ...] | None
    count: int | None
    range: tuple[float, float] | None
    halo: Mapping[str, int]
    scales: Mapping[str, str]
    steps: tuple[Step, ...]


@dataclass(frozen=True)
class Description:
    """A model description.

    Attributes
    ----------
    path
        The file.
    fields
        All that it says, as it stands there.
    inputs, outputs
        Tensors in their order.
    weights
        What it says of each kind of weights, such as "pytorch_state_dict".
    """

    path: Path
    fields: Mapping[str, Any]
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    weights: Mapping[str, Mapping[str, Any]]

    def text(self, key: str) -> str:
        """Return a key's text in one line; empty where it has none."""
        value = self.fields.get(key)
        return " ".join(value.split()) if isinstance(value, str) else ""


def found_in(source: Path) -> Path | None:
    """Return the description that a path is, or that lies in it; None if there is none.

    A folder with a card of our own has none: that card counts.
    """
    if source.is_file():
        return source if source.name in NAMES or source.name.endswith(".bioimageio.yaml") else None
    if not source.is_dir() or (source / "model.yaml").is_file():
        return None
    named = next((source / name for name in NAMES if (source / name).is_file()), None)
    return named or next(iter(sorted(source.glob("*.bioimageio.yaml"))), None)


def read_description(path: Path) -> Description:
    """Read a model description.

    Raises
    ------
    UserError
        If it is none, of another version, or says something that it cannot say.
    """
    fields = read_mapping(path, "model description")
    kind, version = fields.get("type", "model"), str(fields.get("format_version", ""))
    if kind != "model":
        raise UserError(f"{path}: describes something of type {quoted(kind)}, no model.")
    numbers = re.match(r"0\.([45])\b", version)
    if numbers is None:
        raise UserError(
            f"{path}: its format_version is {quoted(version)}; 0.4 and 0.5 are known (`bioimageio update-format` brings an older "
            "description up to date)."
        )
    read = _old_tensor if numbers[1] == "4" else _tensor
    inputs, outputs = (
        tuple(
            read(tensor, f"{path}: {key}")
            for one in _list(fields, key, str(path))
            if not (tensor := _mapping(one, f"{path}: {key}")).get("optional")
        )
        for key in ("inputs", "outputs")
    )
    weights = _mapping(fields.get("weights"), f"{path}: weights")
    found = {str(name): _mapping(one, f"{path}: weights {name}") for name, one in weights.items() if one}
    if not inputs or not outputs or not found:
        raise UserError(f"{path}: a model has inputs, outputs and weights; this one lacks some of them.")
    return Description(path, fields, inputs, outputs, found)


def number_of(value: Any, where: str) -> float:
    """Return a number, also one that YAML 1.1 takes for text, such as 1e-6.

    Raises
    ------
    UserError
        If it is none.
    """
    try:
        if not isinstance(value, bool):
            return float(value)
    except (TypeError, ValueError):
        pass
    raise UserError(f"{where} is {quoted(value)}; it needs a number.")


def _old_tensor(said: Mapping[str, Any], where: str) -> Tensor:
    """Read a tensor of version 0.4, whose axes are letters."""
    axes, shape = said.get("axes"), said.get("shape")
    if not isinstance(axes, str) or not re.fullmatch(r"[bctizyx]+", axes) or len(set(axes)) != len(axes):
        raise UserError(
            f"{where}: axes is {quoted(axes)}; it is written in the letters b, c, t, i, z, y and x."
        )
    least: Any = shape
    steps: Any = [0] * len(axes)
    if isinstance(shape, Mapping) and "min" in shape:
        least, steps = shape.get("min"), shape.get("step")
    sizes = {}
    if not isinstance(shape, Mapping) or "min" in shape:
        if not (_whole(least, len(axes)) and _whole(steps, len(axes))):
            raise UserError(
                f"{where}: shape is {quoted(shape)}; it needs a whole number for each of the axes {axes}."
            )
        sizes = {axis: Size(*pair) for axis, *pair in zip(axes, least, steps, strict=True)}
    count = sizes["c"].least if "c" in sizes else None if "c" in axes else 1
    halo = said.get("halo")
    halo = dict(zip(axes, halo, strict=True)) if halo is not None and _whole(halo, len(axes)) else {}
    return Tensor(
        str(said.get("name", "")),
        axes,
        sizes,
        None,
        count,
        _range(said.get("data_range"), where),
        {axis: width for axis, width in halo.items() if axis in "zyx" and width},
        {},
        _steps(said, where, "name", {}),
    )


def _tensor(said: Mapping[str, Any], where: str) -> Tensor:
    """Read a tensor of version 0.5, whose axes are mappings."""
    letters: dict[str, str] = {}
    sizes: dict[str, Size] = {}
    channels: tuple[str, ...] | None = None
    halo, scales = {}, {}
    for each in _list(said, "axes", where):
        axis = _mapping(each, f"{where}: axes")
        kind = axis.get("type")
        name = str(axis.get("id", "x" if kind == "space" else kind))
        letter = name if kind == "space" and name in ("x", "y", "z") else KINDS.get(str(kind), "")
        if not letter or letter in letters.values():
            raise UserError(
                f"{where}: holds an axis {quoted(name)} of type {quoted(kind)}; each of batch, channel, time, index, and of x, y and z "
                "of space, is known once."
            )
        letters[name] = letter
        if kind == "channel":
            channels = tuple(" ".join(str(name).split()) for name in _list(axis, "channel_names", where))
        if (size := _size(axis.get("size"))) is not None:
            sizes[letter] = size
        if isinstance(axis.get("halo"), int) and axis["halo"] > 0:
            halo[letter] = axis["halo"]
        if axis.get("unit") and axis.get("scale"):
            scales[letter] = f"{number_of(axis['scale'], f'{where}: scale'):g} {axis['unit']}"
    data = said.get("data")
    data = data[0] if isinstance(data, list) and data else data
    return Tensor(
        str(said.get("id", where.rpartition(" ")[2].removesuffix("s"))),
        "".join(letters.values()),
        sizes,
        channels,
        len(channels) if channels is not None else 1,
        _range(data.get("range"), where) if isinstance(data, Mapping) else None,
        halo,
        scales,
        _steps(said, where, "id", letters),
    )


def _size(said: Any) -> Size | None:
    """Return the sizes of an axis of version 0.5; None where they are those of another axis."""
    if _whole([said], 1) and said > 0:
        return Size(said)
    if isinstance(said, Mapping) and _whole([said.get("min"), said.get("step")], 2) and said["min"] > 0:
        return Size(said["min"], said["step"])
    return None


def _steps(said: Mapping[str, Any], where: str, key: str, letters: Mapping[str, str]) -> tuple[Step, ...]:
    found = []
    for part in ("preprocessing", "postprocessing"):
        for each in said.get(part) or ():
            step = _mapping(each, f"{where}: {part}")
            name = str(step.get(key, ""))
            numbers = _mapping(step.get("kwargs") or {}, f"{where}: {part} {name}")
            axes = _axes(numbers.get("axes", numbers.get("axis")), letters, f"{where}: {part} {name}")
            whole = numbers.get("mode") == "per_dataset" or (bool(letters) and "b" in (axes or ""))
            found.append(Step(name, numbers, axes, whole))
    return tuple(found)


def _axes(said: Any, letters: Mapping[str, str], where: str) -> str | None:
    """Return the letters of axes: a word of letters in version 0.4, names or one name in 0.5."""
    if said is None:
        return None
    names = list(said) if isinstance(said, list) or not letters else [said]
    unknown = [name for name in names if letters and name not in letters]
    if unknown:
        raise UserError(f"{where} names the axis {quoted(unknown[0])}, which the tensor has not.")
    return "".join(letters.get(name, str(name)) for name in names)


def _range(said: Any, where: str) -> tuple[float, float] | None:
    if not isinstance(said, list | tuple) or len(said) != 2 or None in said:
        return None
    return number_of(said[0], f"{where}: range"), number_of(said[1], f"{where}: range")


def _whole(values: Any, count: int) -> bool:
    """Tell whether these are so many whole numbers of 0 or more."""
    fits = isinstance(values, list | tuple) and len(values) == count
    return fits and all(isinstance(n, int) and not isinstance(n, bool) and n >= 0 for n in values)


def _mapping(value: Any, where: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise UserError(f"{where} is {quoted(value)}; it needs a mapping of keys to values.")
    return value


def _list(fields: Mapping[str, Any], key: str, where: str) -> list[Any]:
    value = fields.get(key)
    if not isinstance(value, list) or not value:
        raise UserError(f"{where}: {key} is {quoted(value)}; it needs a list.")
    return value
