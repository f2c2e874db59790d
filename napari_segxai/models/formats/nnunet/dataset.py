"""Labels and channels, from nnU-Net's dataset.json."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from napari_segxai.core.errors import UserError
from napari_segxai.models.loading.json_mapping import json_mapping

BACKGROUND, IGNORE = "background", "ignore"

NNUNET = "what nnU-Net writes"


@dataclass(frozen=True)
class Dataset:
    """What dataset.json says.

    Attributes
    ----------
    channels
        Names, in the order of the files' numbers.
    labels
        Names, the background first, in the order of the network's outputs.
    regions
        Where labels overlap: the values of a label image that make up each of them; empty where they exclude each other.
    painted
        With which value each label but the background is painted into a label image.
    ignored
        Values of what nobody has labelled.
    """

    channels: tuple[str, ...]
    labels: tuple[str, ...]
    regions: dict[str, tuple[int, ...]]
    painted: tuple[int, ...]
    ignored: tuple[int, ...] = ()

    @property
    def values(self) -> tuple[int, ...]:
        """All values of a label image but that of the background."""
        return tuple(
            sorted({value for each in self.regions.values() for value in each} - {0} or self.painted)
        )


def read_dataset(path: Path) -> Dataset:
    """Read dataset.json.

    Raises
    ------
    UserError
        If it names no channels or labels, or not in the way of nnU-Net 2.
    """
    facts = json_mapping(path, NNUNET)
    channels = _channels(path, facts.get("channel_names", facts.get("modality")))
    labels = facts.get("labels")
    if not isinstance(labels, dict) or not labels:
        raise UserError(f"{path}: names no `labels`; nnU-Net 2 gives a value to each, from background: 0 on.")
    if BACKGROUND not in labels or _values(path, BACKGROUND, labels[BACKGROUND]) != (0,):
        old = ' (it is written in the way of nnU-Net 1, {"0": "background"})' if "0" in labels else ""
        raise UserError(f"{path}: `labels` has no {BACKGROUND!r} with the value 0{old}; nnU-Net 2 has one.")
    values = {name: _values(path, name, value) for name, value in labels.items() if name != IGNORE}
    ignored = _values(path, IGNORE, labels[IGNORE]) if IGNORE in labels else ()
    drawn = {name: each for name, each in values.items() if set(each) != {0}}
    if not drawn:
        raise UserError(f"{path}: `labels` names nothing but the background.")
    if any(len(each) > 1 for each in drawn.values()):
        order = facts.get("regions_class_order")
        if not isinstance(order, list) or len(order) != len(drawn):
            raise UserError(
                f"{path}: some of its labels are regions of several values, and `regions_class_order` has to give one value to each of "
                f"{', '.join(drawn)}."
            )
        if not all(isinstance(value, int) and 0 < value < 2**15 for value in order):
            raise UserError(f"{path}: `regions_class_order` is {order!r:.60}; it needs whole numbers from 1.")
        return Dataset(channels, (BACKGROUND, *drawn), drawn, tuple(order), ignored)
    by_value = sorted(drawn, key=lambda name: drawn[name][0])
    found = [drawn[name][0] for name in by_value]
    if found != list(range(1, len(found) + 1)):
        raise UserError(f"{path}: the values of `labels` are {found}; nnU-Net numbers them 1, 2, 3, ...")
    return Dataset(channels, (BACKGROUND, *by_value), {}, tuple(found), ignored)


def _channels(path: Path, told: Any) -> tuple[str, ...]:
    if not isinstance(told, dict) or not told:
        raise UserError(
            f"{path}: names no `channel_names`; nnU-Net 2 gives a name to each number, from 0 on."
        )
    missing = [str(k) for k in range(len(told)) if str(k) not in told]
    if missing:
        raise UserError(
            f"{path}: `channel_names` has to number the channels 0, 1, 2, ...; {missing[0]} is missing."
        )
    names = [str(told[str(k)]) for k in range(len(told))]
    # Several channels may be called alike (CT twice): a card tells them apart.
    return tuple(
        f"{name} {names[:k].count(name) + 1}" if names.count(name) > 1 else name
        for k, name in enumerate(names)
    )


def _values(path: Path, name: str, value: Any) -> tuple[int, ...]:
    """Return the values of a label, which nnU-Net also takes as text."""
    each = [
        int(one) if isinstance(one, str) and one.isdecimal() else one
        for one in (value if isinstance(value, list) else [value])
    ]
    if not each or not all(
        isinstance(one, int) and not isinstance(one, bool) and 0 <= one < 2**15 for one in each
    ):
        raise UserError(
            f"{path}: the label {name!r} has the value {value!r:.60}; it needs a whole number, or a list of such."
        )
    return tuple(dict.fromkeys(each))
