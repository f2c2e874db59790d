"""What a record says of an image, and the image that a record speaks of: read from its file when its values are needed."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from napari_segxai.core import orientation
from napari_segxai.core.errors import UserError, reason_of
from napari_segxai.core.image import Image, Lazy
from napari_segxai.io import read_image
from napari_segxai.io.layer_check import check_place

MATRICES = ("affine", "rotate", "shear", "inner")
"""What of a layer's transform is an array."""

AT = {"axes", "at", "level"}
"""What a record says of an image that was taken from more, beside what it says of the layer."""


def image_as_dict(image: Image) -> dict[str, Any]:
    """Return what tells an image apart from others, where it lies, and from where its values come."""
    return {
        "name": image.name,
        "path": image.path,
        "sha256": image.sha256,
        "shape": list(image.shape),
        "dtype": image.dtype.str,
        "spacing": list(image.spacing),
        "units": image.units,
        "affine": None if image.affine is None else image.affine.tolist(),
        "channel_axis": image.channel_axis,
        "time_axis": image.time_axis,
        "plane": image.plane,
        "format": image.header.get("format"),
        "header": _header_as_dict(image.header),
        "layer": _plain(image.layer),
        **_taken(image),
    }


def image_from_dict(facts: Mapping[str, Any]) -> Image:
    """Return the image of a record.

    Parameters
    ----------
    facts
        As `image_as_dict` returns them.

    Returns
    -------
    Image
        Its values are read when they are needed. That raises a `UserError` if its file is not there any more, or holds
        others.
    """
    try:
        image = _image(facts)
        check_place(image)
        again = {key: value for key, value in image_as_dict(image).items() if key != "channels"}
        differ = [
            key for key in {**again, **dict.fromkeys(AT & facts.keys())} if again.get(key) != facts.get(key)
        ]
        if differ:
            raise ValueError(f"{differ[0]} does not fit what it says beside it")
    except UserError:
        raise
    except (KeyError, TypeError, IndexError, AttributeError, ValueError, OverflowError) as error:
        raise UserError(
            f"the record does not say where the image {facts['name']} lies ({reason_of(error)}); save the result again."
        ) from error
    return image


def _image(facts: Mapping[str, Any]) -> Image:
    stored = Lazy(lambda: _values(facts), tuple(facts["shape"]), np.dtype(facts["dtype"]))
    affine = facts["affine"]
    image = Image(
        stored,  # ty: ignore[invalid-argument-type]
        affine=None if affine is None else np.array(affine, float),
        channel_axis=facts["channel_axis"],
        time_axis=facts["time_axis"],
        spacing=tuple(facts["spacing"]),
        units=facts["units"],
        name=facts["name"],
        path=facts["path"],
        layer=_read(facts["layer"]),
        header=_header_from_dict(facts["header"]),
        plane=facts["plane"],
    )
    image.__dict__["sha256"] = facts["sha256"]  # of the values, which need not be read for it
    return image


def _header_as_dict(header: Mapping[str, Any]) -> dict[str, Any]:
    """Return `Image.header` as JSON can hold it; images that were joined are told elsewhere in the record."""
    from napari_segxai.io.nifti.header_record import header_as_dict

    return {
        key: header_as_dict(value) if key == "header" else _plain(value)
        for key, value in header.items()
        if key != "joined"
    }


def _header_from_dict(facts: Mapping[str, Any]) -> dict[str, Any]:
    from napari_segxai.io.nifti.header_record import header_from_dict

    return {
        key: header_from_dict(value) if key == "header" and value else _read(value, key)
        for key, value in facts.items()
    }


def _taken(image: Image) -> dict[str, Any]:
    """Say what was taken of a layer that has more axes than space, or more levels, and what was joined."""
    layer = image.layer
    out: dict[str, Any] = {}
    if len(layer.get("letters", "")) > image.spatial_dims:
        out["axes"] = layer["letters"]
    if at := image.at:
        out["at"] = at
    if layer.get("level"):
        out["level"] = layer["level"]
    if "joined" in image.header:
        out["channels"] = [{"name": one.name, "path": one.path} for one in image.header["joined"]]
    return out


def _plain(layer: Any) -> Any:
    """Return the facts of a layer as JSON can hold them: whole numbers as keys become pairs."""
    if isinstance(layer, Mapping):
        if layer and all(isinstance(key, int | np.integer) for key in layer):
            return {"pairs": [[int(key), _plain(value)] for key, value in layer.items()]}
        return {key: _plain(value) for key, value in layer.items()}
    if isinstance(layer, np.ndarray | np.generic):
        return layer.tolist()
    if isinstance(layer, tuple | list):
        return [_plain(item) for item in layer]
    return layer if layer is None or isinstance(layer, bool | int | float | str) else str(layer)


def _read(plain: Any, name: str = "") -> Any:
    """Undo `_plain`."""
    if isinstance(plain, Mapping):
        if set(plain) == {"pairs"}:
            return {int(key): _read(value) for key, value in plain["pairs"]}
        return {key: _read(value, key) for key, value in plain.items()}
    if isinstance(plain, list):
        return np.array(plain, float) if name in MATRICES else tuple(_read(item) for item in plain)
    return plain


def _values(facts: Mapping[str, Any]) -> np.ndarray:
    """Read the values that were explained, known by their digest, from the file of the image or of its layer.

    Raises
    ------
    UserError
        If none holds them.
    """
    for image in _readings(facts):
        turned = orientation.apply(image.channels_first(), image.to_display)
        for array in (image.array, turned, *([np.moveaxis(turned, 0, -1)] if len(turned) > 1 else turned)):
            if (
                list(array.shape) == facts["shape"]
                and Image(array, **_roles(facts)).sha256 == facts["sha256"]
            ):
                return np.ascontiguousarray(array)
    place = f"{facts['path']} is not there any more, or holds others" if facts["path"] else "it has no file"
    raise UserError(
        f"the values of {facts['name']}, which was explained, cannot be read: {place}; open the image and explain it again."
    )


def _roles(facts: Mapping[str, Any]) -> dict[str, Any]:
    return {key: facts[key] for key in ("channel_axis", "time_axis")}


def _readings(facts: Mapping[str, Any]) -> Iterator[Image]:
    """Go through what the files of a record can be read as."""
    parts = [part["path"] for part in facts.get("channels", ())]
    paths: list[Any] = [facts["path"], facts["layer"].get("source")]
    paths += [parts] * (bool(parts) and all(parts))
    for path in paths:
        if not path or any(is_remote(one) for one in ([path] if isinstance(path, str) else path)):
            continue
        level = {"level": facts["level"]} if "level" in facts else {}
        for asked in ({}, {"channel_axis": facts["channel_axis"]}, {"axes": facts.get("axes")}):
            if asked and None in asked.values():
                continue
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    image = read_image(path, **asked, **level)
            except UserError:
                continue
            if image.time_axis is None:
                yield image
            else:
                yield image.frame(facts.get("at", {}).get("T", 0))


def is_remote(path: str) -> bool:
    """Tell whether a path names another computer, to which a stranger's record must not make this one log in."""
    return path.startswith(("\\\\", "//"))
