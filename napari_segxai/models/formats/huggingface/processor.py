"""What an image processor of transformers does to an image, as a model card says it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from napari_segxai.core.errors import UserError

IMAGENET = {"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]}
HALVES = {"image_mean": [0.5] * 3, "image_std": [0.5] * 3}

NEAREST, BILINEAR, BICUBIC = 0, 2, 3
"""PIL's numbers of ways to resample."""

WAYS = {NEAREST: "nearest", BILINEAR: "linear", BICUBIC: "bicubic"}

ALWAYS = {"do_resize": True, "do_rescale": True, "rescale_factor": 1 / 255, "do_normalize": True}

USUAL: dict[str, dict[str, Any]] = {
    "segformer": {"resample": BILINEAR, "size": {"height": 512, "width": 512}, **IMAGENET},
    "beit": {"resample": BICUBIC, "size": {"height": 224, "width": 224}, **HALVES},
    "dpt": {"resample": BICUBIC, "size": {"height": 384, "width": 384}, **HALVES},
    "vit": {"resample": BILINEAR, "size": {"height": 224, "width": 224}, **HALVES},
    "mobilevit": {
        "resample": BILINEAR,
        "size": {"shortest_edge": 224},
        "do_normalize": False,
        "do_flip_channel_order": True,
        **HALVES,
    },
    "mobilenetv2": {"resample": BILINEAR, "size": {"shortest_edge": 256}, **HALVES},
    "maskformer": {
        "resample": BILINEAR,
        "size": {"shortest_edge": 800, "longest_edge": 1333},
        "size_divisor": 32,
        **IMAGENET,
    },
    "eomt": {"resample": BILINEAR, "size": {"shortest_edge": 640, "longest_edge": 640}, **IMAGENET},
}
"""What processors do that older files leave out, by the beginning of their names."""

NAMES = {"mask2former": "maskformer", "data2vecvision": "beit", "upernet": "segformer", "mobilevitv2": "mobilevit"}  # fmt: skip
"""Networks that have the processor of another one."""


@dataclass
class Preparation:
    """How images are prepared.

    Attributes
    ----------
    known
        Keys of a card.
    asked, suggested
        As `PartialCard` has them: what no card can say in the way of the processor.
    flip_channels
        Whether the network wants blue first.
    notes
        What is done otherwise.
    """

    known: dict[str, Any] = field(default_factory=dict)
    asked: dict[str, str] = field(default_factory=dict)
    suggested: dict[str, Any] = field(default_factory=dict)
    flip_channels: bool = False
    notes: tuple[str, ...] = ()


def preparation_of(
    processor: Mapping[str, Any] | None, model_type: str, channels: int, side: Any, where: Path
) -> Preparation:
    """Return how images are prepared.

    Parameters
    ----------
    processor
        preprocessor_config.json; None where there is none.
    model_type
        Of the network.
    channels
        Of the network's input.
    side
        ``image_size`` of the network's settings, if it has one.
    where
        For messages.

    Raises
    ------
    UserError
        If settings are of another kind than transformers writes.
    """
    usual = _usual(processor or {}, model_type)
    if processor is None:
        if (
            len(usual.get("image_mean", ())) != channels
        ):  # what is usual for photographs suggests nothing then
            usual = {**usual, "do_normalize": False} if usual else usual
        suggested: dict[str, Any] = (
            {"intensity": _intensity({**ALWAYS, **usual}, channels, where)} if usual else {}
        )
        if usual:
            suggested["grid"] = _grid({**ALWAYS, **usual}, where)
        return Preparation(
            asked={
                "grid": f"how images are resized, as there is no {where.name}, such as {{size: [512, 512]}}, or {{}} for not at all",
                "intensity": f"the steps that prepare their values, as there is no {where.name}",
            },
            suggested=suggested,
            flip_channels=bool(usual.get("do_flip_channel_order")),
        )
    settings = {**ALWAYS, **usual, **{key: value for key, value in processor.items() if value is not None}}
    found = Preparation(flip_channels=channels == 3 and bool(settings.get("do_flip_channel_order")))
    found.known["intensity"] = _intensity(settings, channels, where)
    apart = _own_way(settings)
    if apart:
        found.asked["grid"] = (
            f"how images are resized, as its processor {apart}, such as {{size: [512, 512]}}"
        )
        found.suggested["grid"] = {"size": _pair(side) or [512, 512]}
    else:
        found.known["grid"] = _grid(settings, where)
    if settings.get("do_center_crop"):
        cut = " x ".join(map(str, _pair(settings.get("crop_size")) or ["?"]))
        found.notes = (
            f"the network sees whole images; its image processor would cut out their middle ({cut} cells) and say nothing of the rest.",
        )
    if settings.get("do_reduce_labels") or settings.get("reduce_labels"):
        numbered = (
            "label images of its training were numbered from 1 (do_reduce_labels), its labels are from 0: a truth with the numbers of its "
            "training would be read one label too high, so give a truth as a mask for each label."
        )
        found.notes += (numbered,)
    if settings.get("do_resize") and settings.get("resample") not in WAYS:
        found.notes += ("images are resampled bicubically, in place of another way that its processor has.",)
    return found


