"""How a bundle prepares images: MONAI's transforms, in their order, as orientation, grid and intensity of a card."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from napari_segxai.models.formats.monai_bundle.config import (
    TARGET,
    Unread,
    arguments,
    class_name,
    is_component,
    unread,
)
from napari_segxai.models.formats.monai_bundle.framing import PADDING, pad_of, without_axis, wrong_crop
from napari_segxai.models.formats.monai_bundle.intensity import KNOWN, MEASURING, steps_of

WITHOUT_EFFECT = [
    "AddChannel",
    "AsChannelFirst",
    "DataStats",
    "DeleteItems",
    "EnsureChannelFirst",
    "EnsureType",
    "FromMetaTensor",
    "Identity",
    "LoadImage",
    "SelectItems",
    "SimulateDelay",
    "ToCupy",
    "ToDevice",
    "ToMetaTensor",
    "ToNumpy",
    "ToTensor",
]
"""Transforms that leave the values of an image where and as they are."""

SPATIAL = [
    "Affine",
    "CenterSpatialCrop",
    "Crop",
    "Flip",
    "Pad",
    "ResizeWithPadOrCrop",
    "Rotate",
    "Rotate90",
    "SpatialCrop",
    "SpatialResample",
    "Zoom",
]
"""Transforms that change where things lie in a way that no card can say."""

RANDOM = "Rand"
"""How the names of transforms begin that change images by chance in training."""

NOT_IMAGES = ("label", "labels", "mask", "seg", "segmentation", "pred")

LINEAR = ("bilinear", "trilinear", "linear")


@dataclass
class Preparation:
    """What has been read of the transforms.

    Attributes
    ----------
    channels
        Names of the network's channels.
    dims
        Axes of space that the network sees.
    slices
        The axis along which a volume is cut into slices for a 2D network; None where it is not.
    fields
        Keys of a card.
    asked
        As of a `PartialCard`.
    notes
        What was left out.
    is_training
        Whether the transforms are those of a training, some of which change images by chance.
    resampled, cropped, padded
        What has been done to images so far; of padding, how many intensity steps came before it.
    """

    channels: Sequence[str]
    dims: int
    slices: int | None = None
    fields: dict[str, Any] = field(default_factory=dict)
    asked: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    grid: dict[str, Any] = field(default_factory=dict)
    before: list[dict[str, Any]] = field(default_factory=list)
    after: list[dict[str, Any]] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)
    is_training: bool = False
    resampled: bool = False
    cropped: bool = False
    padded: int | None = None
    transposed: bool = False

    def ask(self, key: str, what: str) -> None:
        """Ask for a key of the card; the first reason is given."""
        self.asked.setdefault(key, what)

    @property
    def is_framed(self) -> bool:
        """Whether images are cropped on the grid, or padded, so far."""
        return self.cropped or self.padded is not None

    @property
    def steps(self) -> list[dict[str, Any]]:
        """The intensity steps so far."""
        return self.before + self.after


def read_transforms(
    found: Any, channels: Sequence[str], dims: int, slices: int | None, *, is_training: bool = False
) -> Preparation:
    """Read the transforms of a bundle.

    Parameters
    ----------
    found
        The component "Compose", or a list of transforms; None where the bundle says nothing.
    is_training
        Whether they are those of a training: what changes images by chance is passed over then.
    """
    out = Preparation(channels, dims, slices, is_training=is_training)
    if is_component(found) and class_name(found) == "Compose":
        found = found.get("transforms")
    if not isinstance(found, list):
        where = (
            "has no `preprocessing`"
            if found is None
            else f"prepares images by {found!r:.100}, which is not run"
        )
        for key, what in (("intensity", "the intensity steps"), ("grid", "size or spacing of the grid")):
            out.ask(key, f"{what} (the bundle {where})")
        found = []
    for one in found:
        _transform(out, one)
    if out.padded is not None and out.padded < len(out.steps):
        if out.padded:
            out.ask(
                "intensity",
                "the intensity steps (in the bundle some come before the image is padded and some after)",
            )
        out.grid["pad"]["value_of"] = "image"
    out.fields["grid"] = out.grid
    if out.before and out.after:
        out.ask(
            "intensity",
            "the intensity steps (in the bundle some come before the image is resampled and some after)",
        )
    if out.before and not out.after and out.resampled:
        out.fields["intensity_on"] = "image"
    if slices is not None and any(name in step for step in out.steps for name in MEASURING):
        out.fields["intensity_on"] = "volume"  # MONAI cuts slices only after it has prepared the volume
    out.fields["intensity"] = out.steps
    out.fields["orientation"] = _orientation(out)
    return out


def _orientation(out: Preparation) -> str:
    """Return the card's codes: MONAI takes the axes i, j, k of a file, or those of Orientation; of pictures columns come first."""
    codes = out.fields.get("orientation", "ijk")
    if out.dims == 2:
        across = 2 if out.slices is None else out.slices
        inner = codes[:across] + codes[across + 1 :]
        codes = codes[across] + (inner[::-1] if out.transposed else inner)
    return codes


