"""The model card: what a network needs to see, what its outputs mean, where it comes from."""

from __future__ import annotations

import math
import os
import re
import unicodedata
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from napari_segxai.core.errors import UserError, nearest, number
from napari_segxai.core.paths import user_path
from napari_segxai.models.loading.yaml_file import read_mapping
from napari_segxai.models.preprocessing.rules import Grid, Intensity
from napari_segxai.models.windows.rule import Windows

LARGEST = 2**28
"""Numbers of an input that a card can ask for by itself: 1 GB."""

MOST_LABELS = 2**16 - 1


LONGEST_NAME = 500

JOINERS = "\u200c\u200d"
"""Of the characters that are not seen, those that some scripts are written with."""


def _one_line(name: str) -> str:
    if not name.strip():
        raise ValueError("a name is not empty")
    if len(name) > LONGEST_NAME:
        raise ValueError(f"a name has at most {LONGEST_NAME} characters")
    if any(unicodedata.category(c) in ("Cc", "Cs", "Cf", "Zl", "Zp") and c not in JOINERS for c in name):
        raise ValueError(
            f"{name!r} holds characters that are not seen (control characters, or those that turn the direction of writing); "
            "a name is plain text in one line"
        )
    return name


Name = Annotated[str, AfterValidator(_one_line)]