def _usual(processor: Mapping[str, Any], model_type: str) -> dict[str, Any]:
    """Return what a kind of processor does by itself."""
    named = processor.get("image_processor_type") or processor.get("feature_extractor_type") or model_type
    name = str(named).lower().replace("_", "").replace("-", "")
    for end in ("fast", "pil", "imageprocessor", "featureextractor"):
        name = name.removesuffix(end)
    return USUAL.get(NAMES.get(name, name), {})


def _own_way(settings: Mapping[str, Any]) -> str:
    """Return in which way of its own a processor resizes images; empty where a card can say it."""
    if settings.get("do_split_image"):
        return "cuts images into pieces"
    if not settings.get("do_resize"):
        return ""
    size = settings.get("size")
    if settings.get("keep_aspect_ratio"):
        return "fits one side of an image and keeps its shape"
    if isinstance(size, Mapping) and "max_height" in size:
        return "fits images into a box"
    if settings.get("do_pad") and settings.get("pad_size"):
        return "pads images to one size"
    return ""


def _grid(settings: Mapping[str, Any], where: Path) -> dict[str, Any]:
    if not settings.get("do_resize"):
        return {}
    size = settings.get("size")
    grid: dict[str, Any] = {}
    if isinstance(size, Mapping) and size.get("shortest_edge"):
        grid["shortest_edge"] = _whole(size["shortest_edge"], where)
        if size.get("longest_edge"):
            grid["longest_edge"] = max(_whole(size["longest_edge"], where), grid["shortest_edge"])
    elif isinstance(size, Mapping) and size.get("height") and size.get("width"):
        grid["size"] = [_whole(size[key], where) for key in ("height", "width")]
    elif isinstance(size, list | tuple) and len(size) == 2:
        grid["size"] = [_whole(n, where) for n in reversed(size)]  # older files have the width first
    elif isinstance(size, int | float) and not isinstance(size, bool):
        like = settings.get("max_size") or "shortest_edge" in _usual(settings, "").get("size", {})
        grid = {"shortest_edge": _whole(size, where)} if like else {"size": [_whole(size, where)] * 2}
        if settings.get("max_size"):
            grid["longest_edge"] = max(_whole(settings["max_size"], where), grid["shortest_edge"])
    else:
        raise UserError(
            f"{where}: size is {size!r:.80}; it needs height and width, or shortest_edge, as transformers writes."
        )
    divisor = _whole(settings.get("size_divisor", settings.get("size_divisibility")) or 1, where)
    multiple = _whole(settings.get("ensure_multiple_of") or 1, where)
    if "size" in grid:
        nearest = [max(1, round(n / multiple)) * multiple for n in grid["size"]]
        grid["size"] = [-(-n // divisor) * divisor for n in nearest]
    elif divisor > 1:
        grid["edge_multiple"] = divisor
    way = WAYS.get(settings.get("resample", BILINEAR), "bicubic")
    return grid if way == "linear" else {**grid, "interpolation": way}


def _intensity(settings: Mapping[str, Any], channels: int, where: Path) -> list[dict[str, Any]]:
    steps: list[dict[str, Any]] = []
    bicubic = (
        settings.get("do_resize")
        and WAYS.get(settings.get("resample", BILINEAR), "bicubic") == "bicubic"
        and settings.get("do_rescale")
    )
    if bicubic:
        steps.append({"clip": [0, 255]})  # values of 8 bits cannot overshoot
    if settings.get("do_rescale"):
        factor = settings.get("rescale_factor")
        if not isinstance(factor, int | float) or not 0 < factor < math.inf:
            raise UserError(f"{where}: rescale_factor is {factor!r:.60}; it needs a positive number.")
        whole = round(1 / factor)
        exact = whole > 0 and math.isclose(1 / whole, factor, rel_tol=1e-9)
        steps.append({"divide": whole} if exact else {"scale_shift": [factor, 0]})
    if settings.get("do_normalize") and not settings.get(
        "do_flip_channel_order"
    ):  # by whose processor none is done
        numbers = {key: _numbers(settings, f"image_{key}", channels, where) for key in ("mean", "std")}
        steps.append({"normalize": numbers})
    return steps


def _numbers(settings: Mapping[str, Any], key: str, channels: int, where: Path) -> list[float]:
    """Return a number for every channel, or one for all."""
    told = settings.get(key)
    each = list(told) if isinstance(told, list | tuple) else [told]
    if len(each) not in (1, channels) or not all(isinstance(one, int | float) for one in each):
        raise UserError(
            f"{where}: {key} is {told!r:.80}; it needs a number for each of the {channels} channel(s)."
        )
    return each


def _pair(size: Any) -> list[int] | None:
    """Return rows and columns, where both are told."""
    if isinstance(size, Mapping):
        size = [size.get("height"), size.get("width")]
    elif isinstance(size, int):
        size = [size, size]
    right = isinstance(size, list | tuple) and len(size) == 2
    return list(size) if right and all(isinstance(n, int) and n > 0 for n in size) else None


def _whole(value: Any, where: Path) -> int:
    if not isinstance(value, int | float) or isinstance(value, bool) or value < 1 or value != int(value):
        raise UserError(f"{where}: a size is {value!r:.60}; it needs a whole number of cells.")
    return int(value)