def _transform(out: Preparation, one: Any) -> None:
    if not is_component(one):
        out.ask(
            "intensity",
            f"the intensity steps (the bundle has {one!r:.100} among its transforms, which is not run)",
        )
        return
    name, own = _plain_name(one), arguments(one)
    keys = own.pop("keys", None)
    keys = [keys] if isinstance(keys, str) else keys
    if isinstance(keys, list) and name == "LoadImage":
        images = [key for key in keys if key not in NOT_IMAGES]
        out.keys = ["image"] if "image" in images else images
    concerned = [key for key in out.keys if keys is None or isinstance(keys, Unread) or key in keys]
    if out.keys and not concerned:
        return
    if "." in name:
        out.ask(
            "intensity",
            f"the intensity steps (among the bundle's transforms is {one[TARGET]!r:.80}, which is not run)",
        )
        out.keys = []  # what it does with them is not known
    elif name in KNOWN:
        _intensity(out, name, own, concerned)
    elif name in READ:
        left = list(unread(own))
        if left:
            out.ask(
                READ[name][1],
                f"what {one[TARGET]} does, whose {left[0][0]} is {left[0][1]!r}, which is not run",
            )
        elif (wrong := READ[name][0](out, own)) is not None:
            out.ask(READ[name][1], f"what {one[TARGET]} does in the bundle, which {wrong}")
    elif out.is_training and name.startswith(RANDOM):
        out.notes.append(
            f"{one[TARGET]} of the bundle's training is left out, as it changes images by chance."
        )
    elif name in PADDING:
        if (wrong := _pad(out, name, own)) is not None:
            out.ask(
                "grid",
                f"the grid (the bundle's {one[TARGET]} {wrong}, which a card cannot say; {out.grid} leaves it out)",
            )
    elif name == "CastToType":
        if own.get("dtype", "float32") not in ("float32", "float64", "float"):
            out.ask(
                "intensity",
                f"the intensity steps (the bundle's {one[TARGET]} makes {own['dtype']!r:.60} of the values)",
            )
    elif name in SPATIAL:
        out.ask("grid", f"the grid (the bundle's {one[TARGET]} cannot be said by a card; {{}} leaves it out)")
    elif name not in WITHOUT_EFFECT:
        out.ask(
            "intensity",
            f"the intensity steps (the bundle's {one[TARGET]} cannot be said by a card as it is; without it they are {out.steps})",
        )


def _plain_name(one: Mapping[str, Any]) -> str:
    """Return the name of a transform without the ending that says that it is for dictionaries."""
    name = class_name(one)
    for ending in ("Dict", "d", "D"):
        short = name.removesuffix(ending)
        if short != name and (short in ALL or ending != "d"):
            return short
    return name


def _intensity(out: Preparation, name: str, own: dict[str, Any], concerned: list[str]) -> None:
    left = list(unread(own))
    count = len(out.channels)
    names = list(out.channels)
    several = len(out.keys) > 1
    if several and len(out.keys) == count:  # files that are joined later on: each is measured by itself
        names = [out.channels[out.keys.index(key)] for key in concerned]
    steps = None if left or (several and len(out.keys) != count) else steps_of(name, own, names)
    if steps is None:
        what = (
            f"whose {left[0][0]} is {left[0][1]!r}, which is not run"
            if left
            else "which a card cannot say as it is"
        )
        out.ask(
            "intensity",
            f"the intensity steps (the bundle has {name}, {what}; without it they are {out.steps})",
        )
        return
    if several and (len(names) < count or any(key in step for step in steps for key in MEASURING)):
        steps = [{**step, "channels": [each]} for each in names for step in steps]
    done = "cropped" if out.cropped else "padded" if out.padded is not None else ""
    if done and any(key in step for step in steps for key in MEASURING):
        out.ask(
            "intensity",
            f"the intensity steps (the bundle's {name} measures the {done} image, and those of a card the whole one)",
        )
    (out.after if out.resampled else out.before).extend(steps)


def _orient(out: Preparation, own: dict[str, Any]) -> str | None:
    codes = "RAS" if own.get("as_closest_canonical") is True else own.get("axcodes")
    codes = "".join(map(str, codes)) if isinstance(codes, list) else codes
    if not isinstance(codes, str) or len(codes) != 3 or own.get("labels") is not None:
        return "turns images by other codes than three letters such as RAS"
    if out.resampled or out.is_framed:
        return "comes after the image is resampled, cropped or padded"
    out.fields["orientation"] = codes.upper()
    return None