class ModelCard(BaseModel):
    """What a model folder's ``model.yaml`` says.

    Attributes
    ----------
    name
        What to call the model.
    labels
        The labels of the segmentation by name, in the order of the network's output channels. A sigmoid network needs
        no output for the background, but the background is the first label all the same.
    spatial_dims
        2 or 3.
    channels
        Names of the input channels. One name several times, ``[gray, gray, gray]``: images have this one channel, which
        the network is given in each of its own.
    network_channels
        The same names in the order in which the network takes them, where that is another: ``[blue, green, red]`` for one that was trained on
        pictures that OpenCV read. Images, intensity steps and explanations keep the order of `channels`.
    orientation
        Axis codes to which a volume with an affine is turned before it enters the network, e.g. "RAS";
        for 2D models the codes of (slice axis, row, column), e.g. "IPL". Or the letters i, j and k of the file's own axes in
        the order in which the network takes them, e.g. "kji": as stored, whatever lies where, i being the one that
        runs fastest; as nnU-Net's readers do that do not turn.
    grid, windows, intensity
        See `Grid`, `Windows` and `Intensity`.
    intensity_on
        On what the steps run, and measure: "grid", after resampling; "image", before it, on the image's own pixels within
        ``grid: crop``; "volume", for 2D models, the same on the whole volume of which they get a slice.
    previous_stage
        Of the second stage of a cascade (nnU-Net's ``3d_cascade_fullres``): the first stage's model, or a file or a folder of label images that
        it predicted. By default it lies beside, as nnU-Net writes it.
    background_value
        The intensity, in image units, of "nothing there" (air): what hidden pixels become by default.
        The image's minimum when it is not given.
    activation
        What turns the network's outputs into probabilities. "softmax": labels exclude each other. "sigmoid": each label
        but the background is where its own probability is above its threshold, so that several may overlap.
    background_output
        Whether a sigmoid network has an output for the background, its first one. Only needed where there are as many
        outputs as labels, which could also mean that a label was forgotten.
    threshold
        Of sigmoid networks: one probability for all labels but the background, one for each of them in their order, or
        a mapping of label names to theirs (0.5 for the others).
    paint_order
        Labels that may overlap in the order in which they are painted into one label image, where one is wanted: later
        ones cover earlier ones, and a true label image is read as one in which they lie within them. nnU-Net's
        ``regions_class_order``.
    regions
        Labels that may overlap: the values of a label image that make up each of them, e.g. ``{whole: [1, 2], core: [2]}``,
        by which a true label image is read. nnU-Net's ``labels`` of regions.
    ignored_values
        Values of a true label image, or of true masks, that are no label: what nobody has labelled. It is left out wherever something is compared with
        the truth. nnU-Net's label ``ignore``; 255 for many data sets of photographs.
    values
        Whether the network returns logits, or probabilities already.
    output
        Which entry of a dict or tuple that the network returns; the first tensor when not given.
    tokens
        For layers that return tokens: cells of the model grid per token and axis, by pattern of layer names,
        e.g. ``{"encoder.*": 16}``. Only needed where it cannot be told from the number of tokens.
    architecture, arguments
        "package.module:Class" and the arguments to build the network.
    weights
        File of the weights, beside the card.
    description, trained_on, not_for, credit, license, provenance, validation
        For people: what it is, what it is not fit for, who made it, how good it was measured to be.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())

    name: Name
    labels: tuple[Name, ...]
    spatial_dims: Literal[2, 3]
    channels: tuple[Name, ...] = Field(("intensity",), min_length=1)
    network_channels: tuple[str, ...] | None = None
    orientation: str | None = None
    grid: Grid = Grid()
    windows: Windows | None = None
    intensity: tuple[Intensity, ...] = ()
    intensity_on: Literal["grid", "image", "volume"] = "grid"
    previous_stage: str | None = None
    background_value: float | None = Field(None, allow_inf_nan=False)
    activation: Literal["softmax", "sigmoid"] = "softmax"
    background_output: bool | None = None
    threshold: float | dict[str, float] | tuple[float, ...] = 0.5
    paint_order: tuple[str, ...] | None = None
    regions: dict[str, tuple[Annotated[int, Field(ge=0, le=MOST_LABELS)], ...]] | None = None
    ignored_values: tuple[Annotated[int, Field(ge=0, le=MOST_LABELS)], ...] = ()
    values: Literal["logits", "probabilities"] = "logits"
    output: str | Annotated[int, Field(ge=-1000, le=1000)] | None = None
    tokens: dict[str, Annotated[int, Field(ge=1, le=LARGEST)]] = Field(default_factory=dict)
    architecture: str | None = None
    arguments: dict[str, Any] = Field(default_factory=dict)
    weights: Name = "weights.safetensors"
    description: str = ""
    trained_on: str = ""
    not_for: str = ""
    credit: str = ""
    license: str = ""
    provenance: str = ""
    validation: str = ""

    @field_validator("labels")
    @classmethod
    def _distinct(cls, labels: tuple[str, ...]) -> tuple[str, ...]:
        if len(labels) < 2:
            raise ValueError(
                "a segmentation has at least two labels; the first is the background in most cases"
            )
        if len(labels) > MOST_LABELS:
            raise ValueError(f"a segmentation has at most {MOST_LABELS} labels")
        if len(set(labels)) != len(labels):
            raise ValueError("every label needs a name of its own")
        return labels

    @field_validator("threshold", mode="before")
    @classmethod
    def _probabilities(cls, value: Any) -> Any:
        each = (
            value.values()
            if isinstance(value, dict)
            else value
            if isinstance(value, list | tuple)
            else [value]
        )
        if not all(_is_number(one) and 0 < one < 1 for one in each):
            raise ValueError("a threshold is a probability between 0 and 1; give one, or one per label")
        return value

    @field_validator("orientation", mode="before")
    @classmethod
    def _one_word(cls, codes: Any) -> Any:
        if isinstance(codes, list | tuple) and all(isinstance(code, str) for code in codes):
            codes = "".join(codes)  # [R, A, S] can mean nothing else
        if codes is not None and not isinstance(codes, str):
            raise ValueError("an orientation is a word of three letters, such as RAS")
        return codes

    @field_validator("orientation")
    @classmethod
    def _codes(cls, codes: str | None) -> str | None:
        if codes is not None:
            from napari_segxai.core.orientation import DISPLAY, is_stored, reorientation

            if not is_stored(codes):
                reorientation(DISPLAY, codes)
        return codes

    @field_validator("architecture")
    @classmethod
    def _place(cls, place: str | None) -> str | None:
        if place is not None and not re.fullmatch(r"\w+(\.\w+)*:\w+(\.\w+)*", place):
            raise ValueError("architecture is written 'package.module:Class'")
        return place

    @field_validator("weights")
    @classmethod
    def _beside(cls, name: str) -> str:
        if name in ("", ".", "..") or re.search(r"[/\\:\0]", name) or len(os.fsencode(name)) > 255:
            raise ValueError("weights is the name of a file beside the card, without a folder")
        return name

    @property
    def repeats_channel(self) -> bool:
        """Whether the network is given the one channel of an image in each of its own."""
        return len(self.channels) > 1 == len(set(self.channels))

    @model_validator(mode="after")
    def _numbers_fit(self) -> ModelCard:
        for what in ("size", "spacing"):
            value = getattr(self.grid, what)
            if value is not None and len(value) != self.spatial_dims:
                raise ValueError(
                    f"grid {what} needs {self.spatial_dims} numbers for a {self.spatial_dims}D model"
                )
        if self.grid.pad is not None and any(len(each) != self.spatial_dims for each in self.grid.pad.rules):
            raise ValueError(f"grid pad needs one entry for each of {self.spatial_dims} axes")
        if self.windows is not None and len(self.windows.size) != self.spatial_dims:
            raise ValueError(
                f"windows size needs {self.spatial_dims} numbers for a {self.spatial_dims}D model"
            )
        asked = "grid size" if self.grid.size is not None else "grid multiple"
        least = self.grid.size or (2 * self.grid.multiple,) * self.spatial_dims  # the network is tried on
        if self.grid.shortest_edge is not None:
            asked, least = "grid shortest_edge", (self.grid.shortest_edge,) * self.spatial_dims
        if self.grid.interpolation == "bicubic" and self.spatial_dims == 3:
            raise ValueError("grid interpolation: bicubic is for pictures; a 3D model has `cubic` for that")
        if self.windows is not None:
            asked, least = "windows size", self.windows.size
        elif self.grid.pad is not None:
            asked, least = "grid pad", self.grid.framed(least)
        numbers = math.prod(least) * len(self.channels)
        if numbers > LARGEST:
            raise ValueError(
                f"{asked} makes inputs of {number(numbers)} numbers; {LARGEST} are the most that a card can ask for"
            )
        if self.network_channels is not None and sorted(self.network_channels) != sorted(self.channels):
            raise ValueError(
                f"network_channels names each of these channels once: {', '.join(self.channels)}"
            )
        if self.intensity_on == "volume" and self.spatial_dims == 3:
            raise ValueError("intensity_on: volume is for 2D models; a 3D model has `image` for that")
        for step in self.intensity:
            unknown = [name for name in step.channels or () if name not in self.channels]
            if unknown:
                raise ValueError(
                    f"intensity channels names {unknown[0]!r}; {nearest(unknown[0], self.channels)}"
                )
            count = len(step.channels or self.channels)
            for key, values in (step.normalize or {}).items():
                if len(values) not in (1, count):
                    raise ValueError(
                        f"intensity normalize {key} has {len(values)} numbers for {count} channel(s)"
                    )
        return self

    @model_validator(mode="after")
    def _outputs_fit(self) -> ModelCard:
        drawn = self.labels[1:]
        if self.background_output is not None and self.activation == "softmax":
            raise ValueError(
                "background_output is for sigmoid networks; a softmax has an output for every label"
            )
        if "threshold" in self.model_fields_set:
            if self.activation == "softmax":
                raise ValueError(
                    "threshold is for sigmoid networks; a softmax draws the label with the highest probability"
                )
            given = self.threshold
            unknown = [name for name in given if name not in drawn] if isinstance(given, dict) else []
            if unknown:
                raise ValueError(f"threshold names the label {unknown[0]!r}; {nearest(unknown[0], drawn)}")
            if isinstance(given, tuple) and len(given) != len(drawn):
                raise ValueError(
                    f"threshold has {len(given)} numbers for {len(drawn)} label(s) but the background: "
                    f"{', '.join(drawn)}"
                )
        for name in ("paint_order", "regions"):
            given = getattr(self, name)
            if given is None:
                continue
            if not self.overlapping:
                raise ValueError(
                    f"{name} is for labels that may overlap: activation sigmoid, and two labels but the background"
                )
            if sorted(given) != sorted(drawn):
                raise ValueError(f"{name} names each of these labels once: {', '.join(drawn)}")
        return self

    @model_validator(mode="after")
    def _no_labels_ignored(self) -> ModelCard:
        known = dict(enumerate(self.labels))
        if self.regions is not None:
            known = {0: self.labels[0]} | {k: name for name, each in self.regions.items() for k in each}
        for value in self.ignored_values:
            if value in known:
                raise ValueError(f"ignored_values names {value}, which is {known[value]!r}")
        return self

    @property
    def overlapping(self) -> bool:
        """Whether a pixel can have several labels: sigmoid outputs of two labels or more beside the background."""
        return self.activation == "sigmoid" and len(self.labels) > 2

    @property
    def thresholds(self) -> tuple[float, ...] | None:
        """The threshold of every label but the background; None for a softmax."""
        if self.activation == "softmax":
            return None
        given, drawn = self.threshold, self.labels[1:]
        if isinstance(given, dict):
            return tuple(given.get(name, 0.5) for name in drawn)
        return given if isinstance(given, tuple) else (given,) * len(drawn)

    @property
    def named_thresholds(self) -> dict[str, float] | None:
        """`thresholds` by label, as records keep them."""
        return None if self.thresholds is None else dict(zip(self.labels[1:], self.thresholds, strict=True))

    @property
    def order(self) -> tuple[int, ...] | None:
        """Positions of the channels in the order in which the network takes them, where the card gives another."""
        found = (
            None if self.network_channels is None else tuple(map(self.channels.index, self.network_channels))
        )
        return None if found == tuple(range(len(self.channels))) else found

    @property
    def painting(self) -> tuple[int, ...] | None:
        """Positions of the labels in the order of painting, where the card gives one."""
        return None if self.paint_order is None else tuple(map(self.labels.index, self.paint_order))


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


_IN_YAML = {
    "tuple_type": "has to be a list",
    "model_type": "has to be a mapping of keys to values",
    "dict_type": "has to be a mapping of keys to values",
}


def make_card(fields: dict[str, Any], where: str = "model card") -> ModelCard:
    """Validate the `fields` of a model card.

    Raises
    ------
    UserError
        Naming `where`, the key and what would be right; an unknown key is answered with the nearest one.
    """
    try:
        return ModelCard.model_validate(fields)
    except ValidationError as error:
        found = error.errors()
        # A misspelt key that is required is both missing and unknown: the latter says what to correct.
        first = next((e for e in found if e["type"] == "extra_forbidden"), found[0])
        key = ".".join(str(part) for part in first["loc"])
        if first["type"] == "extra_forbidden":
            owner: type[BaseModel] = ModelCard
            if first["loc"][0] in ("grid", "intensity") and len(first["loc"]) > 1:
                owner = Grid if first["loc"][0] == "grid" else Intensity
            hint = nearest(str(first["loc"][-1]), owner.model_fields)
            raise UserError(f"{where}: unknown key {key!r}; {hint}") from None
        if first["type"] == "missing":
            raise UserError(f"{where}: the key {key!r} is missing; every card needs it.") from None
        if first["type"] == "literal_error":
            expected = first["ctx"]["expected"].replace("True", "true")
            raise UserError(f"{where}: {key} is {first['input']!r}; choose {expected}.") from None
        message = first["msg"].removeprefix("Value error, ").removesuffix(".")
        message = _IN_YAML.get(first["type"], message)
        raise UserError(f"{where}: {key}: {message}." if key else f"{where}: {message}.") from None


def as_card(card: object) -> ModelCard:
    """Return a card from a `ModelCard`, a mapping, or the path of a YAML file.

    Raises
    ------
    UserError
        If it is none of these, or no valid card.
    """
    if isinstance(card, ModelCard):
        return card
    if isinstance(card, Mapping):
        return make_card(dict(card))
    if isinstance(card, str | Path):
        return read_card(user_path(card))
    raise UserError(f"a card is a mapping, a YAML file or a ModelCard, not a {type(card).__name__}.")


def read_card(path: str | Path) -> ModelCard:
    """Read a model card from a YAML file.

    Raises
    ------
    UserError
        If the file is missing, is not a YAML mapping, or is no valid card.
    """
    path = Path(path)
    return make_card(read_mapping(path, "model card"), str(path))