def _spacing(out: Preparation, own: dict[str, Any]) -> str | None:
    pixdim, mode = own.get("pixdim"), _one(own.get("mode", "bilinear"))
    pixdim = [pixdim] if isinstance(pixdim, int | float) else pixdim
    for name, usual in (
        ("diagonal", False),
        ("scale_extent", False),
        ("padding_mode", "border"),
        ("min_pixdim", None),
        ("max_pixdim", None),
    ):
        if _one(own.get(name, usual)) not in (usual, str(usual).upper()):
            return f"has {name} {own[name]!r:.60}"
    if mode not in (*LINEAR, "nearest"):
        return f"has the mode {mode!r:.40}"
    if (
        not isinstance(pixdim, list)
        or not pixdim
        or not all(isinstance(n, int | float) and n > 0 for n in pixdim)
    ):
        return f"has pixdim {pixdim!r:.60}"
    if out.resampled or out.is_framed or out.slices is not None:
        done = "resampled" if out.resampled else "cropped or padded" if out.is_framed else ""
        return f"resamples what was {done}" if done else "resamples across the slices that the network sees"
    out.grid |= {
        "spacing": [float(n) for n in (pixdim + pixdim[-1:] * out.dims)[: out.dims]],
        "align": "centers",
        "interpolation": "nearest" if mode == "nearest" else "linear",
    }
    out.resampled = True
    return None


def _resize(out: Preparation, own: dict[str, Any]) -> str | None:
    size, mode = own.get("spatial_size"), _one(own.get("mode", "area"))
    if (
        own.get("size_mode", "all") != "all"
        or _one(own.get("anti_aliasing", False))
        or _one(own.get("align_corners"))
    ):
        return "resizes by size_mode, anti_aliasing or align_corners"
    if mode not in (*LINEAR, "area", "nearest-exact"):
        return f"has the mode {mode!r:.40}"
    if (
        not isinstance(size, list)
        or len(size) != out.dims
        or not all(isinstance(n, int) and n > 0 for n in size)
    ):
        return f"has spatial_size {size!r:.60}"
    if out.resampled or out.is_framed or out.slices is not None:
        done = "resampled" if out.resampled else "cropped or padded" if out.is_framed else ""
        return f"resizes what was {done}" if done else "resizes across the slices that the network sees"
    way = "area" if mode == "area" else "nearest" if mode == "nearest-exact" else "linear"
    out.grid |= {"size": size, "interpolation": way, "antialias": False}
    out.resampled = True
    return None


def _crop(out: Preparation, own: dict[str, Any]) -> str | None:
    if wrong := wrong_crop(own, out.keys):
        return wrong
    if out.slices is not None:
        return "crops volumes of which the network sees slices"
    if out.grid.get("crop") or out.padded is not None:
        return f"crops what was {'cropped' if out.grid.get('crop') else 'padded'}"
    out.grid["crop"] = "positive"
    if out.resampled or out.steps:
        out.grid["crop_on"] = "network" if out.steps else "grid"
        out.cropped = True
    return None


def _pad(out: Preparation, name: str, own: dict[str, Any]) -> str | None:
    left = next(unread(own), None)
    if left is not None:
        return f"has {left[0]} {left[1]!r}, which is not run"
    if out.padded is not None:
        return "pads what was padded"
    found = pad_of(name, own, out.dims + (out.slices is not None))
    if isinstance(found, str):
        return found
    pad = found if out.slices is None else without_axis(found, out.slices)
    if pad is None:
        return "puts slices before or behind the volume"
    out.grid["pad"], out.padded = pad, len(out.steps)
    return None


def _transpose(out: Preparation, own: dict[str, Any]) -> str | None:
    if (
        out.dims == 2
        and out.slices is None
        and own.get("indices") == [0, 2, 1]
        and not (out.resampled or out.is_framed)
    ):
        out.transposed = not out.transposed
        return None
    return "changes the order of the axes"


def _concat(out: Preparation, own: dict[str, Any]) -> str | None:
    name = own.get("name")
    if not isinstance(name, str) or own.get("dim", 0) != 0:
        return "joins images along other axes than that of channels"
    if len(out.keys) != len(out.channels):
        return f"joins {len(out.keys)} images into {len(out.channels)} channels"
    out.keys = [name]
    return None


def _one(value: Any) -> Any:
    """Return what a list says for all keys alike."""
    return value[0] if isinstance(value, list) and value and all(one == value[0] for one in value) else value


READ: dict[str, tuple[Callable[[Preparation, dict[str, Any]], str | None], str]] = {
    "Orientation": (_orient, "orientation"),
    "Spacing": (_spacing, "grid"),
    "Resize": (_resize, "grid"),
    "CropForeground": (_crop, "grid"),
    "Transpose": (_transpose, "orientation"),
    "ConcatItems": (_concat, "intensity"),
}
"""Transforms that a card can say, and the key that is asked where it cannot; each returns what is wrong, or None."""

ALL = {*WITHOUT_EFFECT, *PADDING, *SPATIAL, *KNOWN, *READ, "CastToType"}
